"""Read the sweeps of a configuration of Parallel-Task-Harbor that `--config sweep_file=FILE` names.

This module runs in Snakemake's own process. It raises SweepError only.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep_cases import SweepError


def with_sweeps(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration with the sweeps of `sweep_file` instead of its own, or as it is without this key."""
    if "sweep_file" not in config:
        return config
    given = str(config["sweep_file"])
    if given.endswith((".yaml", ".yml")):
        raise SweepError(
            f"sweep_file: {given}: this key is for configurations of Parallel-Task-Harbor\n  Try: --configfile {given}"
        )
    try:
        return {**config, **_read(given).sweeps()}
    except ImportError as error:
        raise SweepError(
            f"sweep_file: harbor reads {given}, and this Python has no harbor: {error}\n"
            "  Try: pip install snakemake-executor-plugin-harbor"
        ) from error


def _read(path: str) -> Any:
    from snakemake_executor_plugin_harbor.config.importers.parallel_task_harbor import read
    from snakemake_executor_plugin_harbor.errors import HarborError

    try:
        return read(Path(path))
    except HarborError as error:
        raise SweepError(str(error)) from error
