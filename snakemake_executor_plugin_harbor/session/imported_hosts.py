"""Takes the host list from the configuration of Parallel-Task-Harbor that `--config sweep_file=FILE` names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config.importers import parallel_task_harbor
from ..snakemake_internals.settings import sweep_file

SHOWN = 10


def use_imported_hosts(workflow: Any, settings: Any, info: Callable[[str], object]) -> None:
    """Replace the hosts in the settings, and say so with `info`. Without `sweep_file`, nothing changes.

    The file decides where it runs, as it does with Parallel-Task-Harbor: `--remote_enable` 0 means localhost with
    MAX_CORE jobs at once, and 1 the list of hosts. So the hosts of the options or of the profile do not count.
    Raises HarborError if the file is wrong.
    """
    path = sweep_file(workflow)
    if path is None:
        return
    imported = parallel_task_harbor.read(Path(path))
    hosts = imported.hosts()
    settings.hosts, settings.hostfile = hosts, None
    shown = " ".join(hosts[:SHOWN]) + (" ..." if len(hosts) > SHOWN else "")
    info(f"The hosts are those of {path} ({imported.hosts_origin()}) and not those of the options or profile: {shown}")
