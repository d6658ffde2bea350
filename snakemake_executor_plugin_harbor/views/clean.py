"""The rows of `harbor clean`: what lies on this machine and on the nodes, and why some of it stays."""

import time
from collections.abc import Iterable
from typing import Any

from ..core.model import StoredRecords
from ..store.leftovers import Leftovers

HERE = "this machine"
OLD_DAYS = 14
"""Agents delete records of this age themselves, but only those of a directory in which somebody still starts runs."""


def here(found: Leftovers) -> list[dict[str, Any]]:
    """Return the rows of this machine."""
    return [_row(HERE, item.kind, item.where, len(item.paths), item.bytes, item.kept) for item in found.find()]


def on_node(name: str, stored: Iterable[StoredRecords], found: Leftovers, everywhere: bool) -> list[dict[str, Any]]:
    """Return the rows of a node. Without `everywhere`, the records of other directories are one row."""
    rows, others = [], []
    for records in stored:
        if records.owner != found.id and not everywhere:
            others.append(records)
        else:
            kept = _why_kept(records, found)
            row = _row(name, "records", records.workdir, records.attempts, records.bytes, kept)
            rows.append(row | {"owner": records.owner})
    if others:
        number, size = sum(records.attempts for records in others), sum(records.bytes for records in others)
        rows.append(_row(name, "records", "other directories", number, size, "harbor clean --all lists them"))
    return rows


def _why_kept(records: StoredRecords, found: Leftovers) -> str:
    if records.busy:
        return f"{records.busy} jobs run"
    if records.owner == found.id:
        return found.needed
    if records.changed > time.time() - OLD_DAYS * 86400:
        return "of another directory: type harbor clean there"
    return ""


def not_asked(name: str, reason: str) -> dict[str, Any]:
    """Return the row of a node that does not answer."""
    return _row(name, "not asked", "", 0, 0, (reason.splitlines() or ["it does not answer"])[0])


def _row(place: str, what: str, where: str, number: int, size: int, kept: str) -> dict[str, Any]:
    return {"place": place, "what": what, "number": number, "bytes": size, "where": where, "kept": kept}
