"""Finds the Python of this node that has Snakemake. The names of installed packages tell, so no program is started."""

import os
import re
import sys

from harbor_programs import which

PACKAGE = re.compile(r"snakemake-([0-9][^-]*)(?:-py[0-9.]+)?\.(?:dist|egg)-info\Z")
RELEASED = re.compile(r"python[0-9]\.[0-9]+\Z")


def snakemake(welcome):
    """Return [Python, version of its Snakemake] for jobs that a Snakemake runs here, or None if there is none.

    One of the release of the controller's Snakemake comes first.
    """
    wanted = release(welcome.get("snakemake") or "")
    found = [[python, version] for python in pythons(welcome.get("python")) for version in versions(python)]
    return next((pair for pair in found if release(pair[1]) == wanted), found[0] if found else None)


def release(version):
    return version.split(".")[:2]


def pythons(controllers):
    """Return the Pythons to look at: the controller's, if that path is a program here, ours, and those in PATH."""
    command = which("snakemake")
    named = [controllers, sys.executable, which("python3"), command and interpreter_of(command)]
    return list(dict.fromkeys(path for path in named if path and os.path.isfile(path) and os.access(path, os.X_OK)))


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
