"""Reads pieces of running jobs' output from their nodes, for `harbor log`."""

import binascii
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.codec import Message
from ..core.model import JobId

PIECE = 1 << 18
"""Bytes that are requested at once."""
ANSWER_S = 10.0


@dataclass
class _Request:
    """A request that a thread waits for. `attempt` is None until the request is sent."""

    attempt: int | None = None
    answered: bool = False
    answer: Message | None = None


class OutputReader:
    """Any thread reads, the dispatcher's thread sends the requests, and the links' threads deliver the answers."""

    def __init__(self) -> None:
        self._answered = threading.Condition()
        self._requests: dict[tuple[Any, Any], _Request] = {}

    def read(self, job: JobId, offset: int, post_request: Callable[[], None]) -> bytes | None:
        """Return what the job wrote from the byte `offset` on, or None if it does not run or no answer comes.

        `post_request` has the dispatcher's thread call `request_message` or `no_output`.
        """
        request = _Request()
        with self._answered:
            self._requests[(job, offset)] = request
            post_request()
            self._answered.wait_for(lambda: request.answered, ANSWER_S)
            self._requests.pop((job, offset), None)
        data = request.answer.get("data") if request.answer is not None else None
        try:
            return binascii.a2b_base64(data, strict_mode=True) if isinstance(data, str) else None
        except ValueError:
            return None

    def request_message(self, job: JobId, attempt: int, offset: int) -> Message:
        """Return the message for the job's node. From now on, only the answer of this attempt counts."""
        with self._answered:
            request = self._requests.get((job, offset))
            if request is not None:
                request.attempt = attempt
        return {"t": "read", "job": job, "attempt": attempt, "offset": offset, "size": PIECE}

    def no_output(self, job: JobId, offset: int) -> None:
        """End the wait for an answer, because the job does not run."""
        with self._answered:
            request = self._requests.get((job, offset))
            if request is not None:
                request.answered = True
                self._answered.notify_all()

    def answer_arrived(self, message: Message) -> None:
        """Take the answer of a node. An answer that nobody waits for is dropped."""
        with self._answered:
            try:
                request = self._requests.get((message.get("job"), message.get("offset")))
            except TypeError:  # a node may send lists where numbers are expected
                return
            if request is not None and not request.answered and message.get("attempt") == request.attempt:
                request.answered, request.answer = True, message
                self._answered.notify_all()
