"""The output of a process whose reader or terminal goes away. The process is one of its own, as Snakemake's is."""

import os
import pty
import subprocess
import sys
import textwrap

import pytest

from tests.sshd import wait_until

PROGRAM = """
    import logging, os, signal, sys, threading
    from snakemake_executor_plugin_harbor.session.hangup import Output, ignore_hangup

    logger = logging.getLogger("snakemake")
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.setLevel(logging.INFO)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    {before}
    ignore_hangup()
    opened, told = threading.Event(), threading.Event()

    def open_log():
        opened.set()
        return os.open({log!r}, flags)

    def lost():
        logger.info("lost")
        told.set()

    Output(open_log, lost).watch(logger)
    for number in range({lines}):
        logger.info("line %d", number)
        # One write. Without a buffer, print() writes each of its values by itself, and "lost" could come between them.
        sys.stdout.write(f"printed {{number}}\\n")
        sys.stdout.flush()
    assert not opened.is_set() or told.wait(60)
    print("ignored", signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""
UNTIL_GONE = """
try:
    while True:
        os.write(1, b".")
except OSError:
    pass
"""


@pytest.fixture
def start(tmp_path):
    """Start a program that writes so many lines. It ends before the pipe is full if nobody reads."""
    processes = []

    def program(lines, before="pass", **streams):
        code = textwrap.dedent(PROGRAM).format(lines=lines, before=before, log=str(tmp_path / "log"))
        processes.append(subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **streams))
        return processes[-1]

    yield program
    for one in processes:
        one.kill()
        one.wait()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_no_line_is_lost_when_the_reader_ends_in_the_middle(start, tmp_path, monkeypatch, unbuffered):
    """A thousand writes go on while the reader ends, so that one of them fails before the thread has seen the end."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    ours, theirs = os.pipe()
    process = start(4000, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"line 900\n" not in seen:
        seen += os.read(ours, 4096)
    os.close(ours)
    assert process.wait(60) == 0
    text = (tmp_path / "log").read_text()
    assert text.endswith("ignored True\n") and "lost" in text
    numbers = [int(line.split()[1]) for line in text.splitlines() if line.startswith("printed ")]
    assert numbers == list(range(numbers[0], 4000)), "without a gap"


def test_a_terminal_that_is_closed_is_replaced_by_the_file(start, tmp_path):
    master, slave = pty.openpty()
    process = start(1, UNTIL_GONE, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.close(master)
    assert process.wait(60) == 0
    wait_until((tmp_path / "log").exists, 10, "the file")
    assert "line 0\n" in (tmp_path / "log").read_text() and "printed 0" in (tmp_path / "log").read_text()


def test_output_to_a_file_stays_there(start, tmp_path):
    with (tmp_path / "mine").open("w") as mine:
        assert start(1, stdout=mine, stderr=mine).wait(60) == 0
    assert "line 0\n" in (tmp_path / "mine").read_text() and not (tmp_path / "log").exists()


def test_a_log_that_cannot_be_opened_does_not_end_the_process(start, tmp_path):
    (tmp_path / "log").mkdir()
    ours, theirs = os.pipe()
    process = start(50, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    assert process.wait(60) == 0
