"""Pieces of running jobs' output, asked of their nodes for `harbor log`."""

import binascii
import threading
from collections.abc import Callable
from typing import Any

from ..core.model import JobId
from ..core.protocol import Message

PIECE = 1 << 18
"""Bytes that are asked for at once."""
ANSWER_S = 10.0


class OutputReader:
    """Questions by any thread, answers by the links'."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._answers: dict[tuple[Any, Any, Any], Message | None] = {}

    def read(self, job: JobId, attempt: int, offset: int, ask: Callable[[Message], None]) -> bytes | None:
        """What the attempt wrote from `offset` on; None if no answer comes."""
        key = (job, attempt, offset)
        with self._arrived:
            self._answers[key] = None
            ask({"t": "read", "job": job, "attempt": attempt, "offset": offset, "size": PIECE})
            self._arrived.wait_for(lambda: self._answers[key] is not None, ANSWER_S)
            message = self._answers.pop(key)
        try:
            return binascii.a2b_base64(str(message["data"])) if message else None
        except (KeyError, ValueError):
            return None

    def answer_arrived(self, message: Message) -> None:
        """An answer; one that nobody asked for is dropped."""
        key = (message.get("job"), message.get("attempt"), message.get("offset"))
        with self._arrived:
            try:
                asked = key in self._answers
            except TypeError:
                return
            if asked:
                self._answers[key] = message
                self._arrived.notify_all()
