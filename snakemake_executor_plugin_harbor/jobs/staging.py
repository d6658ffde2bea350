"""Sends the files that a job needs to nodes that do not have the working directory, and fetches what it has made."""

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.model import JobId, NodeSpec
from ..errors import HarborError
from ..snakemake_internals import job as internals
from ..staging.model import Moved, Source, Wanted
from ..staging.movers import Movers
from .locality import Locality
from .node_paths import NodePaths
from .source_files import SourceFiles

LOG = ".harbor/log"
"""The agent links the output of the job there, in the attempt's directory (agent/stage_dir.py)."""
STAGE_IN, STAGE_OUT = "stage_in", "stage_out"
"""Resources that name further files of a job, as words of a shell. The job reads those of `stage_in`. It may read,
change, make or delete those of `stage_out`, also if it fails. A word may contain wildcards, as in `tmp/{sample}`,
so that the text can be the same in all jobs of a group, as Snakemake demands.
"""
WILDCARD = re.compile(r"\{(\w+)\}")
TRANSFERS_SHOWN = 20
"""So many transfers of a node are recorded."""


@dataclass(frozen=True)
class StagedAttempt:
    """An attempt on a node that does not have the working directory."""

    node: NodeSpec
    directory: str
    """The name of its directory on the node: OWNER/ATTEMPT."""
    by_snakemake: bool = False
    """A Snakemake on the node runs it."""

    @property
    def name(self) -> str:
        """The name of the attempt, which no other one has in the working directory."""
        return self.directory.rpartition("/")[2]


class Staging:
    """Its methods may be called from any thread."""

    def __init__(self, workdir: Path, owner: str, movers: Movers, sources: SourceFiles) -> None:
        """`workdir` is the working directory as the user typed it. `owner` is its id."""
        self._workdirs = list(dict.fromkeys([str(workdir), os.path.realpath(workdir)]))
        self._owner = owner
        self._movers = movers
        self._sources = sources
        self._locality = Locality()

    def seconds_to_send(self, job: Any, nodes: Iterable[str]) -> tuple[tuple[str, float], ...]:
        """Return the nodes to which the job's inputs would have to be sent, with the expected time (seconds)."""
        return self._locality.seconds_to_send(internals.needed_inputs(job), nodes)

    def transfers(self) -> dict[str, list[dict[str, Any]]]:
        """Return the transfers that are under way, by node, as the journal records them."""
        found: dict[str, list[dict[str, Any]]] = {}
        for node, transfers in self._movers.transfers().items():
            for transfer in transfers[:TRANSFERS_SHOWN]:
                run, _, rest = transfer.directory.partition("/")[2].partition(".")
                job, _, attempt = rest.rpartition(".")
                facts = {"job": f"{run}/{job}", "attempt": int(attempt), "way": "to" if transfer.sends else "from"}
                found.setdefault(node, []).append({**facts, "done": transfer.done, "total": transfer.total})
        return found

    def attempt(self, node: NodeSpec, job: JobId, attempt: int, by_snakemake: bool = False) -> StagedAttempt:
        return StagedAttempt(node, f"{self._owner}/{job.replace('/', '.')}.{attempt}", by_snakemake)

    def paths(self, job: Any, scratch: str, staged: StagedAttempt) -> NodePaths:
        """Return the paths of an attempt. `scratch` is the node's scratch directory."""
        stage = os.path.join(scratch, "stage", staged.directory)
        files = internals.declared_files(job)
        return NodePaths(stage, self._workdirs, files, self._sources, staged.by_snakemake)

    def put(
        self,
        job: Any,
        staged: StagedAttempt,
        paths: NodePaths,
        used: Iterable[str],
        workflow_sources: Iterable[Source] = (),
    ) -> Moved:
        """Send what the job needs. Its command uses the files `used`. A Snakemake that runs the job on the node reads
        `workflow_sources`. Raises MoveFailed.
        """
        files = map(self._sources.text_for_node, internals.needed_inputs(job))
        inputs = [*files, *_named(job, STAGE_IN), *used, *sorted(paths.used_sources)]
        sources = [*workflow_sources, *(Source(path, paths.name(path)) for path in dict.fromkeys(inputs))]
        changed = _named(job, STAGE_OUT)
        sources += [Source(path, paths.name(path), writable=True) for path in changed if os.path.lexists(path)]
        # A job continues an output that exists when its files are prepared, which is one marked update().
        outputs = [str(file) for one in internals.unfinished(job) for file in (*one.output, *one.log)]
        root = internals.shadow_directory(job) or ""
        for path in outputs:
            if os.path.lexists(os.path.join(root, path)) and not Path(root, path).is_dir():
                sources.append(Source(os.path.join(root, path), paths.name(path), writable=True))
        measured = internals.group_benchmarks(job)
        directories = {os.path.dirname(paths.name(path)) or "." for path in [*outputs, *changed, *measured]}
        directories |= {os.path.dirname(LOG), paths.root or "."}
        moved = self._movers.of(staged.node).put(staged.directory, sources, sorted(directories))
        self._locality.moved(staged.node.name, moved.sizes, moved)
        return moved

    def fetch(self, job: Any, staged: StagedAttempt, log: str | None, outputs: Iterable[str]) -> Moved:
        """Fetch the logs, what the job has changed, and these outputs. Raises MoveFailed."""
        paths = NodePaths("/", self._workdirs, (), self._sources, staged.by_snakemake)
        root = internals.shadow_directory(job) or ""
        # Snakemake moves outputs and logs from the shadow directory, whatever lies in their places.
        logs = [file for member in internals.unfinished(job) for file in member.log]
        made = [*logs, *outputs]
        wanted = [Wanted(paths.name(str(file)), os.path.join(root, file)) for file in _outermost(map(str, made))]
        if log is not None:
            wanted.append(Wanted(LOG, log))
        coming = {one.name for one in wanted}
        changed = [Wanted(paths.name(path), path) for path in _named(job, STAGE_OUT) if paths.name(path) not in coming]
        moved = self._movers.of(staged.node).fetch(staged.directory, [*wanted, *changed], self._workdirs[0])
        self._locality.moved(staged.node.name, moved.sizes, moved)
        for one in changed:
            if one in moved.missing and os.path.lexists(one.path):
                _delete(one.path)  # as the job has done there
        return moved


def _named(job: Any, resource: str) -> list[str]:
    """Return the paths that a resource names, with the job's wildcards in their places.

    Raises HarborError for a file of `stage_in` that does not exist.
    """
    paths: dict[str, None] = {}
    for member in internals.unfinished(job):
        text = member.resources.get(resource)
        for word in shlex.split(text) if isinstance(text, str) else ():
            path = os.path.normpath(_with_wildcards(word, internals.wildcards(member)))
            if resource == STAGE_IN and not Path(path).exists():
                raise HarborError(f"rule {member.name}: resource {resource}={text!r}: there is no {path}.")
            paths[path] = None
    return list(paths)


def _with_wildcards(text: str, values: Mapping[str, str]) -> str:
    return WILDCARD.sub(lambda found: values.get(found[1], found[0]), text)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Return the paths without those that lie in a directory which is among them."""
    known = dict.fromkeys(paths)
    return [path for path in known if not any(str(above) in known for above in Path(path).parents)]


def _delete(path: str) -> None:
    if Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path)
    else:
        Path(path).unlink()
