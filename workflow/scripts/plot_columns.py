"""Check the columns of a sweep's plots as soon as a case has ended, because the plots are drawn when all have ended.

The command line is `python plot_columns.py DONE TABLE PLOT...`. TABLE is the file for collect.py, and each PLOT is JSON
as for plot.py. The table of all cases may have more columns than the first case has. So a column that is missing there
is looked for in all cases that have ended.
"""

import json
import os
import sys
from pathlib import Path

from collect import result_of
from plot_data import COLUMNS, no_column


def ended(spec, directory):
    """Return the cases that have ended."""
    return [case for case in spec["cases"] if os.path.exists(os.path.join(directory, case["ran"] or case["file"]))]


def header(spec, directory, cases):
    """Return the columns that the table has by these cases, or none if no case has a result that can be read."""
    rows = [(case, row) for case in cases for row in result_of(case, directory, spec["result"])[0]]
    known = ["case", *spec["parameters"]]
    for case, row in rows:
        own = {"case": case["case"], **dict.fromkeys(spec["parameters"], ""), **case["params"]}
        # A column that repeats a parameter is left out of the table, and one that differs has another name.
        known += [f"result.{name}" if name in own else name for name in row if row[name] != own.get(name)]
    if spec.get("on_failure") == "record":
        known.append("failed")
    return list(dict.fromkeys(known)) if rows else []


def fault(plots, known):
    """Return a sentence about the first column that is not known, or "" if all are."""
    for plot in plots:
        for key in COLUMNS:
            if key in plot and plot[key] not in known:
                return no_column(plot, key, known)
    return ""


def main():
    done, spec = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    plots = [json.loads(text) for text in sys.argv[3:]]
    directory = os.path.dirname(os.path.dirname(done))
    cases = ended(spec, directory)
    for some in (cases[:1], cases):
        known = header(spec, directory, some)
        wrong = fault(plots, known) if known else ""
        if not wrong:
            break
    if wrong:
        count = f"cases that have ended: {len(cases)} of {len(spec['cases'])}"
        sys.exit(f"{wrong} ({count})\n  Try: correct the configuration and start again; no case runs again")
    Path(done).touch()


if __name__ == "__main__":
    main()
