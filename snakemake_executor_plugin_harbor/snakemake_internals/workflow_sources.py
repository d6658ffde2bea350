"""The files that a Snakemake needs to read the workflow on a node which has none of them."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import node_python, node_run, opened_files, source_cache
from .job import members, wildcards

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


def read_files(workflow: Any) -> Iterator[str]:
    """Yield the files which the code of Snakefiles has opened or imported from their own or the working directory."""
    roots = [os.getcwd(), *(str(each.get_basedir()) for each in workflow.included if each.is_local)]
    above = tuple(os.path.abspath(root).rstrip("/") + "/" for root in roots)
    internal = os.path.join(os.getcwd(), ".snakemake/")
    modules = [getattr(each, "__file__", None) for name, each in list(sys.modules.items()) if name not in _AT_START]
    for file in (*modules, *opened_files.read_by_snakefiles()):
        if not isinstance(file, str) or not file.startswith(above) or file.startswith(internal):
            continue
        if os.path.isfile(file) and not node_python.is_of_this_installation(file):
            yield file


def cwl_files(job: Any) -> Iterator[str]:
    """Yield the local files that `cwl:` names in the rules of the job. They are in no cache."""
    for one in members(job):
        if one.is_cwl and not one.rule.cwl.startswith("http"):
            path = re.sub("^file:(//)?", "", one.rule.cwl).format(wildcards=one.wildcards)
            yield os.path.join(str(one.rule.basedir), path)


RUNNER = node_run.__file__
"""The program that runs Snakemake on the node."""


def facts_for_runner(workflow: Any, job: Any) -> dict[str, list[str]]:
    """What the program on the node is told about the job, or about the jobs of the group."""
    jobs = [node_run.digest(one.rule.name, wildcards(one).items(), map(str, one.input)) for one in members(job)]
    return {"jobs": jobs, "checkpoints": checkpoint_outputs(workflow, job)}


def checkpoint_outputs(workflow: Any, job: Any) -> list[str]:
    """The outputs of checkpoints that have ended, if one of them has changed the job: its functions may read them."""
    made = list(workflow.checkpoints.created_output) if job.is_updated else []
    return [str(path) for path in made if Path(path).exists()]
