"""Start Snakemake without a terminal: the run goes on after a logout. Its output is in .snakemake/harbor/output.log.

The command shows the output until the first jobs can start, or until the run has failed.
"""

import argparse
import getpass
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from ..errors import HarborError
from ..store.control_socket import ask
from ..store.journal_reader import JournalReader, open_run
from ..store.output_log import open_output_log, output_log
from ..store.workdir import controller_of
from .attach import report_end
from .follow import follow

SCOPE = ("systemd-run", "--user", "--scope", "--quiet", "--collect")
LINGERING = Path("/var/lib/systemd/linger")
"""systemd has a file here for each user whose processes go on after a logout."""
NEXT = {
    "harbor attach": "follows the output",
    "harbor status --watch": "shows jobs and nodes",
    "harbor stop": "starts nothing more; with --now, it ends the jobs, too",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", metavar="PROFILE", help="a profile of Snakemake, by name or path")
    parser.add_argument("arguments", nargs="*", metavar="ARGS", help="Snakemake's other arguments, after --")


def run(arguments: argparse.Namespace) -> int:
    _refuse_second(Path.cwd())
    options = ["--profile", arguments.profile] if arguments.profile else []
    started = Started([sys.executable, "-m", "snakemake", *options, *arguments.arguments])
    path = output_log(Path.cwd())
    try:
        follow(Path(os.devnull) if arguments.json else path, started.has_begun_or_ended)
    except KeyboardInterrupt:
        print(f"\nharbor: process {started.process.pid} goes on. Type: harbor attach", file=sys.stderr)
        raise
    code = started.process.poll()
    if arguments.json:
        reader = started.reader
        told = {"run": reader and reader.run, "pid": started.process.pid, "how": started.how, "output": str(path)}
        print(json.dumps({**told, "exit": code, "next": list(NEXT)}))
    elif code is None:
        _report_begin(started)
    elif started.reader is not None:
        report_end(started.reader)
    elif code:
        print(f"harbor: Snakemake has ended with exit code {code} before it began. Its output: {path}", file=sys.stderr)
    return 1 if code else 0


def _refuse_second(workdir: Path) -> None:
    """Raise HarborError if a run goes on in a directory."""
    controller = controller_of(workdir)
    if controller is not None:
        raise HarborError(
            f"run {controller.run} goes on here already (process {controller.pid} on {controller.host}).",
            "; ".join(NEXT),
        )


class Started:
    """Snakemake in a session of its own, and where systemd keeps processes after a logout, in a scope of its own.

    `reader` reads the run's journal as soon as there is one.
    """

    def __init__(self, command: list[str]) -> None:
        self.how = "a session of its own"
        if _systemd_keeps_processes():
            command = [*SCOPE, *command]
            self.how = "a scope of systemd, which goes on after a logout"
        # A command that a script starts in the background ignores these signals, and what it starts does so, too.
        for number in (signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        output = _open_output()
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        finally:
            os.close(output)
        self.reader: JournalReader | None = None

    def has_begun_or_ended(self) -> bool:
        """Return whether nodes are ready and every job fits on one of them, or whether Snakemake has ended."""
        if self.process.poll() is not None:
            self._find_run()
            return True
        if self.reader is None:
            self._find_run()
        with suppress(HarborError):
            return self.reader is not None and bool(ask(self.reader.path.parent, {"op": "begun"})["begun"])
        return False

    def directory(self) -> Path:
        """Return the directory in which Snakemake works. It may be another one than ours (`--directory`)."""
        try:
            return Path(psutil.Process(self.process.pid).cwd())
        except psutil.Error:
            return Path.cwd()

    def _find_run(self) -> None:
        """Open the journal, if it is of this process and not of an earlier run."""
        with suppress(HarborError):
            reader = open_run(self.directory())
            if reader.facts().get("pid") == self.process.pid:
                self.reader = reader


def _open_output() -> int:
    try:
        return open_output_log(Path.cwd())
    except OSError as error:
        raise HarborError(
            f"{output_log(Path.cwd())} cannot be written: {error.strerror}.", f"df -h {shlex.quote(os.getcwd())}"
        ) from error


def _systemd_keeps_processes() -> bool:
    """Return whether the user's systemd runs, takes processes, and goes on after a logout."""
    if shutil.which(SCOPE[0]) is None or not (LINGERING / getpass.getuser()).exists():
        return False
    tried = subprocess.run([*SCOPE, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
    return tried.returncode == 0


def _report_begin(started: Started) -> None:
    assert started.reader is not None
    print(f"harbor: run {started.reader.run} goes on without this terminal, in {started.how}.")
    if started.how.endswith("own") and Path("/run/systemd/system").exists():
        print("  loginctl enable-linger # before the next start, if a logout ends all of your processes here")
    directory = started.directory()
    if directory != Path.cwd():
        print(f"  cd {shlex.quote(str(directory))}")
    for command, what in NEXT.items():
        print(f"  {command:<22} # {what}")
