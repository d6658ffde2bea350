"""What controller and mover say to each other for one transfer. `agent/stage_in.py` and `agent/stage_out.py` answer."""

from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from typing import Any

from .arrival import Arrival
from .manifest import DIRECTORY, LINK, Entry
from .model import MoveFailed
from .stream import Stream


def send(
    stream: Stream, directory: str, entries: Sequence[Entry], needed: Callable[[set[str], int], None]
) -> tuple[int, int]:
    """Send a manifest, and the contents that the node lacks. Returns the number of these files and of their bytes.

    `needed` gets the contents that are going to be sent, and the number of their bytes.
    """
    stream.send_line({"op": "put", "dir": directory, "count": len(entries)})
    for entry in entries:
        stream.send_line(entry.line())
    stream.flush()
    by_sha = {entry.sha: entry for entry in entries if entry.kind not in (DIRECTORY, LINK)}
    offers = _offers(stream.line(), by_sha)
    needed({sha for sha, _ in offers}, sum(by_sha[sha].size - offset for sha, offset in offers))
    size = 0
    for sha, offset in offers:
        size += _send_content(stream, by_sha[sha].path, by_sha[sha].size, offset)
    stream.flush()
    check(stream.line())
    return len(offers), size


def _offers(answer: Any, by_sha: Mapping[str, Entry]) -> list[tuple[str, int]]:
    """Return the contents that the node lacks, each with the bytes that it has from a transfer that was cut."""
    need = answer.get("need") if isinstance(answer, dict) else None
    if not isinstance(need, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in need):
        raise ConnectionError(f"the node has sent an answer that makes no sense: {str(answer)[:200]}")
    if not all(sha in by_sha and type(offset) is int and 0 <= offset <= by_sha[sha].size for sha, offset in need):
        raise ConnectionError("the node asks for a file that the attempt does not need")
    return [(sha, offset) for sha, offset in need]


def _send_content(stream: Stream, path: str, size: int, offset: int) -> int:
    """Send a file from `offset` on, and return the number of bytes.

    The file is sent as far as it can be read. The node sees by the checksum if something is missing.
    """
    sent = 0
    try:
        f = FileIO(path)
    except OSError:
        pass
    else:
        with f:
            f.seek(offset)
            sent = stream.send_pieces(f, size - offset)
    stream.end_content()
    return sent


def receive(stream: Stream, directory: str, names: Sequence[str], limit: int | None, arrival: Arrival) -> bool:
    """Have the node send what is at these paths. Return False if it has more bytes than `limit` (None: no limit)."""
    stream.send_line({"op": "fetch", "dir": directory, "paths": list(names), "limit": limit})
    stream.flush()
    while isinstance(line := stream.line(), list):
        arrival.take(line, stream.pieces, stream.line)
    if limit is not None and line == {"large": True}:
        return False
    check(line)
    return True


def check(answer: object) -> None:
    """Raise MoveFailed if the mover says so."""
    if not isinstance(answer, dict) or not ("done" in answer or "error" in answer):
        raise ConnectionError(f"the node has sent an answer that makes no sense: {str(answer)[:200]}")
    if "error" in answer:
        kind, path = str(answer["error"]), answer.get("path")
        where = f"{path}: " if path else ""
        known = kind if kind in ("disk", "node", "changed", "unsafe") else "node"
        raise MoveFailed(known, f"{where}{str(answer.get('message'))[:500]}")
