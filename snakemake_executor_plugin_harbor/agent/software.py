"""Finds the Python of this node that has Snakemake. The names of installed packages tell, so no program is started."""

import os
import re
import sys

from harbor_programs import which

PACKAGE = re.compile(r"snakemake-([0-9][^-]*)(?:-py[0-9.]+)?\.(?:dist|egg)-info\Z")
RELEASED = re.compile(r"python[0-9]\.[0-9]+\Z")


def snakemake(welcome):
    """Return [Python, version of its Snakemake] for jobs that a Snakemake runs here, or None if there is none.

    The first one of the same release as the controller's Snakemake is preferred.
    """
    wanted, other = release(welcome.get("snakemake") or ""), None
    for python in pythons(welcome.get("python")):
        for version in versions(python):
            if release(version) == wanted:
                return [python, version]
            other = other or [python, version]
    return other


def release(version):
    return version.split(".")[:2]


def pythons(controllers):
    """Yield the Pythons to look at: the controller's, if that path is a program here, ours, and those in PATH."""
    seen = {None}
    for find in (lambda: controllers, lambda: sys.executable, lambda: which("python3"), of_command):
        path = find()
        if path not in seen and os.path.isfile(path) and os.access(path, os.X_OK):
            yield path
        seen.add(path)


def of_command():
    """Return the Python that runs the command `snakemake`, or None."""
    command = which("snakemake")
    return command and interpreter_of(command)


def interpreter_of(script):
    """Return the program that the first line of a script names, or None."""
    try:
        with open(script, "rb") as f:
            line = f.readline(4096)
    except OSError:
        return None
    words = line[2:].decode("utf-8", "replace").split() if line.startswith(b"#!") else []
    return words[0] if words else None


def versions(python):
    """Return the versions of Snakemake in the directories where a Python looks for packages, in their order."""
    found = []
    for directory in sys.path if python == sys.executable else package_directories(python):
        try:
            names = os.listdir(directory or ".")
        except OSError:
            continue
        found += [match.group(1) for match in map(PACKAGE.match, names) if match]
    return found


def package_directories(python):
    """Return the directories where another Python than ours looks for packages."""
    real = os.path.realpath(python)
    prefixes = [os.path.dirname(os.path.dirname(os.path.abspath(python)))]
    if not os.path.exists(os.path.join(prefixes[0], "pyvenv.cfg")):
        prefixes += [os.path.dirname(os.path.dirname(real)), os.path.expanduser("~/.local")]
    names = ["python3"]
    if RELEASED.match(os.path.basename(real)):
        names.insert(0, os.path.basename(real))
    above = [os.path.join(prefix, lib, name) for prefix in prefixes for lib in ("lib", "local/lib") for name in names]
    return [os.path.join(place, folder) for place in above for folder in ("site-packages", "dist-packages")]
