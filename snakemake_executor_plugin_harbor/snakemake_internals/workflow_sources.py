"""The files that a Snakemake needs to read the workflow on a node which has none of them."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import node_python, source_cache

LOCAL = "file/"
"""Below this directory, the source cache has copies of local files by their absolute paths."""

_WRITING = re.compile(r"\..*\.[a-z0-9_]{8}")
"""The name of a copy that another thread is writing now."""
_AT_START = frozenset(sys.modules)
"""The modules that were imported before a Snakefile was read. This module is imported with the plugin, so earlier."""


def cached_files(workflow: Any) -> Iterator[tuple[str, str]]:
    """Yield the copies in the runtime cache, with their names in it.

    Snakefiles, scripts, and files that `workflow.source_path()` has named are there, as they were when the run began.
    """
    directory = str(source_cache.runtime_directory(workflow))
    for above, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(above, name)
            if not _WRITING.fullmatch(name):
                yield path, os.path.relpath(path, directory)


def main_snakefile(workflow: Any) -> str:
    """The Snakefile of the run, as an absolute path or an URL."""
    path = str(workflow.main_snakefile)
    return path if "://" in path else os.path.join(workflow.workdir_init, path)


def config_files(workflow: Any) -> Iterator[tuple[str, str]]:
    """Yield the files that `configfile:` names, each with this name."""
    for name in dict.fromkeys(map(str, workflow.configfiles)):
        places = (os.path.join(directory, name) for directory in (os.getcwd(), workflow.workdir_init))
        path = next(filter(os.path.isfile, places), None)
        if path is not None:
            yield path, name


def imported_files(workflow: Any) -> Iterator[str]:
    """Yield the files of Python modules which the Snakefiles have imported from their own or the working directory."""
    roots = [os.getcwd(), *(str(each.get_basedir()) for each in workflow.included if each.is_local)]
    above = tuple(os.path.abspath(root).rstrip("/") + "/" for root in roots)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in _AT_START or not isinstance(file, str) or not file.startswith(above):
            continue
        if os.path.isfile(file) and not node_python.is_of_this_installation(file):
            yield file


def checkpoint_outputs(workflow: Any, job: Any) -> list[str]:
    """The outputs of checkpoints that have ended, if one of them has changed the job: its functions may read them."""
    made = list(workflow.checkpoints.created_output) if job.is_updated else []
    return [str(path) for path in made if Path(path).exists()]
