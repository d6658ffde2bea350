"""Drops what a node reports about attempts that it has nothing to do with.

A connection may report about the attempts that we sent over it and about those that the node listed at its beginning,
until they end. The pool would ignore reports about other attempts too. But they are dropped here, in the connection's
own thread, because a compromised node could send them faster than the dispatcher can discard them.
"""

from collections.abc import Iterable
from dataclasses import replace

from ..core import events as ev
from ..core.codec import Message
from ..core.model import attempt_key


class AttemptFilter:
    """Keeps the attempts that one connection may report about.

    Any thread may call messages_sent(). Only the thread that reads the connection calls the other methods.
    """

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def node_listed(self, records: Iterable[ev.NodeRecord]) -> None:
        """Start with the records that the node lists at the beginning of a connection.

        Attempts that were sent over an earlier connection are among these records or are lost.
        """
        self._keys = {attempt_key(record.job, record.attempt) for record in records}

    def messages_sent(self, messages: Iterable[Message]) -> None:
        """Allow reports about the attempts in `messages`. After a `forget`, no report is allowed any more."""
        for message in messages:
            if "job" in message:
                change = self._keys.discard if message["t"] == "forget" else self._keys.add
                change(attempt_key(message["job"], message["attempt"]))

    def allowed_part(self, event: ev.Event) -> ev.Event | None:
        """Return the part of an event that is about allowed attempts, or None if there is no such part."""
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
