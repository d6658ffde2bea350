"""Snakemake executor plugin `harbor`. Snakemake looks up the names of `plugin.py` here.

They are imported when somebody asks for them, because the `harbor` command does not need Snakemake's interfaces, which
take a third of its time.
"""

from typing import Any

__all__ = ["Executor", "ExecutorSettings", "common_settings"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import plugin

        return getattr(plugin, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
