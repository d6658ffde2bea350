"""The paths of a job on a node that does not have the working directory.

The job runs in its attempt's directory, which is a copy of the working directory with only what the job needs. Names
relative to the working directory stay as they are. All others are replaced by where the file lies on the node.

If a Snakemake on the node runs the job, it reads the workflow, which may name files beside the working directory
(`include: "../common.smk"`). So then the copy of the working directory lies below its absolute path, too.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from .source_files import SourceFiles
from .texts import with_text

OUTSIDE = ".harbor/outside"
"""Files from outside the working directory lie there in an attempt's directory, below their absolute paths."""

_NOT_SENT = r"/\.snakemake/(?:conda|singularity)\b"


class NodePaths:
    """The paths of one attempt. `stage` is its directory on the node, and `declared` are the job's files by name.
    `base` is the directory in which the job runs. `by_snakemake` says that a Snakemake there runs it.

    `workdirs` are the working directory as the user typed it, and resolved. `sources` makes copies of files that
    Snakemake keeps in the home directory. `used_sources` are those that the job names.
    """

    def __init__(
        self,
        stage: str,
        workdirs: Sequence[str],
        declared: Iterable[str],
        sources: SourceFiles,
        by_snakemake: bool = False,
    ) -> None:
        self.stage = stage
        self.root = OUTSIDE + workdirs[-1] if by_snakemake else ""
        self.base = os.path.join(stage, self.root) if by_snakemake else stage
        self.workdirs = workdirs
        self._sources = sources
        self._source = re.compile(re.escape(str(sources.directory)) + r"/[^\s'\"]+")
        self.used_sources: set[str] = set()
        roots = "|".join(re.escape(directory) for directory in sorted(set(workdirs), key=len, reverse=True))
        # The directory itself, or a path below it, but not the scratch directory, which may lie there, too.
        # Environments and images are not sent, so a node that can run the job has them at the same path.
        self._below = re.compile(rf"(?<![\w.\-/])(?!{re.escape(stage)})(?:{roots})(?!{_NOT_SENT})(?=/|[^\w.\-]|$)")
        self._declared = {name: on_node for name in declared if (on_node := self._on_node(name)) is not None}

    def name(self, path: str) -> str:
        """Return where a file of the controller lies in the attempt's directory."""
        absolute = os.path.normpath(os.path.join(self.workdirs[-1], path))
        for directory in self.workdirs:
            if absolute.startswith(directory.rstrip("/") + "/"):
                return os.path.join(self.root, os.path.relpath(absolute, directory))
        return OUTSIDE + absolute

    def there(self, path: str) -> str:
        """Return the absolute path of a file of the controller on the node."""
        return os.path.join(self.stage, self.name(path))

    def is_outside(self, path: str) -> bool:
        """Return whether a file lies outside the working directory."""
        absolute = os.path.normpath(os.path.join(self.workdirs[-1], path))
        return not absolute.startswith(tuple(directory.rstrip("/") + "/" for directory in self.workdirs))

    def is_source(self, name: str) -> bool:
        """Return whether a name is that of a file in Snakemake's source cache."""
        return name.startswith(f"{self._sources.directory}/") or self._sources.text_for_node(name) != name

    def for_node(self, value: Any) -> Any:
        """Return the value with the paths that the node knows."""
        return with_text(value, self.text)

    def text(self, text: str) -> str:
        """Return a text with the paths that the node knows."""
        if text in self._declared:
            return self._declared[text]
        text = self._sources.text_for_node(text)
        self.used_sources.update(self._source.findall(text))
        return self._below.sub(lambda _: self.base, text)

    def _on_node(self, name: str) -> str | None:
        """Return the path of a declared file on the node, or None if its relative name is right there, too."""
        path = self._sources.text_for_node(name)
        if not os.path.isabs(name) and not self.is_outside(path):
            return None
        if path != name:
            # Its text may not be changed once more: the rest of its path may name the working directory again.
            self.used_sources.add(path)
        return self.there(path)
