"""The movers of all nodes."""

import threading
import time
from collections.abc import Callable

from ..core.codec import Message
from ..core.model import NodeSpec
from ..remote.transport import Transport
from .manifest import Checksums
from .model import Transfer
from .mover import Mover

CHECK_S = 5.0
"""Interval at which transfers are looked for over which nothing moves."""


class Movers:
    """All methods may be called from any thread."""

    def __init__(self, transport: Callable[[NodeSpec], Transport], welcome: Callable[[NodeSpec], Message]) -> None:
        self._transport = transport
        self._welcome = welcome
        self._checksums = Checksums()
        self._lock = threading.Lock()
        self._movers: dict[str, Mover] = {}
        self._stopped = threading.Event()

    def of(self, spec: NodeSpec) -> Mover:
        """Return the mover of a node. It connects when something is to be moved."""
        with self._lock:
            if not self._movers and not self._stopped.is_set():
                threading.Thread(target=self._watch, name="harbor-movers", daemon=True).start()
            mover = self._movers.get(spec.name)
            if mover is None or mover.spec != spec:
                mover = self._movers[spec.name] = Mover(spec, self._transport, self._welcome, self._checksums)
                if self._stopped.is_set():
                    mover.close()
            return mover

    def transfers(self) -> dict[str, list[Transfer]]:
        """Return the transfers that are under way, by node."""
        with self._lock:
            movers = list(self._movers.items())
        return {node: found for node, mover in movers if (found := mover.transfers())}

    def close(self) -> None:
        """End all connections. Transfers that are under way fail, and new ones do not begin."""
        self._stopped.set()
        with self._lock:
            movers = list(self._movers.values())
        for mover in movers:
            mover.close()

    def _watch(self) -> None:
        while not self._stopped.wait(CHECK_S):
            with self._lock:
                movers = list(self._movers.values())
            for mover in movers:
                mover.check_silence(time.monotonic())
