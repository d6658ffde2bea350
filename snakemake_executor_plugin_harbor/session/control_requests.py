"""What the `harbor` command asks of a running controller."""

from collections.abc import Callable, Mapping
from typing import Any

from ..core import events as ev
from ..core.pool import Pool
from ..errors import HarborError
from ..run.dispatcher import Dispatcher
from ..store.journal_writer import shown_state

DRAIN_S = 5.0
"""How long the answer to `drain` and `resume` waits for the node's new state."""


class ControlRequests:
    """Answers on the control socket's thread. `detach` returns how many jobs stay."""

    def __init__(self, dispatcher: Dispatcher, pool: Pool, detach: Callable[[], int]) -> None:
        self._dispatcher = dispatcher
        self._pool = pool
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
        """Close a node to new jobs, or open it again; its state then."""
        if name not in self._pool.nodes:
            names = ", ".join(list(self._pool.nodes))
            raise HarborError(f"the pool has no node {name}; it has {names}.", "harbor status")
        self._dispatcher.post(ev.DrainChanged(name, (reason or "by the user") if drain else ""))

        def state() -> str | None:
            node = self._pool.nodes.get(name)
            return shown_state(node)[0] if node is not None and bool(node.drain) == drain else None

        self._dispatcher.wait(lambda: state() is not None, DRAIN_S)
        return state() or "gone"
