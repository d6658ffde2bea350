"""The checks of this machine, on which Snakemake and harbor run."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from ...config.password import PASSWORD_VARIABLE
from ...config.pool_config import PoolConfig
from ...remote.survey import Answer
from ...snakemake_internals.contract import NEWEST, OLDEST
from ...store.workdir import read_lock
from .finding import Finding

NETWORK = re.compile(r"nfs|cifs|smb|afs|lustre|gpfs|beegfs|ceph|gluster|fuse\.sshfs|9p|pvfs|panfs|orangefs", re.I)
"""The types of file systems that several machines share."""
SSH_S = 10.0

Found = Iterator[Finding]
_make = partial(Finding, None)


def summary(workdir: Path) -> Finding:
    """Return the line about this machine that is always shown."""
    kind = filesystem(workdir)
    text = f"Snakemake {version('snakemake')}, working directory {workdir}{f' on {kind}' if kind else ''}"
    return _make("controller", "ok", text)


def check(config: PoolConfig, workdir: Path, profile: Mapping[str, Any] | None, files: str | None) -> Found:
    """Yield what is wrong before any node is asked. `files` is the warning about the limit of open files."""
    yield from ssh(config)
    if files:
        text, _, hint = files.partition(" Try: ")
        yield _make("files", "warning", text, hint)
    yield from snakemake(version("snakemake"))
    yield from journal(Path(f"/var/tmp/harbor-{os.getuid()}"))
    yield from locks(workdir, profile)
    if profile is not None:
        yield from profile_keys(profile)


def check_pool(answers: Sequence[Answer], workdir: Path) -> Found:
    """Yield what the answers of all nodes show together."""
    kind = filesystem(workdir)
    alone = [answer for answer in answers if answer.facts and not answer.facts.shared and not answer.spec.local]
    if alone and not NETWORK.search(kind):
        text = f"{workdir} is on {kind or 'a disk'} of this machine, so others see it only if this machine exports it"
        yield _make("directory", "note", text, f"df -h {shlex.quote(str(workdir))}")
    same: dict[str, list[str]] = {}
    for answer in answers:
        if answer.facts and answer.facts.boot_id and not answer.facts.quota:
            same.setdefault(answer.facts.boot_id, []).append(answer.spec.name)
    for names in same.values():
        if len(names) > 1:
            text = f"{', '.join(names)} are one machine under several names; harbor counts its cores once"
            yield _make("machines", "note", text)


def ssh(config: PoolConfig) -> Found:
    if all(node.local for node in config.nodes):
        return
    if shutil.which("ssh") is None:
        needed = config.transport == "openssh"
        text = "the ssh program is not installed here"
        text += "" if needed else ", so Include and Match in ~/.ssh/config have no effect"
        yield _make("ssh", "error" if needed else "warning", text, "sudo apt-get install openssh-client")
        return
    # The host is one that no Host block names.
    words = ["ssh", "-G", *(["-F", str(config.ssh_config)] if config.ssh_config else []), "harbor.invalid"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=SSH_S, check=False)
    except subprocess.TimeoutExpired:
        yield _make("ssh", "error", f"the ssh configuration takes more than {SSH_S:.0f} s", shlex.join(words))
        return
    if done.returncode:
        why = "; ".join(done.stderr.decode(errors="replace").strip().splitlines()) or "ssh gives no reason"
        yield _make("ssh", "error", f"the ssh configuration is not valid: {why}", shlex.join(words))


def snakemake(installed: str) -> Found:
    """Whether harbor was tested with the Snakemake that is installed. A run checks each name that it uses."""
    found = tuple(int(number) for number in re.findall(r"\d+", installed)[:2])
    if OLDEST <= found <= NEWEST:
        return
    old, new = (".".join(map(str, minor)) for minor in (OLDEST, NEWEST))
    text = f"harbor was tested with Snakemake {old} to {new}, not with {installed}. A run says what is missing"
    yield _make("snakemake", "warning", text, f"pip install 'snakemake>={old},<{NEWEST[0]}.{NEWEST[1] + 1}'")


def journal(directory: Path) -> Found:
    """Whether the journal can be written to this directory on a local disk."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        if not os.access(directory.parent, os.W_OK | os.X_OK):
            text = f"{directory.parent} cannot be written, and harbor keeps its journal there"
            yield _make("journal", "error", text, f"ls -ld {directory.parent}")
            return
    else:
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            text = f"{directory} is a link or belongs to another user, so harbor does not write its journal there"
            yield _make("journal", "error", text, f"ls -ld {directory}")
            return
    kind = filesystem(directory)
    if NETWORK.search(kind):
        text = f"{directory} is on {kind}, and the journal needs a local disk"
        yield _make("journal", "warning", text, f"df -h {directory.parent}")
    free = shutil.disk_usage(directory.parent).free >> 20
    if free < 64:
        text = f"only {free} MiB are free for the journal in {directory}"
        yield _make("journal", "warning", text, f"df -h {directory.parent}")


def locks(workdir: Path, profile: Mapping[str, Any] | None) -> Found:
    """Whether another run works in this directory, or has left a lock of Snakemake."""
    found = read_lock(workdir / ".snakemake/harbor/lock")
    if found is not None:
        owner, heartbeat = found
        where = f"run {owner.run} (process {owner.pid} on {owner.host})"
        if owner.alive(heartbeat):
            text = f"{where} works in this directory now, so a second start is refused"
            yield _make("lock", "note", text, "harbor status")
        else:
            ago = max(0, int(time.time() - heartbeat))
            text = f"{where} died {ago // 60} min ago. The next start takes over its jobs"
            yield _make("lock", "note", text, "harbor status")
    nolock = profile is not None and profile.get("nolock") is True
    locks = workdir / ".snakemake/locks"
    if not nolock and (found is None or not found[0].alive(found[1])) and locks.is_dir() and any(locks.iterdir()):
        text = "Snakemake's own lock is set, so Snakemake refuses to start, unless nolock: true is in the profile"
        yield _make("lock", "warning", text, "snakemake --unlock   # if no other Snakemake runs here")


def profile_keys(profile: Mapping[str, Any]) -> Found:
    """Whether the profile has the keys that runs need."""
    if profile.get("executor") != "harbor":
        text = f"executor: {profile.get('executor', 'is missing')} in the profile, so harbor runs no job"
        yield _make("profile", "warning", text, "write into the profile: executor: harbor")
    if profile.get("scheduler") != "harbor":
        text = "without scheduler: harbor in the profile, jobs count as running while they wait in harbor's queue"
        yield _make("profile", "warning", text, "write into the profile: scheduler: harbor")
    for key in ("rerun-incomplete", "nolock"):
        if profile.get(key) is not True:
            text = f"without {key}: true in the profile, the next start does not take over jobs after a crash"
            yield _make("profile", "warning", text, f"write into the profile: {key}: true")
    if "harbor-password" in profile:
        text = "harbor-password in the profile is refused; the password comes from the environment"
        hint = f"read -rs {PASSWORD_VARIABLE} && export {PASSWORD_VARIABLE}"
        yield _make("profile", "error", text, hint)


def filesystem(path: Path) -> str:
    """Return the type of the file system of a path, or "" if it is unknown."""
    real, kind, longest = os.path.realpath(path), "", 0
    for part in psutil.disk_partitions(all=True):
        inside = f"{real}/".startswith(part.mountpoint.rstrip("/") + "/")
        if inside and len(part.mountpoint) >= longest:
            # Of two mounts at the same place, the later one is seen.
            kind, longest = part.fstype, len(part.mountpoint)
    return kind
