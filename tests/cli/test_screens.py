"""What `harbor status`, `harbor nodes` and `harbor log` show on a terminal of 80 columns."""

import io
import os
import pty
import sys

import pytest
from rich.console import Console

from snakemake_executor_plugin_harbor.cli.harmless import harmless
from snakemake_executor_plugin_harbor.cli.log import _write
from snakemake_executor_plugin_harbor.cli.status import picture

WHY = "the working directory /data/of/the/group/sweep is not there, or is another one (mount it at the same path)"
STALLED = "no output and no progress for 60 s"


def node(name, state="ready", reason=""):
    return {"name": name, "state": state, "running": 1, "slots": 8, "cores": 8, "busy": 1.0, "ours": 0.5,
            "mem_available_mb": 2048, "reason": reason, "transfers": []}  # fmt: skip


def job(id, wildcard, stalled=False):
    return {"id": id, "rule": "slow", "wildcards": {"case": wildcard}, "state": "running", "node": "ada", "attempt": 1,
            "progress": {"done": 3, "total": 12}, "log": None, "reason": STALLED if stalled else "", "started": 40.0,
            "stalled": stalled}  # fmt: skip


def screen(width, nodes, jobs=()):
    now = {"run": "261127-071321-5ca63c", "state": "running", "counts": {"running": 2, "queued": 3, "succeeded": 4},
           "jobs": list(jobs), "nodes": nodes, "started": 0.0, "ended": None, "total": 9, "eta_s": 90.0}  # fmt: skip
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(picture(now, 100.0))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


def test_a_reason_stands_below_its_row_where_it_can_be_read():
    nodes = [node("ada"), node("bob", "rejected", f"node bob: {WHY}\n  Try: mount"), node("eve", "drained", "busy")]
    lines = screen(80, nodes)
    assert lines[1] == "2 running, 3 queued, 4 succeeded   about 1:30 left", "it does not wrap"
    at = next(i for i, line in enumerate(lines) if line.startswith("bob"))
    assert " ".join(line.strip() for line in lines[at + 1 : at + 3]) == WHY
    assert lines[at + 3].startswith("eve") and lines[at + 3].endswith("2.0 GiB  busy"), "it fits behind its row"
    assert any(line.startswith("bob") and line.endswith(WHY) for line in screen(200, nodes))


def test_transfers_of_files_stand_beside_their_node():
    one = {"job": "3", "attempt": 1, "way": "to", "done": 34_000_000, "total": 200_000_000}
    moving = [one, {**one, "job": "4", "way": "from", "done": 5_000_000, "total": None}]
    text = " ".join(line.strip() for line in screen(200, [{**node("ada"), "transfers": moving}]))
    assert "job 3: files are sent: 34 of 200 MB; job 4: files are fetched: 5 MB so far" in text
    more = " ".join(line.strip() for line in screen(300, [{**node("ada"), "transfers": [one] * 5}]))
    assert more.count("34 of 200") == 3 and "; 2 more" in more
    assert "files are compared" in " ".join(screen(200, [{**node("ada"), "transfers": [{**one, "total": None}]}]))


def test_a_long_name_gives_way_and_the_numbers_stay():
    lines = screen(80, [node("a-workstation-with-a-long-name-in-the-lab.example.org", "ready")])
    assert "a-workstation-" in lines[3] and lines[3].endswith("8      8   1.0     0.5      2.0 GiB")
    lines = screen(80, [node("ada")], [job("7", "size=100_seed=1_angle=45_drag=0.25_mach=0.8")])
    assert lines[-1].startswith("7    slow  case=size=100") and lines[-1].endswith("3/12")


def test_a_stalled_job_is_marked():
    lines = screen(80, [node("ada")], [job("7", "a", stalled=True), job("8", "b")])
    at = next(i for i, line in enumerate(lines) if line.startswith("7 "))
    assert lines[at + 1].strip() == f"stalled: {STALLED}" and lines[at + 2].startswith("8 ")


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"a\tb\r\nc\n", b"a\tb\r\nc\n"),
        (b"\x1b[1;31mred\x1b[0m", b"\x1b[1;31mred\x1b[0m"),
        (b"\x1b]0;title\x07\x1b[2J\x1b[31", b"^[]0;title^G^[[2J^[[31"),
        ("\x9b31m ö \u2028".encode(), "\\x9b31m ö \u2028".encode()),
        (b"\x023/12\x03 \x00\x7f\xff", b"3/12 ^@^?\xff"),
    ],
)
def test_a_log_cannot_control_the_terminal(monkeypatch, printed, shown):
    assert harmless(printed) == shown
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb", buffering=0) as screen:
        os.set_blocking(ours, False)
        monkeypatch.setattr(sys, "stdout", terminal)
        _write(printed)
        assert screen.read() == shown.replace(b"\n", b"\r\n"), "the terminal itself adds carriage returns"


def test_a_log_in_a_pipe_is_what_the_job_has_printed(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe, os.fdopen(reader, "rb") as end:
        monkeypatch.setattr(sys, "stdout", pipe)
        _write(b"\x1b]0;title\x07")
        pipe.close()
        assert end.read() == b"\x1b]0;title\x07"
