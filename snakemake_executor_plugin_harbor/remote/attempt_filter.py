"""The attempts that one connection may speak of: sent over it or listed at its beginning, and not ended yet.

The pool would ignore all others. But a node that has been taken over can say more than the pool ignores in time.
"""

from collections.abc import Iterable
from dataclasses import replace

from ..core import events as ev
from ..core.model import attempt_key
from ..core.protocol import Message


class AttemptFilter:
    """Messages to a node come by any thread, events of it by the reader's."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def listed(self, records: Iterable[ev.NodeRecord]) -> None:
        """The node's records, after hello: whatever it was given before is among them or lost."""
        self._keys = {attempt_key(record.job, record.attempt) for record in records}

    def sent(self, messages: Iterable[Message]) -> None:
        """Each of them is answered, except that what is forgotten is spoken of no more."""
        for message in messages:
            if "job" in message:
                change = self._keys.discard if message["t"] == "forget" else self._keys.add
                change(attempt_key(message["job"], message["attempt"]))

    def known(self, event: ev.Event) -> ev.Event | None:
        """The part of an event that speaks of such attempts; None if that is nothing."""
        match event:
            case ev.LoadMeasured(load=load):
                return replace(event, load=replace(load, ours={k: v for k, v in load.ours.items() if k in self._keys}))
            case ev.AttemptsActive(attempts=attempts):
                alive = tuple(pair for pair in attempts if attempt_key(*pair) in self._keys)
                return replace(event, attempts=alive) if alive else None
            case ev.Started() | ev.Progressed():
                return event if attempt_key(event.job, event.attempt) in self._keys else None
            case ev.Exited() | ev.Refused() | ev.AttemptUnknown():
                key = attempt_key(event.job, event.attempt)
                if key not in self._keys:
                    return None
                self._keys.discard(key)
        return event
