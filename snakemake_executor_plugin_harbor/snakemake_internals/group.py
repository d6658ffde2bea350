"""Reads of a group of jobs that the plugin interfaces do not promise. `group` is always Snakemake's object."""

from collections.abc import Iterable
from typing import Any

from .job import describe, unfinished


def units(group: Any) -> list[list[list[Any]]]:
    """The levels of a group, each as a list of units. A unit is a job, or jobs that run at the same time, because pipes
    or services connect them.

    Jobs of one level depend only on those of earlier levels and of their own unit. Jobs that are done are left out, and
    so are those without a command.
    """
    found = []
    wanted = set(unfinished(group))
    for level in group.toposorted:
        by_key: dict[Any, list[Any]] = {}
        for job in sorted(level, key=describe):  # Another process must find the same order.
            if job in wanted and not job.is_norun:
                by_key.setdefault(job.pipe_group or job, []).append(job)
        found.append(list(by_key.values()))
    return found


def places(group: Any, jobs: Iterable[Any]) -> list[int]:
    """The places of jobs of a group in an order that is the same in every process."""
    place = {job: number for number, job in enumerate(_order(group))}
    return sorted(place[job] for job in jobs)


def at_places(group: Any, places: Iterable[int]) -> list[Any]:
    """The jobs of a group at these places in that order."""
    order = _order(group)
    return [order[place] for place in places if place < len(order)]


def _order(group: Any) -> list[Any]:
    return [job for level in group.toposorted for job in sorted(level, key=describe)]


def pipes(job: Any) -> list[str]:
    """The outputs that are pipes."""
    return _flagged(job, "pipe")


def service_files(job: Any) -> list[str]:
    """The outputs of a service that exist while it can be used."""
    return _flagged(job, "service")


def _flagged(job: Any, flag: str) -> list[str]:
    from snakemake.io import is_flagged

    return [str(file) for file in job.output if is_flagged(file, flag)]


def waits_for(group: Any, job: Any, unit: list[Any]) -> tuple[list[str], list[int]]:
    """What a job needs from others of its unit before it starts: the files that must exist, and the jobs that must have
    ended, as numbers in the unit.

    A job does not wait for the end of one with which pipes connect it, because that one may wait for its reader.
    """
    uses, after = [], []
    partners = _connected_by_pipes(group, job, unit)
    for other, files in list(group.dag.dependencies.get(job, {}).items()):
        if other not in unit:
            continue
        if other.is_service:
            streams = pipes(other)
            uses += [str(file) for file in files if str(file) not in streams]
        elif other not in partners and any(file not in other.pipe_or_service_output for file in files):
            after.append(unit.index(other))
    return uses, after


def _connected_by_pipes(group: Any, job: Any, unit: Iterable[Any]) -> list[Any]:
    """The jobs of a unit with which pipes connect a job, also by way of others."""
    edges = []
    for reader in unit:
        for writer, files in list(group.dag.dependencies.get(reader, {}).items()):
            streams = pipes(writer)
            if any(str(file) in streams for file in files):
                edges.append((reader, writer))
    found = [job]
    for one in found:
        for pair in edges:
            if one in pair:
                found += [other for other in pair if other not in found]
    return found
