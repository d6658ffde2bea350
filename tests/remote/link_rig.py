"""Links to real SSH servers, and the events that they report."""

import queue
import time
from pathlib import Path
from typing import Any

import psutil

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.codec import Message
from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.core.protocol import VERSION
from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.connection import IsCurrent
from snakemake_executor_plugin_harbor.remote.link import Link
from snakemake_executor_plugin_harbor.remote.links import Links
from snakemake_executor_plugin_harbor.remote.transport import SshSettings, Target
from tests.sshd import Pool

NODE = NodeSpec("node1", "node1")


class LinkRig:
    """Makes links to the nodes of a pool by one transport, and collects the events that they report."""

    def __init__(self, pool: Pool, kind: str, scratch: Path) -> None:
        self.pool = pool
        self.scratch = scratch
        self.reported: queue.SimpleQueue[tuple[ev.Event, IsCurrent]] = queue.SimpleQueue()
        self.kind = kind
        self.links = Links(self.link)
        self.made: list[Link] = []

    def link(self, spec: NodeSpec = NODE) -> Link:
        """Return a new link that is not connected yet."""
        settings = SshSettings(self.pool.ssh_config, None)

        def welcome(node: NodeSpec) -> Message:
            probe = {"file": "/nowhere", "token": "x"}
            paths = {"scratch": str(self.scratch), "workdir": str(self.scratch.parent), "probe": probe}
            identity = {"run": "link", "owner": "link", "node": node.name}
            return {
                "t": "welcome",
                "v": VERSION,
                "umask": 0o77,
                "nice": 0,
                "load_every": 0.2,
                "same": [],
                **identity,
                **paths,
            }

        made = Link(
            spec,
            lambda node: make_transport(Target(node.name, node.host, node.user, node.port, False), self.kind, settings),
            welcome,
            lambda event, is_current: self.reported.put((event, is_current)),
            lambda *_: None,
        )
        self.made.append(made)
        return made

    def next_event(self, *kinds: type, timeout: float = 30) -> Any:
        """Return the next event of these kinds whose connection is still current."""
        deadline = time.monotonic() + timeout
        while True:
            event, is_current = self.reported.get(timeout=max(0.0, deadline - time.monotonic()))
            if isinstance(event, kinds) and is_current():
                return event

    def connect(self, link: Link) -> ev.NodeUp | ev.NodeDown:
        """Connect a link and return the result."""
        link.connect()
        return self.next_event(ev.NodeUp, ev.NodeDown)

    def abort(self, link: Link) -> ev.NodeDown:
        """Abort a link's connection and return the event that follows."""
        link.abort()
        return self.next_event(ev.NodeDown)

    def agents(self, name: str = "harbor-agent") -> list[int]:
        """Return the process ids of the agents on all servers."""
        found = []
        for server in self.pool.servers.values():
            if server._process is not None:
                children = psutil.Process(server.pid).children(recursive=True)
                found += [process.pid for process in children if _name(process) == name]
        return found

    def close(self) -> None:
        self.links.close()
        for link in self.made:
            link.close()


def _name(process: psutil.Process) -> str:
    """Return the name, or "" if the process has ended since it was listed."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
