"""The way to a node through paramiko: dial, check the host key, log in, run one command.

The connection may lead through jump hosts, each a connection of its own with its own configuration, keys and checks.
paramiko is imported when the first connection opens.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from ..process import AFTERMATH_S, READ_SIZE, Tail
from ..transport import Channel, ConnectError, SshSettings, Target
from .config import HostOptions, parse_hop, resolve
from .dial import Proxy, Tunnel, await_greeting, dial_tcp
from .errors import BY_OPENSSH, ConnectErrors, kind_of_text
from .known_hosts import HostKey, Verdict, accept_new, entries, judge
from .login import log_in
from .login_limits import LOGIN_S, STALLED_S, handshakes, of_server

if TYPE_CHECKING:
    import paramiko

MAX_JUMPS = 8
SILENT_S = 3.0
"""A server that has not spoken by then may wait for us to speak first; most such servers are dead."""
IDLE_POLL_S = 1.0
"""paramiko's reader wakes up ten times a second to look for a stop; once is enough, since close() wakes it."""


class ParamikoTransport:
    """One connection by paramiko; a Transport (transport.py)."""

    def __init__(self, target: Target, settings: SshSettings) -> None:
        self._target = target
        self._settings = settings
        self._closed = False
        self._first = False
        self._sockets: list[socket.socket] = []
        self._sessions: list[paramiko.Transport] = []
        self._proxies: list[Proxy] = []

    def open(self, command: str, first: bool = False) -> Channel:
        self._first = first
        # paramiko logs tracebacks of its own threads; what they mean is told by our errors.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        try:
            options = resolve(self._target, self._settings)
            return self._run(self._connect(options, ()), ConnectErrors(options), command)
        except BaseException as error:
            closed = self._closed
            self.close()
            if closed and isinstance(error, ConnectError):
                raise ConnectError("closed", f"node {self._target.name}: given up while connecting") from error
            raise

    def close(self) -> None:
        self._closed = True
        self._cut()
        for session in reversed(self._sessions):
            session.packetizer.complete_handshake()  # ends its timer thread, which would hold up our exit
            session.close()
        for sock in self._sockets:
            sock.close()
        for proxy in self._proxies:
            proxy.end()

    def _cut(self) -> None:
        """Shut the sockets down: every thread that waits on this connection wakes up. Never blocks."""
        for sock in list(self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # never connected, or gone already

    # --- one hop ----------------------------------------------------------------------------------------

    def _connect(self, options: HostOptions, route: Sequence[HostOptions]) -> "paramiko.Transport":
        """A session with the host of `options`; `route` holds the hosts that asked for it as their jump host."""
        import paramiko

        faults = ConnectErrors(options, jump=bool(route))
        if len(route) > MAX_JUMPS:
            raise faults.error("config", f"more than {MAX_JUMPS} jump hosts: ProxyJump goes in a circle")
        before = self._last_jump(options, route)
        with of_server(options.hostname, options.port).hold(STALLED_S, self._first) as keep:
            sock = self._dial(options, faults, before)
            keep(LOGIN_S)
            session = paramiko.Transport(sock)  # type: ignore[arg-type]  # it takes whatever behaves like a socket
            self._sessions.append(session)
            session.banner_timeout = session.handshake_timeout = session.auth_timeout = options.connect_timeout
            session.channel_timeout = options.connect_timeout
            session.use_compression(options.compression)
            _prefer_known_keys(session, options)
            begun = time.monotonic()
            spoke = isinstance(sock, Tunnel) or await_greeting(sock, min(SILENT_S, options.connect_timeout))
            with handshakes.hold(STALLED_S, self._first) if spoke else nullcontext():
                self._greet(session, faults, begun)
                trusted = check_host_key(session, faults)
                log_in(session, faults, self._settings.password if trusted else None)
        session.set_keepalive(options.alive_interval)
        sock.settimeout(IDLE_POLL_S)
        return session

    def _greet(self, session: "paramiko.Transport", faults: ConnectErrors, begun: float) -> None:
        """Versions and keys are exchanged. `begun`: when the server could have begun to speak. Raises ConnectError."""
        import paramiko

        timeout = faults.options.connect_timeout
        try:
            session.start_client(timeout=max(1.0, begun + timeout - time.monotonic()))
            session.get_remote_server_key()  # start_client returns in silence when its time is over
        except paramiko.ssh_exception.IncompatiblePeer as error:
            raise faults.unreached("config", str(error), BY_OPENSSH) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            text = str(error)
            if time.monotonic() - begun > timeout - 0.2:
                detail = "it took the connection, but does not speak SSH"
                raise faults.unreached("timeout", detail) from error
            if "Indecipherable protocol" in text:
                raise faults.unreached("other", "what answers there is not an SSH server") from error
            said = self._proxies[-1].said() if faults.options.proxy_command else ""
            if said.strip():
                raise faults.on_the_way(said) from error
            raise faults.unreached("closed", "" if "banner" in text else text) from error

    def _last_jump(self, options: HostOptions, route: Sequence[HostOptions]) -> "paramiko.Transport | None":
        """A session with the last jump host on the way; None where the way is direct."""
        if not options.proxy_jump:
            return None
        *before, last = options.proxy_jump
        hop = resolve(parse_hop(last, options), self._settings)
        if before:
            # As with ssh -J a,b: what leads to b is a, not what b's own configuration says.
            hop = replace(hop, values={**hop.values, "proxyjump": (",".join(before),)})
        return self._connect(hop, (*route, options))

    def _dial(
        self, options: HostOptions, faults: ConnectErrors, before: "paramiko.Transport | None"
    ) -> socket.socket | Tunnel:
        """A stream of bytes to the host: TCP, the proxy command's, or a channel through the last jump host."""
        if before is not None:
            return self._through(before, options, faults)
        if options.proxy_command:
            proxy = Proxy(options.proxy_command)
            self._proxies.append(proxy)
            self._enlist(proxy.sock, faults)
            return proxy.sock
        return dial_tcp(options, faults, lambda sock: self._enlist(sock, faults))

    def _enlist(self, sock: socket.socket, faults: ConnectErrors) -> None:
        """From now on close() shuts it down, also while it is being connected."""
        self._sockets.append(sock)
        if self._closed:
            raise faults.unreached("closed")

    def _through(self, session: "paramiko.Transport", options: HostOptions, faults: ConnectErrors) -> Tunnel:
        import paramiko

        there, here = (options.hostname, options.port), ("127.0.0.1", 0)
        try:
            return Tunnel(session.open_channel("direct-tcpip", there, here, timeout=options.connect_timeout))
        except paramiko.ChannelException as error:
            kind = "proxy" if error.code == 1 else kind_of_text(error.text)
            # sshd says "Connect failed" of whatever kept it from connecting.
            raise faults.unreached(kind if kind != "other" else "refused", f"jump host: {error.text}") from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise faults.unreached(kind_of_text(str(error)), f"jump host: {error}") from error

    # --- the command ------------------------------------------------------------------------------------

    def _run(self, session: "paramiko.Transport", faults: ConnectErrors, command: str) -> Channel:
        import paramiko

        timeout = faults.options.connect_timeout
        # exec_command waits for its answer without end; a cut connection answers.
        timer = threading.Timer(timeout, self._cut)
        timer.daemon = True
        timer.start()
        try:
            channel = session.open_session(timeout=timeout)
            channel.exec_command(command)
        except (paramiko.SSHException, EOFError, OSError) as error:
            why = f"{faults.place} let us in, but started no command: {error}"
            raise faults.error("other", why) from error
        finally:
            timer.cancel()
        return ParamikoChannel(channel, self._cut)


class _Bell(threading.Event):
    """Rings for stdout and for stderr: the buffers may set it, only the reader clears it."""

    def clear(self) -> None:
        """Does nothing: a buffer that was emptied must not silence the other one."""

    def rearm(self) -> None:
        super().clear()


class ParamikoChannel:
    """A command on the node; a Channel (transport.py).

    stderr shares the window with nobody reading it: it is emptied by read(), or a chatty command would stop.
    """

    def __init__(self, channel: "paramiko.Channel", cut: Callable[[], None]) -> None:
        self._channel = channel
        self._cut = cut
        self._tail = Tail()
        self._closed = False
        self._bell = _Bell()
        channel.in_buffer.set_event(self._bell)
        channel.in_stderr_buffer.set_event(self._bell)

    def read(self) -> bytes:
        channel = self._channel
        while not self._closed:
            self._bell.rearm()
            self._take_stderr()
            if channel.recv_ready() or channel.eof_received or channel.closed:
                return channel.recv(READ_SIZE)
            self._bell.wait()
        return b""

    def write(self, data: bytes) -> None:
        import paramiko

        view = memoryview(data)
        while view:
            try:
                sent = self._channel.send(bytes(view[:READ_SIZE]))
            except (paramiko.SSHException, EOFError) as error:
                raise BrokenPipeError(f"the connection is gone: {error}") from error
            if sent == 0 or self._closed:
                raise BrokenPipeError("the channel is closed")
            view = view[sent:]

    def close(self) -> None:
        # Not channel.close(): it sends a message, and would wait behind a writer that a dead peer holds up.
        self._closed = True
        self._cut()
        self._bell.set()

    def stderr(self) -> str:
        self._take_stderr()
        return self._tail.text()

    def exit_status(self) -> int | None:
        channel = self._channel
        if channel.eof_received and not self._closed:
            channel.status_event.wait(AFTERMATH_S)
        return channel.exit_status if channel.exit_status >= 0 else None

    def _take_stderr(self) -> None:
        while self._channel.recv_stderr_ready():
            self._tail.add(self._channel.recv_stderr(READ_SIZE))


def _prefer_known_keys(session: "paramiko.Transport", options: HostOptions) -> None:
    """Ask for the types of host key that known_hosts holds first.

    Otherwise the server may show another of its keys, and a host that is well known looks unknown.
    """
    security = session.get_security_options()
    ours = list(security.key_types)
    wanted = [name for name in options.host_key_algorithms if name in ours] or ours
    found = entries(options, options.known_name) or entries(options, options.hostname)
    known = {entry.key.type for entry in found if not entry.marker}
    known |= {"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in known else set()
    security.key_types = sorted(wanted, key=lambda name: name not in known)


def check_host_key(session: "paramiko.Transport", faults: ConnectErrors) -> bool:
    """Whether the host is who it says it is; False where StrictHostKeyChecking=no lets a wrong key pass.

    Raises ConnectError (host_key_unknown, host_key_changed).
    """
    options = faults.options
    shown = session.get_remote_server_key()
    key = HostKey(shown.get_name(), shown.get_base64())
    verdict, found = judge(options, key)
    plain = [entry for entry in found if not entry.marker]
    # A host that is known by other types only is not new: whoever hides those keys may be somebody else.
    if verdict is Verdict.UNKNOWN and options.strict == "accept-new" and not plain:
        verdict = accept_new(options, key)
    if verdict is Verdict.REVOKED:
        where = next(entry.where for entry in found if entry.marker == "@revoked" and entry.key == key)
        raise faults.changed_key(key.shown, where, revoked=True)
    if verdict is Verdict.KNOWN or options.strict == "no":
        return verdict is not Verdict.CHANGED
    authority = next((entry.where for entry in found if entry.marker == "@cert-authority"), None)
    if verdict is Verdict.UNKNOWN and authority is not None:
        raise faults.certified_key(key.shown, authority)
    if verdict is Verdict.UNKNOWN:
        raise faults.unknown_key(key.shown, len(plain))
    where = next((entry.where for entry in plain if entry.key.type == key.type), "the memory of this run")
    raise faults.changed_key(key.shown, where)
