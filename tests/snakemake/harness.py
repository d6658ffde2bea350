"""Runs of real Snakemake in directories of their own, on real nodes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import psutil

from tests.snakemake import preloaded
from tests.sshd import wait_until

Process = subprocess.Popen[str] | preloaded.Process
LIMITS = ("--max-jobs-per-timespan", "100000/1s")
READ_LATE = {"HARBOR_TEST", "PATH", "SNAKEMAKE_OUTPUT_CACHE", "TOKEN"}
"""Environment variables that no Python, and no module when it is imported, depends on."""


class Workdir:
    """A working directory with a Snakefile."""

    def __init__(self, directory: Path, snakefile: str) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "Snakefile").write_text(textwrap.dedent(snakefile))
        self.runs: list[Process] = []
        self._count = 0

    def start(self, *options: str, env: dict[str, str] | None = None, before: str = "") -> "Run":
        """Start Snakemake. Its output goes to a file, because a pipe that the test does not read would block it.

        It is a fork that runs the Python code `before` first. If `env` has variables that are read at the start of
        Python or of a module, it is a new process from the beginning.
        """
        self._count += 1
        log = self.directory / f"snakemake.{self._count}.log"
        arguments = ["--nocolor", *LIMITS, *options]
        if READ_LATE.issuperset(env or ()):
            variables = {**os.environ, **(env or {})}
            self.runs.append(preloaded.start(arguments, self.directory, log, variables, before))
            return Run(self.runs[-1], log)
        assert not before
        command = [sys.executable, "-m", "snakemake", *arguments]
        # If the tests run in the background of a script or under nohup, Snakemake would inherit ignored signals.
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, handler)
        with log.open("w") as out:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.runs.append(process)
        return Run(process, log)

    def run(self, *options: str, env: dict[str, str] | None = None, before: str = "", timeout: float = 60) -> "Run":
        """Run Snakemake to its end."""
        run = self.start(*options, env=env, before=before)
        run.wait(timeout)
        return run

    def files(self, pattern: str) -> list[str]:
        return sorted(path.name for path in self.directory.glob(pattern))

    def harbor(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `harbor` command in this directory."""
        code = "import sys; from snakemake_executor_plugin_harbor.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=60, check=False)

    def close(self) -> None:
        """End the processes of a failed test: Snakemake, and jobs that wait for a file which will not come."""
        for process in self.runs:
            if process.poll() is None:
                process.kill()
                process.wait()
        for found in processes_in(self.directory):
            with contextlib.suppress(psutil.Error):
                found.kill()


class Run:
    """One Snakemake process."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self.log = log

    def wait(self, timeout: float = 60) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"Snakemake did not end within {timeout} s:\n{self.text[-6000:]}") from None

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Kill (-9) the process, as in a crash."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def expect(self, code: int = 0) -> "Run":
        assert self.process.returncode == code, self.text[-6000:]
        return self

    def until(self, pattern: str, timeout: float = 30) -> None:
        try:
            wait_until(lambda: re.search(pattern, self.text), timeout)
        except TimeoutError:
            raise AssertionError(f"Snakemake did not say {pattern!r} in {timeout} s:\n{self.text[-6000:]}") from None


def setting(name: str, value: float) -> str:
    """Return code for `before` that gives a constant of harbor another value, such as `session.startup.BOOTING_S`. So a
    test need not wait half a minute for the effect.
    """
    module, _, constant = f"snakemake_executor_plugin_harbor.{name}".rpartition(".")
    assert hasattr(import_module(module), constant), name
    return f"import {module} as module\nmodule.{constant} = {value!r}\n"


def processes_in(directory: Path) -> list[psutil.Process]:
    """Return the processes of jobs in a working directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if "HARBOR_JOB_KEY" in process.environ() and Path(process.cwd()).is_relative_to(directory):
                found.append(process)
        except psutil.Error:
            continue
    return found


def jobs_of(marker: str) -> list[int]:
    """Return processes of jobs whose environment contains `marker`, a unique string of the test."""
    found = []
    for process in psutil.process_iter():
        try:
            if marker in process.environ().get("HARBOR_TEST", "") and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def on(pool: object, *hosts: str) -> Sequence[str]:
    """Return the options for a run on these nodes of a pool of test servers.

    The machine is busy with other tests, and all nodes are this machine. So only the slots limit the jobs, and jobs and
    agents are not nice. (tests/snakemake/test_load.py is about load.)
    """
    config = str(pool.ssh_config)  # type: ignore[attr-defined]
    common = ("--executor", "harbor", "--jobs", "1000", "--harbor-ssh-config", config, "--harbor-max-load", "50")
    common += ("--harbor-nice", "0")
    return (*common, "--harbor-hosts", ",".join(hosts))


def apart(pool: object, directory: Path, *hosts: str) -> Sequence[str]:
    """Return options as `on` does, with a scratch directory per node, because all nodes share one /var/tmp here."""
    lines = []
    for host in hosts:
        slots, _, name = host.rpartition("/")
        lines.append(f"{name}: {{scratch: {directory / 'scratch' / name}{', slots: ' + slots if slots else ''}}}\n")
    (directory / "scratch").mkdir(exist_ok=True)
    (directory / "hosts.yaml").write_text("".join(lines))
    return (*on(pool)[:-2], "--harbor-hostfile", str(directory / "hosts.yaml"))
