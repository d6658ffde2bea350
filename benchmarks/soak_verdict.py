"""The verdict of the soak (`soak.py`): what the traces of all attempts say, and what is left on the hosts."""

import contextlib
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.lab import Lab
from tests.sshd import wait_until

LEFT_S = 20.0
"""Agents need up to this time to end after the last run."""


@dataclass(frozen=True)
class Line:
    """One line of a trace."""

    what: str
    host: str
    attempt: str
    at: float


def verdict(
    directory: Path,
    length: int,
    wanted: list[str],
    excuses: list[tuple[str, float]],
    staged: set[str],
    lost_mounts: list[tuple[str, float]],
) -> tuple[Counter[str], list[str]]:
    """Return the counts over all traces, and a text about what is wrong. An output has its name on `length` lines.

    An attempt on a `staged` host that cannot be reached may go on after it was given up, because what it makes is never
    fetched. `lost_mounts` excuse only attempts of groups whose last job has not ended.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    traces = {output: _trace(directory.parent / "traces" / output.replace("/", "_")) for output in wanted}
    # An attempt may be one of a group, of which this job is not the first.
    begun: dict[str, float] = {}
    for line in (line for lines in traces.values() for line in lines):
        begun[line.attempt] = min(line.at, begun.get(line.attempt, line.at))
    complete = {
        line.attempt for output, lines in traces.items() if "/second/" in output for line in lines if line.what == "end"
    }
    for output in wanted:
        path = directory / output
        if not path.exists() or path.read_text() != f"{output}\n" * length:
            counts["lost"] += 1
            wrong.append(f"lost: {output}")
        lines = traces[output]
        attempts = list(dict.fromkeys(line.attempt for line in lines))
        counts["attempts"] += len(attempts)
        newest = ""
        for line in lines:
            newest = line.attempt if line.what == "start" else newest
            if line.attempt != newest and line.host not in staged:
                counts["duplicated"] += 1
                wrong.append(f"duplicated: {output}: {line} after the start of {newest}")
                break
        if any(line.what == "spoilt" for line in lines):
            counts["lost"] += 1
            wrong.append(f"lost: the input of {output} was not whole")
        ends = [line for line in lines if line.what == "end"]
        for end, later in pairwise(ends):
            again = next(line.at for line in lines if line.attempt == later.attempt)
            faults = excuses if end.attempt in complete else excuses + lost_mounts
            if any(host == end.host and begun[end.attempt] - 1 < at < again for host, at in faults):
                counts["redone"] += 1
            else:
                counts["duplicated"] += 1
                wrong.append(f"duplicated: {output}: ended as {end}, and ran again: {later}")
    return counts, wrong


def _trace(path: Path) -> list[Line]:
    return [line_of(text) for text in path.read_text().splitlines()] if path.exists() else []


def line_of(text: str) -> Line:
    what, host, attempt, at = text.split()
    return Line(what, host, attempt, float(at))


def left_on(lab: Lab) -> list[str]:
    """Return processes and files of harbor on the hosts, after the time that agents need to end."""
    found: list[str] = []

    def nothing() -> bool:
        found.clear()
        for host in lab.hosts:
            ours = [str(pid) for pid, argv in lab.processes(host) if is_ours(argv)]
            if ours:
                shown = lab.exec(host, ["ps", "-o", "pid,ppid,etimes,comm,wchan:24", "-p", ",".join(ours)]).stdout
                sockets = lab.exec(host, ["ss", "-tno"]).stdout
                found.extend(f"{host}: {line}" for line in [*shown.splitlines()[1:], *sockets.splitlines()[1:]])
            files = lab.exec(host, ["find", "/var/tmp", "-mindepth", "1"]).stdout.split()
            # The cache of contents stays for later runs.
            found.extend(f"{host}: {path}" for path in files if path.count("/") > 3 and "/cache" not in path)
        return not found

    with contextlib.suppress(TimeoutError):
        wait_until(nothing, LEFT_S)
    return found


def is_ours(argv: list[str]) -> bool:
    """Return True for the command line of an agent, a guardian or a job."""
    return any("binascii" in word or "work.sh" in word for word in argv)
