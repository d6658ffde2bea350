"""The checks of one node, from its answers to the survey."""

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from ...core.free_resources import within_hours
from ...core.model import Checkup, Disk, Load, NodeFacts, without_name
from ...remote.survey import Answer
from .finding import LEVELS, Finding

SKEW_S = 5.0
LOW_MB = 1024
SCRATCH_MB = 16
"""A node with less than this in scratch gets no job."""
LOW_INODES = 1000
SHOWN = 60
"""This many characters of login noise are shown."""
SCOPE = 'exec systemd-run --user --scope -q python3 "$@"'
"""A script with this line as a node's `python:` starts harbor's agent outside of the session."""

Found = Iterator[Finding]


@dataclass(frozen=True)
class Here:
    """What the checks compare a node with: the working directory as typed, our user id, Python and Snakemake."""

    workdir: Path
    python: str
    snakemake: str
    uid: int
    hour: int

    @classmethod
    def now(cls, workdir: Path, python: str, snakemake: str) -> "Here":
        return cls(workdir, python, snakemake, os.getuid(), datetime.now().hour)


def examine(answer: Answer, here: Here) -> list[Finding]:
    """Return the findings about a node, the worst first."""
    make: Callable[..., Finding] = partial(Finding, answer.spec.name)
    if answer.facts is None or answer.checkup is None:
        text, _, hint = answer.reason.partition("\n  Try: ")
        hint = hint or f"{answer.login} true".strip()
        return [make("connection", "error", without_name(answer.spec.name, text), hint)]
    node = _Node(answer, answer.facts, answer.checkup, answer.load or Load(), here, make)
    found = sorted(node.problems(), key=lambda finding: LEVELS.index(finding.level))
    if not any(finding.level == "error" for finding in found):
        found.append(make("answers", "ok", node.summary()))
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


