"""Runs whose terminal is closed, and the commands start, attach and stop, which need no terminal of the run."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.snakemake.harness import Workdir, on, processes_in
from tests.sshd import wait_until

SNAKEFILE = """
    onsuccess:
        print("printed at the end")

    rule all:
        localrule: True
        input: expand("out/{i}", i=range(4))
        output: "table"
        shell: "echo printed by a local rule; touch {output}"

    rule one:
        output: "out/{i}"
        shell: "touch began.{wildcards.i}; until [ -e go ]; do sleep 0.1; done; echo done > {output}"
"""
IN_TERMINAL = """
import fcntl, os, termios
fd = os.open({name!r}, os.O_RDWR)
fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
for number in (0, 1, 2):
    os.dup2(fd, number)
os.close(fd)
"""
INTO_TEE = """
ends = os.pipe()
if os.fork() == 0:
    os.dup2(ends[0], 0)
    os.closerange(3, 100)
    os.execvp("tee", ["tee", "tee.txt"])
os.dup2(ends[1], 1)
os.dup2(ends[1], 2)
os.close(ends[0])
os.close(ends[1])
"""


class Terminal:
    """A pseudo-terminal. Snakemake's process is the leader of its session, as the shell in a window is."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.name = os.ttyname(slave)
        self._slave = slave
        self.text = ""

    def until(self, pattern: str, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text[-6000:]}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.text += os.read(self.master, 65536).decode(errors="replace")

    def close(self) -> None:
        os.close(self._slave)
        os.close(self.master)


@pytest.fixture
def work(project):
    return project(SNAKEFILE)


def began(work: Workdir, count: int) -> None:
    wait_until(lambda: len(work.files("began.*")) == count, 30, f"{count} running jobs")


def output_log(work: Workdir) -> Path:
    return work.directory / ".snakemake/harbor/output.log"


def harbor(work: Workdir, *arguments: str) -> "subprocess.Popen[str]":
    """Start the `harbor` command in a directory."""
    code = "import sys; from snakemake_executor_plugin_harbor.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=work.directory, stdout=out, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("into_tee", [False, True], ids=["terminal", "tee"])
def test_a_run_goes_on_when_its_terminal_is_closed(work, pool, into_tee):
    terminal = Terminal()
    before = IN_TERMINAL.format(name=terminal.name) + INTO_TEE * into_tee
    run = work.start(*on(pool, "2/localhost"), before=before)
    terminal.until("1 of 1 nodes ready")
    began(work, 2)
    terminal.close()
    with suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGHUP)  # as a shell does with its jobs
    wait_until(output_log(work).exists, 20, "the output log")
    attached = harbor(work, "attach")
    (work.directory / "go").touch()
    assert run.wait() == 0
    assert work.files("out/*") == ["0", "1", "2", "3"] and work.files("table")
    text = output_log(work).read_text()
    assert re.match(r"harbor: run \S+ has lost its terminal", text)
    for said in (
        "1 of 1 nodes ready",
        "the output goes on in",
        "by a local rule",
        "printed at the end",
        "Complete log",
    ):
        assert said in text, text
    assert "rror" not in text, text
    if into_tee:
        assert "1 of 1 nodes ready" in (work.directory / "tee.txt").read_text()
    told = attached.communicate(timeout=30)[0]
    assert attached.returncode == 0 and "Complete log" in told and "all jobs are done" in told


def test_start_attach_and_stop(work, pool):
    options = [*on(pool, "2/node1"), "--scheduler", "harbor", "--nolock", "--rerun-incomplete"]
    started = work.harbor("start", "--", *options)
    assert started.returncode == 0, started.stderr
    for said in ("1 of 1 nodes ready", "goes on without this terminal, in a s", "harbor attach", "harbor stop"):
        assert said in started.stdout
    began(work, 2)
    again = work.harbor("start", "--", *options)
    assert again.returncode == 1 and "goes on here already" in again.stderr and "harbor attach" in again.stderr
    attached = harbor(work, "attach")
    stopped = work.harbor("stop")
    assert stopped.returncode == 0 and "the 2 jobs on the nodes" in stopped.stdout, stopped.stderr
    assert work.harbor("stop").returncode == 0, "a second one is no Ctrl-C"
    (work.directory / "go").touch()
    told = attached.communicate(timeout=30)[0]
    assert attached.returncode == 1 and "not all jobs are done" in told and "Complete log" in told, told
    assert len(work.files("out/*")) == 2 and len(work.files("began.*")) == 2
    (work.directory / "go").unlink()
    again = json.loads(work.harbor("start", "--json", "--", *options).stdout)
    assert again["exit"] is None and "harbor attach" in again["next"]
    began(work, 4)
    assert work.harbor("stop").returncode == 0
    now = work.harbor("stop", "--now")
    assert now.returncode == 0 and "its 2 jobs on the nodes, too" in now.stdout, now.stderr
    assert len(work.files("out/*")) == 2 and not processes_in(work.directory)
    assert work.harbor("attach").returncode == 1
    failed = work.harbor("start", "--", "--no-such-option")
    assert failed.returncode == 1 and "unrecognized arguments: --no-such-option" in failed.stdout
