"""Answers to requests of the `harbor` command."""

from collections.abc import Callable, Mapping
from typing import Any

from ..core import events as ev
from ..core.spelling import closest
from ..errors import HarborError
from ..remote.connection import SILENCE_S
from ..run.dispatcher import Dispatcher
from .job_requests import JobRequests

DRAIN_S = 5.0
"""The answer to `drain`, `resume` and `forget` waits at most this long for the node's new state."""


class ControlRequests:
    """Used on the control socket's thread."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        detach: Callable[[], int],
        stop: Callable[[bool], object],
        jobs: JobRequests,
        has_begun: Callable[[], bool],
    ) -> None:
        """`detach` leaves the jobs to a later run and returns their number. `stop` starts no more jobs, and with True
        it ends those that run. `jobs` answers requests about jobs by their names. `has_begun` says whether nodes are
        ready and every job fits on one of them.
        """
        self._dispatcher = dispatcher
        self._detach = detach
        self._stop = stop
        self._jobs = jobs
        self._has_begun = has_begun

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what a request asks for, and return the answer. Raises HarborError if that is not possible."""
        match request.get("op"):
            case "read":
                data = self._dispatcher.read_output(str(request.get("job")), int(request.get("offset", 0)))
                return {"data": None if data is None else data.hex()}
            case "detach":
                return {"jobs": self._detach()}
            case "stop":
                self._stop(bool(request.get("now")))
                return {"now": bool(request.get("now"))}
            case "begun":
                return {"begun": self._has_begun()}
            case "drain":
                return {"state": self._set_drain(request, str(request.get("reason") or "by the user"))}
            case "resume":
                return {"state": self._set_drain(request, "")}
            case "forget":
                return {"state": self._forget(request)}
            case "cancel":
                return self._jobs.cancel(request)
            case "find":
                return self._jobs.find(request)
        raise HarborError(
            f"the running controller does not know the request {request.get('op')!r}. It may be of another version."
        )

    def _set_drain(self, request: Mapping[str, Any], reason: str) -> str:
        """Close a node to new jobs for this reason, or open it again if there is none. Returns the node's new state."""
        name = self._node(request)
        self._dispatcher.post(ev.DrainChanged(name, reason))
        return self._new_state(name)

    def _forget(self, request: Mapping[str, Any]) -> str:
        """Give up a node that does not answer. Returns its state."""
        name = self._node(request)
        if self._dispatcher.snapshot.is_connected(name):
            raise HarborError(
                f"node {name} is connected, so its jobs are not given up. If it has died just now, harbor notices it "
                f"within {SILENCE_S:.0f} s.",
                f"harbor drain {name}   # places no more jobs on it; `harbor cancel JOB` ends a job",
            )
        self._dispatcher.post(ev.NodeForgotten(name))
        return self._new_state(name)

    def _node(self, request: Mapping[str, Any]) -> str:
        """Return the name of the node that the request is about. Raises HarborError if the pool has no such node."""
        name, nodes = str(request.get("node")), self._dispatcher.snapshot.nodes
        if name not in nodes:
            close = closest(name, nodes)
            meant = f"did you mean {close}? It" if close else "it"
            raise HarborError(f"the pool has no node {name}; {meant} has {', '.join(nodes)}.", "harbor status")
        return name

    def _new_state(self, name: str) -> str:
        """Return the state of a node after the pool has handled a request."""
        self._dispatcher.wait_for_round(DRAIN_S)
        node = self._dispatcher.snapshot.nodes.get(name)
        return "gone" if node is None else node.shown_state
