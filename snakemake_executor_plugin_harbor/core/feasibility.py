"""The reasons why a node cannot hold a job: for ever, or at this moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .free_resources import FreeResources
from .model import NodeFacts, NodeState, Request
from .node import NodeView
from .node_reason import NodeReason
from .policy import DEFAULTS, Policy
from .spelling import closest


@dataclass(frozen=True)
class Refusal:
    """No node can take the job now. `reasons` holds the reason of each node. `permanent` says that no node can ever
    hold the job. `hint` says what the user can do. It is all that is said if there are no reasons.
    """

    reasons: Mapping[str, str]
    permanent: bool = False
    hint: str = ""


def permanent_reason(request: Request, node: NodeView, policy: Policy = DEFAULTS) -> NodeReason | None:
    """Return why the node can never hold the job, whatever runs there. None means that it can."""
    if request.node is not None and request.node != node.spec.name:
        return NodeReason("the job is pinned to node {}", (request.node,), permanent=True)
    if node.state == NodeState.REJECTED:
        return NodeReason("cannot be used: {}", (node.why_alone or "it was rejected",), permanent=True)
    if node.leaving and node.successor is None:
        return NodeReason("was taken out of the host list", permanent=True)
    if not request.constraint <= node.spec.tags:
        return NodeReason("lacks the tag {}", (", ".join(sorted(request.constraint - node.spec.tags)),), permanent=True)
    if node.facts is None:
        return None
    if request.unstaged and node.staged:
        return NodeReason("does not have the working directory, and {}", (request.unstaged,), permanent=True)
    if request.snakemake is not None and node.staged and (reason := _no_snakemake(*request.snakemake, node.facts)):
        return reason
    if request.cores > node.slots:
        return NodeReason("has {} slots, the job needs {}", (node.slots, request.cores), permanent=True)
    if request.task is not None and (request.task + 1) * request.cores > node.slots:
        text = "has {} slots, but ranks run side by side, and {} of them need {}; the host list may say {}/{}"
        slots = (request.task + 1) * request.cores
        return NodeReason(text, (node.slots, request.task + 1, slots, slots, node.spec.host), permanent=True)
    if request.mem_mb:
        if request.mem_mb > node.mem_mb:
            return NodeReason("has {} MiB of memory, the job needs {}", (node.mem_mb, request.mem_mb), permanent=True)
        if request.mem_mb + policy.min_free_mem_mb > node.facts.mem_mb > 0:
            text = "has {} MiB of memory, of which {} stay free (--harbor-min-free-mem-mb); the job needs {}"
            return NodeReason(text, (node.facts.mem_mb, policy.min_free_mem_mb, request.mem_mb), permanent=True)
    if request.gpus > len(node.gpus):
        return NodeReason("has {} GPUs, the job needs {}", (len(node.gpus), request.gpus), permanent=True)
    for path in request.needs:
        if path in node.missing:
            return NodeReason("has no {}, which the job needs", (path,), permanent=True)
    return None


def release_of(version: str) -> str:
    """Return the minor release of a version of Snakemake. Only Snakemakes of the same one understand each other."""
    return ".".join(version.split(".")[:2])


def _no_snakemake(version: str, why: str, facts: NodeFacts) -> NodeReason | None:
    """Return why no Snakemake can run a job on a node to which its files are sent."""
    release = release_of(version)
    python, found = facts.snakemake or (facts.interpreter or "python3", "")
    if release_of(found) == release:
        return None
    text = (
        "has {}, but a Snakemake {} runs the job on its node ({}). Type there: {} -m pip install snakemake=={}. "
        "Or name a Python that has it in a .yaml host file (python: PATH)"
    )
    has = f"Snakemake {found}" if found else "no Snakemake"
    return NodeReason(text, (has, release, why, python, version), permanent=True)


def permanent_refusal(request: Request, nodes: Mapping[str, NodeView], policy: Policy) -> Refusal | None:
    """Return the refusal of a job that no node can ever hold. None means that some node can."""
    if request.node is not None and request.node not in nodes:
        text = f"there is no node {request.node}; {_instead(request.node, nodes)}"
        return Refusal({}, permanent=True, hint=text)
    reasons: dict[str, str] = {}
    for name, node in nodes.items():
        reason = permanent_reason(request, node, policy)
        if reason is None:
            return None
        reasons[name] = str(reason)
    hint = ""
    if request.gpus and all(len(node.gpus) < request.gpus for node in nodes.values()):
        hint = (
            "harbor counts the GPUs that nvidia-smi shows; a YAML host file can say how many a node has, as in "
            f"`ada: {{gpus: {request.gpus}}}` (--harbor-hostfile)"
        )
    elif request.constraint and not any(request.constraint <= node.spec.tags for node in nodes.values()):
        tags = ", ".join(sorted(request.constraint))
        known = {tag for node in nodes.values() for tag in node.spec.tags}
        close = [guess for tag in sorted(request.constraint - known) if (guess := closest(tag, known))]
        meant = f"did you mean {', '.join(close)}? " if close else ""
        hint = (
            f"{meant}tags are given to nodes in a YAML host file, as in `ada: {{tags: [{tags}]}}` (--harbor-hostfile)"
        )
    return Refusal(reasons, permanent=True, hint=hint)


def _instead(name: str, nodes: Iterable[str]) -> str:
    """Return what may be meant by the name of a node that does not exist."""
    names = list(nodes)
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    close = closest(name, names)
    return f"did you mean {close}?" if close else f"the host list has {listed or 'no host'}"


def temporary_reason(
    request: Request, node: NodeView, free: FreeResources, promised: int, policy: Policy
) -> NodeReason | None:
    """Return why the node cannot take the job at this moment. None means that it can. `promised` is the space in the
    working directory (MiB) that all placed jobs asked for together.
    """
    if free.closed is not None:
        return free.closed
    if request.cores > free.slots:
        return NodeReason(
            "has {} of {} slots free, the job needs {}", (free.slots, node.slots, request.cores), busy=True
        )
    if request.task in node.reservations.tasks:
        return NodeReason("still runs another job as its task {}", (request.task,), busy=True)
    if request.mem_mb > free.unreserved_mb:
        return NodeReason("has {} MiB unreserved, the job needs {}", (free.unreserved_mb, request.mem_mb), busy=True)
    if free.memory_mb is not None and request.mem_mb > free.memory_mb:
        text = "has {} MiB available, of which running jobs may take {}; the job needs {} and {} stay free"
        taken = max(0, free.available_mb - policy.min_free_mem_mb - free.memory_mb)
        busy = request.mem_mb <= free.memory_mb + taken
        return NodeReason(text, (free.available_mb, taken, request.mem_mb, policy.min_free_mem_mb), busy)
    if request.gpus > free.gpus:
        return NodeReason(
            "has {} of {} GPUs free, the job needs {}", (free.gpus, len(node.gpus), request.gpus), busy=True
        )
    if free.cores_with_tolerance < request.cores and not free.starving:
        text = "has {:.1f} cores left (other people use {:.1f}, our jobs hold {}), the job needs {}"
        busy = free.cores_with_tolerance + free.reserved_cores >= request.cores
        return NodeReason(text, (max(0.0, free.cores), free.foreign_cores, free.reserved_cores, request.cores), busy)
    if request.disk_mb:
        return _disk_short(request.disk_mb, free, promised)
    return None


def _disk_short(needed: int, free: FreeResources, promised: int) -> NodeReason | None:
    """Return why the disk space does not suffice. All nodes share the working directory, where the job's files are."""
    if free.workdir_mb is not None and needed > free.workdir_mb - promised:
        text = "sees {} MiB free in the working directory, of which running jobs may take {}; the job needs {}"
        return NodeReason(text, (free.workdir_mb, promised, needed), busy=needed <= free.workdir_mb)
    if free.workdir_mb is None and free.scratch_mb is not None and needed > free.scratch_mb:
        return NodeReason("has {} MiB of scratch free, the job needs {}", (free.scratch_mb, needed))
    return None
