"""The host list of the command line replaces that of the profile, as each other option of the command line does."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

OPTIONS = {"hosts": "--harbor-hosts", "hostfile": "--harbor-hostfile"}
"""The two settings that name hosts. Together they are one list, if both come from the same place."""


def use_typed_hosts(settings: Any, info: Callable[[str], object]) -> None:
    """If only one of the two settings was typed, remove the other one, which the profile has, and say so with `info`.

    Snakemake puts the keys of profiles and the options of the command line into one list before harbor sees them. So
    only the command line itself shows which of them were typed.
    """
    typed = [name for name, option in OPTIONS.items() if is_typed(option, sys.argv[1:])]
    if len(typed) != 1:
        return
    (other,) = OPTIONS.keys() - typed
    replaced = getattr(settings, other)
    if not replaced:
        return
    setattr(settings, other, [] if other == "hosts" else None)
    shown = " ".join(map(str, replaced)) if other == "hosts" else replaced
    info(f"harbor: {OPTIONS[typed[0]]} of the command line replaces {OPTIONS[other][2:]} of the profile ({shown})")


def is_typed(option: str, words: Iterable[str]) -> bool:
    """Return whether the option is among the words of a command line.

    argparse accepts the beginning of a name, if no other option begins so: `--harbor-hostf` is `--harbor-hostfile`.
    """
    names = [word.split("=")[0] for word in words]
    return any(name == option or (option.startswith(name) and name.startswith("--harbor-hostf")) for name in names)
