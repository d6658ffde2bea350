"""Changes of the text inside values of any kind, such as the inputs and params of a job."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..snakemake_internals import named_list

Change = Callable[[str], str]


def with_text(value: Any, change: Change) -> Any:
    """The value with `change` applied to each string in it. It may be a string, or containers at any depth.

    A value in which nothing changes is returned itself, not a copy.
    """
    if isinstance(value, str):
        changed = change(value)
        return value if changed == value else changed
    if isinstance(value, Path):
        text = str(value)
        changed = change(text)
        return value if changed == text else type(value)(changed)
    if named_list.is_named_list(value):
        return named_list.mapped(value, lambda item: with_text(item, change)) if _changes(value, change) else value
    if isinstance(value, Mapping) and _changes(value.values(), change):
        return {key: with_text(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and _changes(value, change):
        return type(value)(with_text(item, change) for item in value)
    return value


def _changes(values: Iterable[Any], change: Change) -> bool:
    return any(with_text(value, change) is not value for value in values)
