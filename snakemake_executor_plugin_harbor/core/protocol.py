"""The meaning of an agent's messages. Messages become events, facts and load samples.

A node is not trusted. Whatever it sends becomes a valid event or is dropped, and each value has a bound.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from . import events as ev
from .codec import Message
from .job import exit_event
from .model import Checkup, Disk, JobId, Load, NodeFacts, StoredRecords
from .progress import progress_of

VERSION = 1
MAX_CORES = 65_536
MAX_MB = 1 << 40
MAX_ATTEMPT = 999_999
MAX_KNOWN_ATTEMPT = 99_999
"""The highest number of an attempt in a record. An adopted attempt may be requeued, and then its number has to grow."""
MAX_ID = 200
MAX_KEY = MAX_ID + 8
MAX_TEXT = 2000
MAX_PATH = 4096
MAX_TAIL = 4096
MAX_LIST = 4096
MAX_META = 64
"""The bounds of what a node may send. A number above its bound becomes the bound. Longer texts and lists are cut."""
STEP = ("code", "start", "end", "cpu_s", "max_rss_mb", "in_mb", "out_mb")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str, limit: int | None = None) -> str:
    """Return a node's text as users may see it, cut after `limit` characters. It contains no control characters but
    newline and tab, so no terminal escapes, and nothing that a terminal or a database cannot encode.
    """
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text[:limit])


def facts_of(hello: Message, noise: str = "") -> NodeFacts:
    """Return the facts in a node's hello. A value that makes no sense becomes the smallest sensible value.

    `noise` is what the node's login shell printed before.
    """
    tmpdir = hello.get("tmpdir")
    return NodeFacts(
        cores=_count(hello.get("cores"), 1, MAX_CORES) or 1,
        mem_mb=_count(hello.get("mem_mb"), 0, MAX_MB) or 0,
        gpus=_indices([gpu.get("index") for gpu in _dicts(hello.get("gpus"))]),
        boot_id=_text(hello.get("boot_id")),
        host=_text(hello.get("host")),
        user=_text(hello.get("user")),
        python=_text(hello.get("python")),
        scratch=_text(hello.get("scratch"), MAX_PATH),
        tmpdir=tmpdir if isinstance(tmpdir, str) and _text(tmpdir, MAX_PATH) == tmpdir != "" else "/tmp",
        path=_str(hello.get("path")),
        time=_float(hello.get("time")),
        shared=hello.get("shared") is True,
        shared_paths=frozenset(_strs(hello.get("same"))),
        warnings=tuple(_text(warning, MAX_TEXT) for warning in _strs(hello.get("warnings"))[:20]),
        quota=hello.get("quota") is True,
        noise=_text(noise, MAX_TEXT),
        noise_bytes=len(noise.encode(errors="replace")),
        uid=_count(hello.get("uid"), 0, MAX_MB),
        interpreter=_text(hello.get("interpreter"), MAX_PATH),
        snakemake=_pair(hello.get("snakemake")),
    )


def _pair(value: object) -> tuple[str, str] | None:
    texts = [_text(text, MAX_PATH) for text in _strs(value)]
    return (texts[0], texts[1]) if len(texts) == 2 else None


def checkup_of(message: Message) -> Checkup:
    """Return the answers in a `checkup` message."""
    workdir = message.get("workdir")
    return Checkup(
        charmap=_text(message.get("charmap")),
        bash=message.get("bash") is True,
        state=_text(workdir.get("state")) if isinstance(workdir, dict) else "",
        resolved=message.get("resolved") is True,
        made=_text(message.get("made")),
        missing=tuple(_text(path, MAX_PATH) for path in _strs(message.get("missing"))[:20]),
        snakemake=_text(message.get("snakemake")),
        logout=_text(message.get("logout")),
        workdir=_disk(workdir),
        scratch=_disk(message.get("scratch")),
    )


def inventory_of(message: Message) -> tuple[StoredRecords, ...]:
    """Return the records that a node keeps, from an `inventory` message."""
    return tuple(
        StoredRecords(
            owner=_text(entry.get("owner")),
            workdir=_text(entry.get("workdir"), MAX_PATH),
            attempts=_count(entry.get("attempts"), 0, MAX_MB) or 0,
            busy=_count(entry.get("busy"), 0, MAX_MB) or 0,
            bytes=_count(entry.get("bytes"), 0, MAX_MB) or 0,
            changed=_float(entry.get("changed")),
        )
        for entry in _dicts(message.get("owners"))
    )


def _disk(value: object) -> Disk:
    found = value if isinstance(value, dict) else {}
    return Disk(found.get("noexec") is True, _count(found.get("inodes"), 0, MAX_MB))


def load_of(message: Message) -> Load:
    """Return the load sample in a message."""
    ours = message.get("ours")
    shares = list(ours.items())[:MAX_LIST] if isinstance(ours, dict) else []
    return Load(
        busy=_amount(message.get("busy")),
        ours={key: _amount(share) for key, share in shares if len(key) <= MAX_KEY},
        ended=_amount(message.get("ended")),
        load1=_amount(message.get("load1")),
        mem_available_mb=_megabytes(message.get("mem_available_mb")),
        disk_free_mb=_megabytes(message.get("disk_free_mb")),
        users=tuple(_text(user) for user in _strs(message.get("users"))[:100]),
        shared=message.get("shared") is not False,
        workdir_free_mb=_megabytes(message.get("workdir_free_mb")),
    )


def event_of(node: str, message: Message) -> ev.Event | None:
    """Return the event for a message from a node, or None if the message is no event."""
    kind = message["t"]
    if kind == "load":
        return ev.LoadMeasured(node, load_of(message))
    if kind == "alive":
        return ev.AttemptsActive(node, tuple(_attempts(message.get("jobs"))))
    names = _attempt(message.get("job"), message.get("attempt"))
    if names is None:
        return None
    match kind:
        case "started":
            return ev.Started(node, *names)
        case "refused":
            reason, path = _text(message.get("reason"), 32) or "error", _text(message.get("path"), MAX_PATH)
            return ev.Refused(node, *names, reason, _text(message.get("message"), MAX_TEXT), path or None)
        case "progress":
            progress = progress_of([message.get("done"), message.get("total")])
            return ev.Progressed(node, *names, max(0.0, progress.done), progress.total) if progress else None
        case "exited":
            return exit_event(node, *names, exit_message(message))
        case "gone":
            return ev.AttemptUnknown(node, *names)
    return None


def exit_message(message: Message) -> Message:
    """Return the sensible part of an `exited` message. Fields that should be numbers are numbers, and of the job's
    output only the end is kept.
    """
    progress, reason, code = progress_of(message.get("progress")), message.get("reason"), message.get("code")
    kept: dict[str, Any] = {
        "code": code if isinstance(code, int) and not isinstance(code, bool) and -256 < code < 256 else -1,
        "reason": _text(reason, 32) if isinstance(reason, str) else None,
        "steps": [_numbers(step, STEP) for step in _dicts(message.get("steps"))],
        "tail": _str(message.get("tail"))[-MAX_TAIL:],
        "log": message.get("log") is True,
        "progress": [max(0.0, progress.done), progress.total] if progress else None,
    }
    return kept | _numbers(message, ("start", "end"))


def record_of(message: Message) -> ev.NodeRecord | None:
    """Return the spool record in a message that a node has sent after its hello."""
    names, exit, meta = _attempt(message.get("job"), message.get("attempt")), message.get("exit"), message.get("meta")
    if message["t"] != "known" or names is None or names[1] > MAX_KNOWN_ATTEMPT:
        return None
    return ev.NodeRecord(
        *names,
        running=message.get("state") == "running",
        exit=exit_message(exit) if isinstance(exit, dict) else None,
        hash=_text(message.get("hash")),
        meta=_meta(meta) if isinstance(meta, dict) else {},
        foreign=message.get("foreign") is True,
    )


def _meta(given: Message) -> dict[str, Any]:
    """Return the sensible part of the `meta` of a record. What we send as `meta` is short and flat. Adoption checks the
    values.
    """
    kept = {name: value for name, value in list(given.items())[:MAX_META] if len(name) <= MAX_META and _flat(value)}
    for name in ("slots", "gpus"):
        kept[name] = list(_indices(kept.get(name)))
    kept["task"] = next(iter(_indices([kept.get("task")])), 0)
    return kept


def _flat(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= MAX_LIST and all(not isinstance(item, list) and _flat(item) for item in value)
    return not isinstance(value, dict) and not (isinstance(value, str) and len(value) > MAX_PATH)


def _attempts(value: object) -> Iterator[tuple[JobId, int]]:
    for pair in value[:MAX_LIST] if isinstance(value, list) else []:
        names = _attempt(*pair) if isinstance(pair, list) and len(pair) == 2 else None
        if names is not None:
            yield names


def _attempt(job: object, attempt: object) -> tuple[JobId, int] | None:
    """Return a job id and the number of an attempt if both are valid. They are shown to users, and the journal's
    integers have 64 bits.
    """
    if not isinstance(job, str) or not 0 < len(job) <= MAX_ID or _UNPRINTABLE.search(job):
        return None
    if not isinstance(attempt, int) or isinstance(attempt, bool) or not 1 <= attempt <= MAX_ATTEMPT:
        return None
    return job, attempt


def _indices(value: object) -> tuple[int, ...]:
    """Return the numbers of slots or GPUs, each once, in order."""
    found = value if isinstance(value, list) else []
    return tuple(sorted({i for i in found if isinstance(i, int) and not isinstance(i, bool) and 0 <= i < MAX_CORES}))


def _count(value: object, low: int, high: int) -> int | None:
    return min(high, max(low, value)) if isinstance(value, int) and not isinstance(value, bool) else None


def _megabytes(value: object) -> int | None:
    """Return a number of megabytes, which may be a float. None stands for anything else."""
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) else None
    return _count(value, 0, MAX_MB)


def _float(value: object) -> float:
    """Return a finite number, or 0 if the value is no number or is larger than anything that is measured here."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15:
        return float(value)
    return 0.0


def _amount(value: object) -> float:
    return max(0.0, _float(value))


def _numbers(given: Message, names: Iterable[str]) -> dict[str, float]:
    """Return those of the named values that are numbers."""
    return {name: _float(given[name]) for name in names if isinstance(given.get(name), (int, float))}


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _text(value: object, limit: int = MAX_ID) -> str:
    return printable(_str(value), limit)


def _strs(value: object) -> list[str]:
    return [v for v in value[:MAX_LIST] if isinstance(v, str)] if isinstance(value, list) else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [v for v in value[:MAX_LIST] if isinstance(v, dict)] if isinstance(value, list) else []