@dataclass(frozen=True)
class _Node:
    """One node that has answered. Each method is one check."""

    answer: Answer
    facts: NodeFacts
    checkup: Checkup
    load: Load
    here: Here
    make: Callable[..., Finding]

    def problems(self) -> Found:
        """Yield the findings of all checks."""
        yield from self.shared()
        yield from self.write()
        yield from self.space()
        yield from self.inodes("scratch", Path(self.facts.scratch), self.checkup.scratch)
        if self.facts.shared:
            yield from self.inodes("the working directory", self.here.workdir, self.checkup.workdir)
            yield from self.noexec()
        yield from self.noise()
        yield from self.locale()
        yield from self.logout()
        yield from self.clock()
        yield from self.programs()
        for warning in self.facts.warnings:
            yield self.make("platform", "note", warning)

    def on_node(self, *words: str) -> str:
        """Return a command line that runs a command on the node."""
        command = shlex.join(words)
        return f"{self.answer.login} {shlex.quote(command)}" if self.answer.login else command

    def summary(self) -> str:
        """Return one line about a node that can be used."""
        took = f" in {self.answer.took:.1f} s" if self.answer.took else ""
        facts, load = self.facts, self.load
        text = f"answers{took}: Python {facts.python}, {facts.cores} cores, {load.busy:.1f} busy"
        text += f", {len(facts.gpus)} GPUs" if facts.gpus else ""
        text += f", scratch {facts.scratch}"
        hours = self.answer.spec.hours
        if hours is not None and not within_hours(hours, self.here.hour):
            text += f"; gets no job now, because its hours are {hours[0]}-{hours[1]}"
        elif load.foreign > facts.cores - 1:
            text += f"; other people use {load.foreign:.1f} cores now, so jobs wait"
        return text

    def shared(self) -> Found:
        if self.facts.shared:
            return
        workdir, state = self.here.workdir, self.checkup.state
        resolved = Path(os.path.realpath(workdir))
        if self.checkup.resolved and resolved != workdir:
            text = f"the working directory {workdir} is missing there, but it is there as {resolved}"
            level = "error" if self.answer.spec.staging == "never" else "warning"
            yield self.make("shared", level, text, f"cd {shlex.quote(str(resolved))}   # and start from there")
            return
        if self.answer.spec.staging != "never":
            what = {"missing": "is missing there", "other": "is another directory there"}
            text = what.get(state, f"cannot be used there: {state}")
            yield self.make("shared", "note", f"the working directory {workdir} {text}, so files are sent and fetched")
            return
        text = {
            "missing": "is missing there. Mount it at the same path",
            "other": "is another directory there. Mount the same one at that path",
        }.get(state, f"cannot be used there: {state}")
        hint = self.on_node("df", str(workdir if state == "other" else workdir.parent))
        yield self.make("shared", "error", f"the working directory {workdir} {text}", hint)

    def write(self) -> Found:
        """Whether jobs may write there, and whether their files are ours."""
        workdir, file = self.here.workdir, self.answer.file
        look = self.on_node("id") + f"; ls -ld {shlex.quote(str(workdir))}"
        if self.checkup.made:
            yield self.make("write", "error", f"jobs cannot write there into {workdir}: {self.checkup.made}", look)
        if file is None:
            return
        if file.problem:
            text = f"it made a file in {workdir}, but {file.problem}"
            text += f"; the file belongs to user {file.uid}, you are user {self.here.uid}" * (file.uid is not None)
            yield self.make("write", "error", text, look)
        elif file.uid != self.here.uid:
            text = (
                f"files that jobs make there belong to user {file.uid} here, and you are user {self.here.uid}. "
                "The administrator should give you the same number on all machines"
            )
            yield self.make("owner", "warning", text, self.on_node("id"))

    def space(self) -> Found:
        free, scratch = self.load.disk_free_mb, self.facts.scratch
        if free is not None and free < LOW_MB:
            level = "error" if free < SCRATCH_MB else "warning"
            text = f"only {free} MiB are free in scratch {scratch}"
            text += f"; without {SCRATCH_MB} MiB it gets no job" if level == "error" else ""
            yield self.make("space", level, text, self.on_node("df", "-h", scratch))
        free = self.load.workdir_free_mb
        if self.facts.shared and free is not None and free < LOW_MB:
            text = f"only {free} MiB are free in the working directory"
            yield self.make("space", "warning", text, self.on_node("df", "-h", str(self.here.workdir)))

    def inodes(self, what: str, path: Path, disk: Disk) -> Found:
        if disk.inodes is not None and disk.inodes < LOW_INODES:
            text = f"only {disk.inodes} more files can be made on the disk of {what} {path} (inodes)"
            level = "error" if disk.inodes == 0 else "warning"
            yield self.make("inodes", level, text, self.on_node("df", "-i", str(path)))

    def noexec(self) -> Found:
        if self.checkup.workdir.noexec:
            text = (
                "the working directory is mounted noexec there, so jobs cannot start programs in it by their name. "
                "Write `bash x.sh` or `python3 x.py` in the commands"
            )
            hint = self.on_node("findmnt", "-T", str(self.here.workdir))
            yield self.make("noexec", "warning", text, hint)

    def noise(self) -> Found:
        if self.facts.noise:
            first = self.facts.noise.splitlines()[0][:SHOWN]
            text = (
                f"its login shell prints {self.facts.noise_bytes} bytes before harbor's agent starts, beginning with "
                f"{first!r}. harbor skips them, scp and rsync do not. Print only in interactive shells"
            )
            yield self.make("noise", "warning", text, self.on_node("true"))

    def locale(self) -> Found:
        charmap = self.checkup.charmap
        if charmap and charmap.upper() != "UTF-8":
            text = (
                f"jobs there get the encoding {charmap}, in which many programs fail at letters like ä. Write for this "
                "node into a .yaml host file: setup: export LC_ALL=C.UTF-8"
            )
            yield self.make("locale", "warning", text, self.on_node("locale", "-a"))

    def logout(self) -> Found:
        if not self.checkup.logout:
            return
        text = (
            "systemd there ends your processes with the connection (KillUserProcesses=yes), so jobs do not outlive it"
        )
        if "lingers" in self.checkup.logout:
            text += f". Let python: in a .yaml host file name a script with the line: {SCOPE}"
            yield self.make("logout", "warning", text, self.on_node("loginctl", "show-user", self.facts.user))
        else:
            text += ". After this command, see `logout` in docs/doctor.md"
            yield self.make("logout", "warning", text, self.on_node("loginctl", "enable-linger", self.facts.user))

    def clock(self) -> Found:
        skew = self.answer.skew
        if skew is not None and abs(skew) > SKEW_S:
            text = f"its clock is off by {skew:+.0f} s, so times in logs and file times of outputs are wrong"
            yield self.make("clock", "warning", text, self.on_node("timedatectl", "status"))

    def programs(self) -> Found:
        """What jobs need there beside Python and a shell."""
        if not self.checkup.bash:
            text = "there is no bash, in which Snakemake runs shell: commands. Install it there"
            yield self.make("bash", "error", text, self.on_node("sh", "-c", "command -v bash"))
        python, version = self.here.python, self.checkup.snakemake
        if not self.facts.shared and self.facts.snakemake is not None:
            python, version = self.facts.snakemake
        if not version:
            what = "is missing there" if python in self.checkup.missing else "has no Snakemake there"
            text = f"run:, notebook: and groups cannot run there, because {python} {what}; Python scripts run there in "
            text += self.facts.interpreter or "python3"
            yield self.make("scripts", "note", text)
        elif version != self.here.snakemake:
            text = f"{python} has Snakemake {version} there, and {self.here.snakemake} here"
            hint = self.on_node(python, "-m", "pip", "install", f"snakemake=={self.here.snakemake}")
            yield self.make("scripts", "warning", text, hint)
        others = [path for path in self.checkup.missing if path != python]
        if others:
            text = f"{', '.join(others)} is missing there, so rules that use it cannot run there"
            yield self.make("programs", "note", text)
