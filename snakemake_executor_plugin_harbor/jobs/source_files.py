"""Copies of files in the controller's home directory, for nodes that share only the working directory.

Snakemake reads Snakefiles, scripts and wrappers through its source cache, and `workflow.source_path()` returns a path
in it. The cache lies in the home directory. This module copies what jobs may need to `.snakemake/harbor/sources/`.
"""

import contextlib
import hashlib
import re
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.utils import format_cli_arg

from ..snakemake_internals import source_cache
from .texts import with_text

MANY_FILES = 100
"""A longer list of files is passed to the node in a file, because the length of a command and of a message is bounded.
"""


class SourceFiles:
    """The copies of one run. The runtime cache is copied when the run begins: most runs have a Snakefile in it."""

    def __init__(self, workflow: Any, directory: Path) -> None:
        self.directory = directory
        runtime = source_cache.runtime_directory(workflow)
        self.runtime = directory / runtime.name
        self._cache = str(source_cache.release_directory(workflow))
        self._old_runtime = str(runtime)
        self._cached = re.compile(re.escape(self._cache) + r"/[^\s'\"]+")
        with contextlib.suppress(FileNotFoundError):
            shutil.copytree(runtime, self.runtime, dirs_exist_ok=True)
        source_cache.move_runtime_directory(workflow, self.runtime)

    def for_node(self, value: Any) -> Any:
        """The value with the paths that nodes can read. It may be text, or containers with strings at any depth."""
        return with_text(value, self.text_for_node)

    def wait_option(self, files: Iterable[str]) -> str:
        """Snakemake's option for the files that must be visible on a node before its job begins."""
        names = [self.for_node(str(file)) for file in files]
        if len(names) <= MANY_FILES:
            return str(format_cli_arg("--wait-for-files", names))
        # Snakemake strips each line of the file. The few names that this would change are not waited for.
        text = "".join(f"{name}\n" for name in names if name.splitlines() == [name.strip()])
        path = self.directory / f"inputs-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(text, encoding="utf-8", errors="surrogateescape")
            part.rename(path)
        return str(format_cli_arg("--wait-for-files-file", str(path)))

    def remove(self, everything: bool) -> None:
        """Remove the copies of this run; with `everything`, those of earlier runs too."""
        shutil.rmtree(self.directory if everything else self.runtime, ignore_errors=True)

    def text_for_node(self, text: str) -> str:
        """The text with the paths that nodes can read."""
        text = text.replace(self._old_runtime, str(self.runtime))
        if self._cache not in text:
            return text
        for path in set(self._cached.findall(text)):
            self._copy(Path(path))
        return text.replace(self._cache, str(self.directory / "cache"))

    def _copy(self, path: Path) -> None:
        """Copy a file that the cache keeps for many runs, when a job names it."""
        copy = self.directory / "cache" / path.relative_to(self._cache)
        if path.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f"{copy.name}.{threading.get_ident()}.part")  # Several threads make commands.
            shutil.copy2(path, part)
            part.rename(copy)
