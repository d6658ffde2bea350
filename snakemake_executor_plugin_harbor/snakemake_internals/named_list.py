"""Snakemake's lists whose items may have names, such as the inputs and params of a job."""

from collections.abc import Callable
from typing import Any


def is_named_list(value: Any) -> bool:
    return isinstance(value, list) and hasattr(value, "_allitems")


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of the list with `change` applied to each item, and with the same names."""
    return type(value)(toclone=value, custom_map=change)


def items(value: Any) -> list[tuple[str | None, Any]]:
    """The items with their names."""
    return list(value._allitems())
