"""Check the command lines of a sweep, because the meaning of `{name}` in them must be certain before any job runs.

This module runs in Snakemake's own process while the Snakefile is read. It raises SweepError only.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from command_line import ESCAPED, LITERAL, OWN, SINGLE, UNCLEAR, WORD, Place, Unquotable, places, substitute
from sweep_cases import Case, SweepError
from sweep_schema import guess

QUOTED = re.compile(r"'[^']*'")
# Linux takes no argument above 128 KiB. Snakemake, harbor and `bash -c` need some of that.
LONGEST = 100_000

# Statements that give a variable its value, in the shell and in usual languages. NAME is the variable.
BARE = r"(?<![\w$.@%-])(?<!\$\{)NAME\b"
COMMAND = r"(?:^|[;&|({\n`']|\b(?:while|until|if|then|do|else)\s)\s*(?:\w+=\S*\s+)*"
BINDS = (
    # This matches n=5, n += 1 and n := 3, but not n={n}.
    BARE + r"\s*(?:[-+*/|&:]|//|\*\*|<<|>>)?=(?![=~])(?!\s*[^\s;&|]*(?:\{NAME\}|\$\{?CASE_NAME\b))",
    # This matches n, m = 1, 2.
    BARE + r"\s*(?:,\s*\w+\s*)+=(?!=)",
    BARE + r"\+\+|\+\+NAME\b",
    r"\bfor\s+\(?(?:\w+\s*,\s*\(?)*NAME\b[\s\w,)]*\bin\b",
    COMMAND
    + r"(?:read|declare|local|typeset|readonly|mapfile|readarray|getopts)\b[^;|&\n]*?(?<![\w$.{=-])NAME\b(?!\s*=)",
    r"\b(?:import|with|except)\b[^;|&\n]*?\bas\s+NAME\b|\bimport\s+(?:\w+\s*,\s*)*NAME\b",
    r"\b(?:def|function)\b\s*\w*\s*\([^)]*\bNAME\b|\blambda\b[^:]*\bNAME\b|\b(?:var|const)\s+NAME\b",
    r"(?:-I\s*|--replace=|\bexec\s+)['\"]?\{NAME\}",
)


def check_lines(where: str, lines: Iterable[tuple[str, str]], cases: Sequence[Case], parameters: Sequence[str]) -> None:
    """Refuse a line in which a parameter's place is unclear or a case's value cannot be written."""
    for key, line in lines:
        found = [place for place in places(line) if place.name in parameters]
        used = [place for place in found if place.kind not in (OWN, ESCAPED)]
        for place in used:
            # Doubled braces are placeholders of other programs, and jq takes `{n}` for an object.
            doubled = line[max(0, place.start - 1) : place.end + 1] == f"{{{{{place.name}}}}}"
            if place.kind == UNCLEAR or doubled or (place.kind != WORD and re.search(r"(?<![\w.-])[jy]q\s", line)):
                shown = line[max(0, place.start - 5) : place.end + doubled]
                raise SweepError(
                    f"{where}.{key}: it is unclear whether {{{place.name}}} in {shown!r} is the parameter.\n"
                    f"  Write $CASE_{place.name} for the parameter, or ${{{place.name}}} for the shell's variable.\n"
                    f"  Where the text itself is meant, split it: '{{''{place.name}}}' or \"{{\"\"{place.name}}}\"."
                )
        for name in dict.fromkeys(place.name for place in used):
            if _binds(line, name):
                raise SweepError(
                    f"{where}.{key}: the line has a variable {name} of its own, and {{{name}}} is the parameter.\n"
                    f"  Write $CASE_{name} for the parameter, or give the variable another name."
                )
        _check_values(f"{where}.{key}", line, used, cases)


def _binds(line: str, name: str) -> bool:
    return any(re.search(pattern.replace("NAME", re.escape(name)), line) for pattern in BINDS)


def _check_values(where: str, line: str, used: Sequence[Place], cases: Sequence[Case]) -> None:
    names = dict.fromkeys(place.name for place in used)
    simple = all(place.kind in (WORD, SINGLE) and not place.documents for place in used)
    for case in cases:
        for name in names:
            if name not in case.params:
                raise SweepError(
                    f"{where}: the case {case.name} ({case.place}) has no parameter {name}, which stands there"
                )
        if simple and len(line) + sum(8 * len(case.params[place.name]) for place in used) < LONGEST:
            continue
        try:
            size = len(substitute(line, case.params, used).encode())
        except Unquotable as error:
            raise SweepError(
                f"{where}: a value of the case {case.name} ({case.place}) cannot be written there: {error}\n"
                f"  Write {', '.join(f'$CASE_{name}' for name in names)} for the parameter."
            ) from error
        if size > LONGEST:
            raise SweepError(
                f"{where}: with the values of the case {case.name} ({case.place}) the command line has {size} bytes;"
                f" {LONGEST} are possible"
            )


def warnings(lines: Iterable[tuple[str, str]], parameters: Sequence[str]) -> Iterator[str]:
    """Yield warnings about what is allowed but looks like a mistake, such as `{seed}` without a parameter seed."""
    known = f"parameters are {', '.join(parameters[:10]) or 'none'}{', ...' if len(parameters) > 10 else ''}"
    for key, line in lines:
        found = places(line)
        for name in dict.fromkeys(p.name for p in found if p.kind not in (OWN, ESCAPED, UNCLEAR)):
            if name in parameters or all(line[p.start - 1 : p.start] == "@" for p in found if p.name == name):
                continue
            hint = "the case's name is $CASE" if name == "case" else guess(name, parameters)
            quoted = all(p.kind in (SINGLE, LITERAL) for p in found if p.name == name)
            if hint or not quoted:
                yield f"{key}: {{{name}}} is no parameter and stays as it is; {hint or known}"
        bare = QUOTED.sub("", line)
        for name in dict.fromkeys(re.findall(r"(?<!\\)\$\{?CASE_(\w+)", bare)):
            if name not in parameters:
                yield f"{key}: $CASE_{name} is empty, as {name} is no parameter; {guess(name, parameters) or known}"
        for name in dict.fromkeys(re.findall(r"(?<![\\$])\$\{?([A-Za-z_]\w*)", bare)):
            elsewhere = name in os.environ or re.search(r"(^|[\s;&|])(source|eval|\.)\s", line)
            own = _binds(line, name) or re.search(rf"(?<![\w$-]){name}=", line)
            if name in parameters and not elsewhere and not own:
                yield f"{key}: ${name} is not set by the line; the parameter is {{{name}}} or $CASE_{name}"
