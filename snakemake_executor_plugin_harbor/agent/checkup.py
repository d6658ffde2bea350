"""Answers what only `harbor doctor` asks about this node. A run never asks, because the answers take time."""

import os
import re

from harbor_programs import output_of, which
from harbor_system import read_file

# Where logind's configuration lies. Later directories win.
CONFIGURATION = ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd")
SNAKEMAKE_VERSION = "from importlib.metadata import version; print(version('snakemake'))"


def checkup(message, workdir, scratch, user):
    """Return the answers.

    `message` names the file to make in the working directory (`probe`), the directory's resolved form (`workdir`), and
    programs that jobs may need: `needs` by their paths, the first of which is the controller's Python.
    """
    probe, needs = message["probe"], message["needs"]
    here = {"state": state_of(workdir)} if workdir.path else {}
    resolved = message.get("workdir")
    return {
        "charmap": output_of(["locale", "charmap"], 5).strip(),
        "bash": which("bash") is not None or os.access("/bin/bash", os.X_OK),
        "workdir": dict(here, **disk(workdir.path)),
        "scratch": disk(scratch),
        "resolved": bool(resolved) and os.path.exists(os.path.join(resolved, os.path.basename(workdir.probe or "?"))),
        "made": make_file(probe["file"], probe["token"]) if workdir.shared else "",
        "missing": [path for path in needs if not os.path.exists(path)],
        "snakemake": output_of([needs[0], "-c", SNAKEMAKE_VERSION], 10).strip(),
        "logout": logout(user),
    }  # fmt: skip


def state_of(workdir):
    """Return what the path of the working directory is here: here, other, missing, no directory, or the error."""
    if workdir.shared:
        return "here"
    if not os.path.lexists(workdir.path):
        return "missing"
    try:
        with open(workdir.probe):
            return "other"
    except FileNotFoundError:
        return "other"
    except OSError as error:
        return error.strerror or str(error)


def disk(path):
    """Return what statvfs tells about the disk of a directory, beside its free space."""
    try:
        found = os.statvfs(path)
    except (OSError, TypeError):
        return {}
    # Btrfs and some network filesystems have no number of inodes.
    inodes = found.f_favail if found.f_files else None
    return {"noexec": bool(found.f_flag & getattr(os, "ST_NOEXEC", 0)), "inodes": inodes}


def make_file(path, text):
    """Make a file that the controller looks for. Return "", or why it cannot be made."""
    try:
        with open(path, "x") as file:
            file.write(text)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def logout(user):
    """Return what systemd does with our processes when the connection ends: "kill", "kill, lingers", or "".

    It ends the processes in the session's scope. A lingering user may start processes outside of it.
    """
    in_session = re.search(r"/session-[^/\n]*\.scope", read_file("/proc/self/cgroup"))
    if not in_session or not os.path.isdir("/run/systemd/system") or not kills_user_processes(user):
        return ""
    return "kill, lingers" if os.path.exists("/var/lib/systemd/linger/" + user) else "kill"


def kills_user_processes(user):
    """Return whether logind.conf says that the processes of this user are killed at the end of a session."""
    values = {"KillUserProcesses": "no", "KillOnlyUsers": "", "KillExcludeUsers": "root"}
    for text in logind_configuration():
        values.update(re.findall(r"^[ \t]*(Kill\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.M))
    only, excluded = values["KillOnlyUsers"].split(), values["KillExcludeUsers"].split()
    if values["KillUserProcesses"].lower() not in ("yes", "y", "true", "t", "on", "1") or user in excluded:
        return False
    return not only or user in only


def logind_configuration():
    """Yield the texts of logind's configuration. A later one overrides an earlier one."""
    names = [directory + "/logind.conf" for directory in reversed(CONFIGURATION)]
    text = next(filter(None, map(read_file, names)), "")
    # The comments of this file show the values that systemd was compiled with.
    yield re.sub(r"^#(?=Kill)", "", text, flags=re.M)
    yield text
    drop_ins = {}
    for directory in CONFIGURATION:
        try:
            found = os.listdir(directory + "/logind.conf.d")
        except OSError:
            continue
        drop_ins.update({name: directory + "/logind.conf.d/" + name for name in found if name.endswith(".conf")})
    for name in sorted(drop_ins):
        yield read_file(drop_ins[name])
