"""Finds a Snakemake profile by its name, as Snakemake does, and writes the host list of a profile."""

import os
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from platformdirs import PlatformDirs

from .shipped import shipped

_FILE = re.compile(r"(?:profile|config)(?:\.v(\d+)\+)?\.yaml")
_PLACES = PlatformDirs("snakemake", "snakemake")


def user_profiles() -> Path:
    """Return the directory in which Snakemake looks for the profiles of this user."""
    return Path(_PLACES.user_config_dir)


def profile_file(profile: str) -> Path | None:
    """Return the file that `snakemake --profile PROFILE` reads, or None.

    A profile is the path of a file or directory, or a name in the user's or the machine's directory of profiles.
    """
    given = Path(profile)
    places = [given] if given.exists() else [user_profiles() / given, Path(_PLACES.site_config_dir, given)]
    return next((file for place in places if (file := _file_of(place))), None)


def _file_of(place: Path) -> Path | None:
    """Return the file of a profile: that of the highest version of Snakemake which is not above the installed one."""
    if place.is_file():
        return place
    installed = int(version("snakemake").split(".")[0])
    found = {}
    for name in os.listdir(place) if place.is_dir() else ():
        match = _FILE.fullmatch(name)
        if match and int(match[1] or 0) <= installed:
            found[name] = int(match[1] or 0)
    return place / max(found, key=lambda name: found[name]) if found else None


def host_list_text(hosts: Iterable[str], profile: str) -> str:
    """Return a host file with these hosts. Its comment is that of the file which harbor ships."""
    comment = re.match("(#.*\n)*", (shipped("profiles") / "pool" / "hosts").read_text())
    assert comment is not None
    return comment[0].replace("profiles/pool", profile) + "".join(f"{host}\n" for host in hosts)
