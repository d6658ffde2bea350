"""Compares the table of `contract.py` with the Snakemake that is installed."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from ..errors import HarborError
from .contract import NAMES, NEWEST, OLDEST, Feature, Kind, Name

NOT_IMPORTED = object()
"""Stands for the owner of names whose module is not imported yet. An import for the check alone would take too long."""

_missing: set[Feature] = set()


def verify(workflow: Any, warn: Callable[[str], object]) -> None:
    """Compare the table with the Snakemake that is installed.

    Raises HarborError if a name is missing without which no run is correct. A feature whose names are missing is
    switched off, and `warn` gets one line about it.
    """
    live = [workflow, workflow.dag, workflow.persistence, workflow.sourcecache, *list(workflow.rules)[:1]]
    for name in missing_names(imported_owner, live):
        if name.feature is None:
            raise HarborError(
                f"Snakemake {version()} has no {name.shown}, which harbor needs to {name.purpose}. Harbor was tested "
                f"with Snakemake {_minor(OLDEST)} to {_minor(NEWEST)}.",
                f"pip install 'snakemake>={_minor(OLDEST)},<{_minor((NEWEST[0], NEWEST[1] + 1))}'",
            )
        if name.feature not in _missing:
            _missing.add(name.feature)
            warn(
                f"Snakemake {version()} has no {name.shown}, which harbor needs to {name.purpose}, "
                f"{name.feature.value}. Harbor was tested with Snakemake {_minor(OLDEST)} to {_minor(NEWEST)}."
            )


def has(feature: Feature) -> bool:
    """Return True if `verify` has found all names that the feature needs."""
    return feature not in _missing


def missing_names(find: Callable[[str], Any], live: list[Any]) -> Iterator[Name]:
    """The names that Snakemake does not have.

    `find` returns the class or module of an owner. `live` are objects of Snakemake that exist already. If none of them
    is an instance of the owner, the code of the class shows which attributes its instances have.
    """
    for name in NAMES:
        if name.kind is Kind.TEXT:
            continue
        owner = find(name.owner)
        if owner is not NOT_IMPORTED and (owner is None or not _has(name, owner, live)):
            yield name


def imported_owner(owner: str) -> Any:
    """The class or module with this name; None if there is none, NOT_IMPORTED if its module was not needed yet."""
    module, _, name = owner.partition(":")
    # The module is not read as an attribute, because `snakemake.shell` the attribute is a class.
    found = sys.modules.get(module)
    if found is None:
        return NOT_IMPORTED if _exists(module) else None
    return getattr(found, name, None) if name else found


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # A part of its name is not a package.
        return False


def _has(name: Name, owner: Any, live: list[Any]) -> bool:
    if name.kind is Kind.INSTANCE:
        for instance in live:
            if isinstance(instance, owner):
                return hasattr(instance, name.name)
        return name.name in _names_in_code(owner)
    found = getattr(owner, name.name, None)
    if name.kind is not Kind.METHOD or found is None:
        return hasattr(owner, name.name) or name.name in getattr(owner, "__dataclass_fields__", ())
    code = getattr(getattr(found, "__wrapped__", found), "__code__", None)
    if code is None:
        return False
    return set(name.parameters) <= set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


@cache
def _names_in_code(owner: type) -> frozenset[str]:
    """The attributes that the methods of a class and of its bases read or set."""
    functions = [value for base in owner.__mro__ for value in vars(base).values()]
    codes = [function.__code__ for function in functions if hasattr(function, "__code__")]
    return frozenset(name for code in codes for name in code.co_names)


def version() -> str:
    """The version of the Snakemake that is installed."""
    import snakemake

    return str(snakemake.__version__)


def _minor(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
