"""The wire between controller and agent: one JSON object a line. Bytes in, messages and events out.

A node is not trusted: whatever it sends becomes a valid event or is dropped, and a line has a bound.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from . import events as ev
from .jobs import exit_event
from .model import Load, NodeFacts

VERSION = 1
MAX_LINE = 1 << 20
"""Bytes; the agent keeps to it too. A `start` with a long script is the longest that is ever sent."""

Message = Mapping[str, Any]


def encode(message: Message) -> bytes:
    """One line. Text that is not valid Unicode (file names) survives as surrogates, escaped."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


class Decoder:
    """Reassembles lines from chunks. Lines that are too long or no JSON object are dropped and counted."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self.dropped = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes."""
        while data:
            line, newline, data = data.partition(b"\n")
            if not newline:
                self._keep(line)
                return
            self._keep(line)
            message = None if self._skipping else _parse(b"".join(self._parts))
            self._parts, self._size, self._skipping = [], 0, False
            if message is None:
                self.dropped += 1
            else:
                yield message

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._skipping = True
            self._parts = []
        elif piece:
            self._parts.append(piece)


def _parse(line: bytes) -> Message | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(message, dict) and isinstance(message.get("t"), str):
        return message
    return None


def facts_of(hello: Message) -> NodeFacts:
    """What a node says of itself; nonsense becomes the smallest sensible value."""
    return NodeFacts(
        cores=max(1, _int(hello.get("cores"), 1)),
        mem_mb=max(0, _int(hello.get("mem_mb"), 0)),
        gpus=tuple(sorted(_int(g.get("index"), 0) for g in _dicts(hello.get("gpus")))),
        boot_id=_str(hello.get("boot_id")),
        host=_str(hello.get("host")),
        user=_str(hello.get("user")),
        python=_str(hello.get("python")),
        scratch=_str(hello.get("scratch")),
        tmpdir=_str(hello.get("tmpdir")) or "/tmp",
        path=_str(hello.get("path")),
        time=_float(hello.get("time")),
        shared=hello.get("shared") is True,
        same=frozenset(_strs(hello.get("same"))),
        warnings=tuple(_strs(hello.get("warnings"))),
    )


def load_of(message: Message) -> Load:
    """One load sample."""
    ours = message.get("ours")
    return Load(
        busy=_float(message.get("busy")),
        ours={k: _float(v) for k, v in ours.items() if isinstance(k, str)} if isinstance(ours, dict) else {},
        ended=_float(message.get("ended")),
        load1=_float(message.get("load1")),
        mem_available_mb=_maybe_int(message.get("mem_available_mb")),
        disk_free_mb=_maybe_int(message.get("disk_free_mb")),
        users=tuple(_strs(message.get("users"))),
    )


def event_of(node: str, message: Message) -> ev.Event | None:
    """The event that a message from `node` is; None for anything that is not one."""
    kind = message["t"]
    if kind == "load":
        return ev.Measured(node, load_of(message))
    if kind == "alive":
        return ev.Alive(node, tuple(_attempts(message.get("jobs"))))
    job, attempt = message.get("job"), message.get("attempt")
    if not isinstance(job, str) or not isinstance(attempt, int):
        return None
    match kind:
        case "started":
            return ev.Started(node, job, attempt)
        case "refused":
            path = message.get("path")
            kind, why = _str(message.get("reason")) or "error", _str(message.get("message"))
            return ev.Refused(node, job, attempt, kind, why, path if isinstance(path, str) else None)
        case "progress":
            done, total = _float(message.get("done")), _float(message.get("total"))
            return ev.Progressed(node, job, attempt, done, total) if total > 0 else None
        case "exited":
            return exit_event(node, job, attempt, message)
        case "gone":
            return ev.Gone(node, job, attempt)
    return None


def known_of(message: Message) -> ev.Known | None:
    """One spool record that a node listed after hello."""
    job, attempt, exit = message.get("job"), message.get("attempt"), message.get("exit")
    if message["t"] != "known" or not isinstance(job, str) or not isinstance(attempt, int):
        return None
    meta = message.get("meta")
    return ev.Known(
        job,
        attempt,
        running=message.get("state") == "running",
        exit=exit if isinstance(exit, dict) else None,
        hash=_str(message.get("hash")),
        meta=meta if isinstance(meta, dict) else {},
    )


def _attempts(value: object) -> Iterator[tuple[str, int]]:
    for pair in value if isinstance(value, list) else []:
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], int):
            yield pair[0], pair[1]


def _int(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _maybe_int(value: object) -> int | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return int(value)
    return None


def _float(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    return 0.0


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _strs(value: object) -> list[str]:
    return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
