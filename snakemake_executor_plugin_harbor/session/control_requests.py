"""Answers to requests of the `harbor` command."""

from collections.abc import Callable, Mapping
from typing import Any

from ..core import events as ev
from ..core.spelling import closest
from ..errors import HarborError
from ..run.dispatcher import Dispatcher

DRAIN_S = 5.0
"""The answer to `drain` and `resume` waits at most this long for the node's new state."""


class ControlRequests:
    """Used on the control socket's thread."""

    def __init__(self, dispatcher: Dispatcher, detach: Callable[[], int]) -> None:
        """`detach` leaves the jobs to a later run and returns their number."""
        self._dispatcher = dispatcher
        self._detach = detach

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what a request asks for, and return the answer. Raises HarborError if that is not possible."""
        match request.get("op"):
            case "read":
                data = self._dispatcher.read_output(str(request.get("job")), int(request.get("offset", 0)))
                return {"data": None if data is None else data.hex()}
            case "detach":
                return {"jobs": self._detach()}
            case "drain":
                return {"state": self._set_drain(request, str(request.get("reason") or "by the user"))}
            case "resume":
                return {"state": self._set_drain(request, "")}
        raise HarborError(
            f"the running controller does not know the request {request.get('op')!r}. It may be of another version."
        )

    def _set_drain(self, request: Mapping[str, Any], reason: str) -> str:
        """Close a node to new jobs for this reason, or open it again if there is none. Returns the node's new state."""
        name, nodes = str(request.get("node")), self._dispatcher.snapshot.nodes
        if name not in nodes:
            close = closest(name, nodes)
            meant = f"did you mean {close}?" if close else f"it has {', '.join(nodes)}."
            raise HarborError(f"the pool has no node {name}; {meant}", "harbor status")
        self._dispatcher.post(ev.DrainChanged(name, reason))
        self._dispatcher.wait_for_round(DRAIN_S)
        node = self._dispatcher.snapshot.nodes.get(name)
        return "gone" if node is None else node.shown_state
