"""What Snakemake keeps in the controller's home directory, put where nodes with only the working directory see it.

Snakemake reads Snakefiles, scripts and wrappers through its source cache, and `workflow.source_path()` returns a path
in it. The cache lies in the home directory. This module copies what jobs may need to `.snakemake/harbor/sources/`.
"""

import contextlib
import hashlib
import re
import shutil
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.utils import format_cli_arg

MANY_FILES = 100
"""A longer list of files goes to the node as a file: a command line has a bound, and so has a message."""


class SourceFiles:
    """The copies that belong to one run. They are made once, when it begins; most runs have a Snakefile in there."""

    def __init__(self, workflow: Any, directory: Path) -> None:
        self.directory = directory
        cache = workflow.sourcecache
        runtime = Path(cache.runtime_cache_path)
        self.runtime = directory / runtime.name
        self._cache = str(cache.cache_path)
        self._old_runtime = str(runtime)
        self._cached = re.compile(re.escape(self._cache) + r"/[^\s'\"]+")
        with contextlib.suppress(FileNotFoundError):
            shutil.copytree(runtime, self.runtime, dirs_exist_ok=True)
        # From here on Snakemake puts there what it reads first, and tells a Snakemake on a node to look there.
        cache._runtime_cache_path = str(self.runtime)

    def for_node(self, value: Any) -> Any:
        """`value`, which may be text, or strings in any containers, with the paths that nodes know."""
        from snakemake.iocontainers import Namedlist

        if isinstance(value, str):
            return self._moved_text(value) if self._cache in value or self._old_runtime in value else value
        if isinstance(value, Path):
            return type(value)(self.for_node(str(value)))
        if isinstance(value, Namedlist):
            # Most lists have no such path, and are not copied.
            return type(value)(toclone=value, custom_map=self.for_node) if self._concerns(value) else value
        if isinstance(value, Mapping) and self._concerns(value.values()):
            return {key: self.for_node(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)) and self._concerns(value):
            return type(value)(map(self.for_node, value))
        return value

    def wait_option(self, files: Iterable[str]) -> str:
        """Snakemake's option for the files that a node has to see before a job begins."""
        names = [self.for_node(str(file)) for file in files]
        if len(names) <= MANY_FILES:
            return str(format_cli_arg("--wait-for-files", names))
        # Snakemake strips each line of the file. The few names that this changes are not waited for.
        text = "".join(f"{name}\n" for name in names if name.splitlines() == [name.strip()])
        path = self.directory / f"inputs-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(text, encoding="utf-8", errors="surrogateescape")
            part.rename(path)
        return str(format_cli_arg("--wait-for-files-file", str(path)))

    def cache_script(self, job: Any) -> None:
        """Cache the script, notebook or wrapper of a job that a Snakemake on a node will look for.

        That one finds it in the copy of the cache, also where the node lacks the original.
        """
        from snakemake.script import get_source
        from snakemake.wrapper import get_script

        workflow, rule = job.rule.workflow, job.rule
        # What cannot be found is Snakemake's to report, when the job runs.
        with contextlib.suppress(Exception):
            if rule.wrapper:
                get_script(rule.wrapper, workflow.sourcecache, prefix=workflow.workflow_settings.wrapper_prefix)
            elif rule.script or rule.notebook:
                path = rule.script or rule.notebook
                get_source(path, workflow.sourcecache, rule.basedir, job.wildcards, job.params)

    def remove(self, everything: bool) -> None:
        """Remove this run's copies, or those of earlier runs too: no job needs them any more."""
        shutil.rmtree(self.directory if everything else self.runtime, ignore_errors=True)

    def _concerns(self, values: Iterable[Any]) -> bool:
        return any(self.for_node(value) is not value for value in values)

    def _moved_text(self, text: str) -> str:
        text = text.replace(self._old_runtime, str(self.runtime))
        if self._cache not in text:
            return text
        for path in set(self._cached.findall(text)):
            self._copy(Path(path))
        return text.replace(self._cache, str(self.directory / "cache"))

    def _copy(self, path: Path) -> None:
        """What the cache holds for many runs (files of a release) is copied when a job names it."""
        copy = self.directory / "cache" / path.relative_to(self._cache)
        if path.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f"{copy.name}.{threading.get_ident()}.part")  # several threads make commands
            shutil.copy2(path, part)
            part.rename(copy)
