"""Put all cases of a sweep into one table. Its columns are the case, the parameters, and then those of the results.

The command line is `python collect.py TABLE SPEC`. SPEC is a file with the JSON of `sweep_specs.table`. Numbers keep
the text that the case wrote, so the table has the same bytes on all machines. If a part of a result has no place in
the table, the script ends with a sentence about it. When the table is there, partial.csv and failed.csv are removed.
"""

import json
import os
import re
import sys
from pathlib import Path

from case_files import no_result, remove
from case_state import read_state
from csv_table import TableError, decode, read, written

# JSON that is nested deeper has no place in a cell. Python's recursion limit lies above this depth.
DEEPEST = 200
# At most this many cases with unusable results are shown.
SHOWN = 10
# The column of the table in which a sweep with `on_failure: record` has the reasons of failed cases.
FAILED = "failed"
# A run that was not complete has left these beside the table.
UNFINISHED = ("partial.csv", "failed.csv")
JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}\n]', re.DOTALL)


class Unusable(Exception):
    """No table can be made of these results, with a sentence that says why."""


class Text(str):
    """A number with the text that it was written as."""


def read_result(path, name):
    """Return the rows in a result file. It is a JSON object, a list of objects, or CSV/TSV. Users know it as `name`."""
    if name.endswith((".csv", ".tsv")):
        _, header, lines = read(path, "\t" if name.endswith(".tsv") else ",")
        rows = [dict(zip(map(str, header), map(str, cells), strict=True)) for _, cells in lines]
    else:
        text = decode(path)
        check_depth(text)
        found = json.loads(text, parse_float=Text, parse_int=Text, parse_constant=Text, object_pairs_hook=members)
        found = found if isinstance(found, list) else [found]
        if not all(isinstance(row, dict) for row in found):
            raise ValueError("it is neither a JSON object nor a list of objects")
        rows = [flat(row) for row in found]
    if not rows:
        raise ValueError("it has no rows")
    return rows


def check_depth(text):
    depth, line = 0, 1
    for token in JSON_TOKEN.finditer(text):
        if token.group() == "\n":
            line += 1
        elif token.group() in "[{":
            depth += 1
            if depth > DEEPEST:
                raise TableError(line, f"lists and objects are more than {DEEPEST} deep in each other")
        elif token.group() in "]}":
            depth -= 1


def members(pairs):
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice in one object")
    return row


def flat(row):
    """Turn nested objects into columns with dots in their names."""
    cells = {}
    for name, value in flatten(row):
        if name in cells:
            raise ValueError(f"the key {name!r} is there twice: with a dot, and as an object in another")
        cells[name] = cell(name, value)
    return cells


def flatten(row, prefix=""):
    for key, value in row.items():
        if not key.strip():
            raise ValueError(f"a key is empty{' in ' + prefix[:-1] if prefix else ''}: a column needs a name")
        if isinstance(value, dict) and value:
            yield from flatten(value, prefix + key + ".")
        else:
            yield prefix + key, value


def cell(name, value):
    if value is None:
        return ""
    found = value if isinstance(value, str) else shown(value)
    for text in (name, found):
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise ValueError(f"the key {name!r}: its name or value holds a character that no text file can: {found!r}")
    return found


def shown(value):
    """Format a value as JSON, in which numbers keep the text that the case wrote."""
    if isinstance(value, Text):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key, ensure_ascii=False)}: {shown(item)}" for key, item in value.items()]
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value, ensure_ascii=False)


def result_of(case, directory, name):
    """Return (the rows of a case, ""), or (no rows, a sentence that says why)."""
    if not case["file"]:
        return [{}], ""
    path = os.path.join(directory, case["file"])
    again = os.path.join(directory, "cases", case["case"])
    hint = f"\n  Try: correct `result:` in the configuration, or, to run the case again: rm -r {again}"
    try:
        # The step `post` has checked this file on the node where it ran.
        home = os.path.join(directory, "cases", case["case"]) if case["ran"] else os.path.dirname(path)
        times = json.loads(Path(directory, case["ran"]).read_text() or "{}") if case["ran"] else {}
        if not os.path.lexists(path):
            return [], f"case {case['case']} left no {name}{hint}"
        why = no_result(home, os.path.relpath(path, home), times)
        if why:
            return [], f"case {case['case']} left no {name}: {why} ({path}){hint}"
        return read_result(path, name), ""
    except OSError as error:
        return [], f"case {case['case']}: its {name} cannot be read: {error.strerror} ({path})"
    except (ValueError, RecursionError) as error:
        return [], f"case {case['case']}: its {name} cannot be read: {error} ({path})"


def rows_of(spec, case, directory, state):
    """Return (rows, reason, fault) of a case that has ended. Its rows hold the columns of its results.

    A recorded failure has a reason. If the case cannot be in the table, it has a fault and no rows.
    """
    if not state.get("recorded"):
        rows, fault = result_of(case, directory, spec["result"])
        return rows, "", fault
    if spec.get("on_failure") == "record":
        return [{}], state["reason"], ""
    again = os.path.join(directory, "cases", case["case"])
    why = f"case {case['case']} has failed, and `on_failure: record` has let it pass: {state['reason']}"
    return [], "", f"{why}\n  Try: rm -r {again}   # the same command of Snakemake runs the case again then"


def columns(spec, found):
    """Return {column of the results: its name in the table}. A column that only repeats a parameter is left out."""
    names = {}
    own = {"case", *spec["parameters"]}
    fixed = own | ({FAILED} if spec.get("on_failure") == "record" else set())
    for case, row, _ in found:
        for name, value in row.items():
            if name not in fixed:
                names[name] = name
            elif name not in own or value != (case["case"] if name == "case" else case["params"].get(name, "")):
                names[name] = "result." + name
    order = dict.fromkeys(name for _, row, _ in found for name in row)
    names = {name: names[name] for name in order if name in names}
    for name, shown_as in names.items():
        if shown_as != name and shown_as in names:
            raise Unusable(
                f"the results have a column {shown_as!r}, and a column {name!r}, which differs from the sweep's own and"
                " would be called so\n  Try: write one of them under another name"
            )
    return names


def write_table(target, spec, found):
    """Write the rows of cases, which are (case, row of its results, reason of its failure)."""
    names = columns(spec, found)
    last = [FAILED] if spec.get("on_failure") == "record" else []
    lines = [["case", *spec["parameters"], *names.values(), *last]]
    for case, row, reason in found:
        values = [case["params"].get(name, "") for name in spec["parameters"]]
        lines.append([case["case"], *values, *(row.get(name, "") for name in names), *([reason] if last else [])])
    write_lines(target, lines)


def write_lines(target, lines):
    """Write a CSV file, which appears when it is complete."""
    part = target + ".part"
    with Path(part).open("w", newline="", encoding="utf-8") as f:
        f.writelines(map(written, lines))
    os.replace(part, target)


def main():
    target, spec = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    directory = os.path.dirname(target)
    found, faults = [], []
    for case in spec["cases"]:
        state = read_state(os.path.join(directory, ".steps"), case["case"])
        rows, reason, fault = rows_of(spec, case, directory, state)
        found += [(case, row, reason) for row in rows]
        faults += [fault] if fault else []
    if faults:
        more = f"\n... and {len(faults) - SHOWN} cases more" if len(faults) > SHOWN else ""
        sys.exit("\n".join(faults[:SHOWN]) + more)
    try:
        write_table(target, spec, found)
    except Unusable as error:
        sys.exit(str(error))
    for name in UNFINISHED:
        remove(os.path.join(directory, name))


if __name__ == "__main__":
    main()
