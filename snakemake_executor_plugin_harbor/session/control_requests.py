"""What the `harbor` command asks of a running controller."""

from collections.abc import Callable, Mapping
from typing import Any

from ..core import events as ev
from ..errors import HarborError
from ..run.dispatcher import Dispatcher

DRAIN_S = 5.0
"""How long the answer to `drain` and `resume` waits for the node's new state."""


class ControlRequests:
    """Answers on the control socket's thread. `detach` returns how many jobs stay."""

    def __init__(self, dispatcher: Dispatcher, detach: Callable[[], int]) -> None:
        self._dispatcher = dispatcher
        self._detach = detach

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises HarborError for what cannot be done."""
        match request.get("op"):
            case "read":
                data = self._dispatcher.read_output(str(request.get("job")), int(request.get("offset", 0)))
                return {"data": None if data is None else data.hex()}
            case "detach":
                return {"jobs": self._detach()}
            case "drain" | "resume" as wish:
                return {"state": self._drain(str(request.get("node")), wish == "drain", str(request.get("reason")))}
        raise HarborError(f"this controller does not know {request.get('op')!r}; it may be of another version.")

    def _drain(self, name: str, drain: bool, reason: str) -> str:
        """Close a node to new jobs, or open it again. Returns its state after that."""
        nodes = self._dispatcher.snapshot.nodes
        if name not in nodes:
            raise HarborError(f"the pool has no node {name}; it has {', '.join(nodes)}.", "harbor status")
        self._dispatcher.post(ev.DrainChanged(name, (reason or "by the user") if drain else ""))
        self._dispatcher.wait_for_round(DRAIN_S)
        node = self._dispatcher.snapshot.nodes.get(name)
        return "gone" if node is None else node.shown_state
