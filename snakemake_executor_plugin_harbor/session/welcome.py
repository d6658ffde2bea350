"""Connects to nodes, makes the first message for a node, and decides if a node is accepted."""

import os
import sys
from collections.abc import Callable
from typing import Any

from ..config.hostfile_watch import HostfileWatch
from ..config.pool_config import PoolConfig, host_list
from ..core.codec import Message
from ..core.model import NodeFacts, NodeSpec
from ..core.protocol import VERSION
from ..errors import HarborError
from ..jobs import environment
from ..remote.connect import make_transport
from ..remote.transport import SshSettings, Target, Transport
from ..snakemake_internals.verify import version as snakemake_version
from ..store.workdir import Workdir

LOAD_INTERVAL_S = 1.0
"""A node sends its load at this interval."""


class Welcome:
    """Implements the dispatcher's `NodeAccess`."""

    def __init__(
        self, config: PoolConfig, settings: Any, password: str | None, workdir: Workdir, warn: Callable[[str], None]
    ) -> None:
        """`settings` are the executor's settings, from which the host list is read again."""
        self._config = config
        self._ssh = SshSettings(config.ssh_config, password)
        self._workdir = workdir
        self._warn = warn
        self._host_list = HostfileWatch(settings.hostfile, lambda: host_list(settings))
        self._paths = environment.shareable_paths()
        self._shared_before: set[str] = set()

    def transport(self, node: NodeSpec) -> Transport:
        """A transport to the node, which is not connected yet."""
        target = Target(node.name, node.host, node.user, node.port, node.local)
        return make_transport(target, self._config.transport, self._ssh)

    def welcome(self, node: NodeSpec) -> Message:
        """The first message that the node gets."""
        umask = os.umask(0o077)
        os.umask(umask)
        return {
            "t": "welcome",
            "v": VERSION,
            "run": self._workdir.run,
            "node": node.name,
            "scratch": node.scratch or self._config.scratch,
            "workdir": str(self._workdir.workdir),
            "owner": self._workdir.id,
            "fence": str(self._workdir.fences.path),
            "umask": umask,
            "nice": self._config.nice,
            "load_every": LOAD_INTERVAL_S,
            "probe": {"file": str(self._workdir.probe), "token": self._workdir.token},
            "same": self._paths,
            # If the host file names a Python, scripts run in that. Otherwise they run in the one that Snakemake has,
            # if the node has it at the same path.
            "python": None if node.python else sys.executable,
            "snakemake": snakemake_version(),
            "environment": environment.variables_shells_drop() if node.local else {},
        }

    def mover_welcome(self, node: NodeSpec) -> Message:
        """The first message that the mover on a node gets."""
        agent = self.welcome(node)
        return {
            **{name: agent[name] for name in ("t", "v", "scratch", "umask", "nice")},
            "cache_mb": self._config.cache_mb,
        }

    def is_staged(self, node: NodeSpec, facts: NodeFacts) -> bool:
        """Whether the files of jobs are sent to a node that answered, and fetched.

        A node that had the directory before, in this run, has lost its mount. It is used again when the mount is back.
        """
        if facts.shared:
            self._shared_before.add(node.name)
        return node.is_staged(facts.shared or node.name in self._shared_before, self._config.staging)

    def why_unusable(self, node: NodeSpec, facts: NodeFacts) -> str | None:
        """The reason why a node that answered cannot be used, or None if it can."""
        if facts.shared or facts.staged:
            return None
        return (
            f"the working directory {self._workdir.workdir} is not there, or is another one. Mount it at the same path "
            "on every node, take the node out of the host list, or leave out --harbor-staging never"
        )

    def changed_host_list(self) -> tuple[NodeSpec, ...] | None:
        """The host list if the host file was edited, or else None. A bad edit gives a warning and changes nothing."""
        try:
            return self._host_list.changed()
        except HarborError as error:
            self._warn(f"the edited host list is not used: {error}")
            return None
