"""Connects by paramiko: it dials, checks the host key, logs in and starts one command.

The connection may lead through jump hosts. Each of these is a connection of its own, with its own configuration, keys
and checks. paramiko is imported when the first connection opens.
"""

import logging
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from ..transport import Channel, ConnectError, SshSettings, Target, login_command
from .ciphers import prefer_fast_ciphers
from .config import parse_jump_host, read_host_options
from .dial import ProxyProcess, Tunnel, dial_tcp, wait_for_greeting
from .errors import USE_OPENSSH, ConnectErrors, kind_of_text
from .host_key_check import check_host_key, prefer_known_keys
from .host_options import HostOptions
from .login import log_in
from .login_limits import LOGIN_S, STALLED_S, handshakes, server_limit
from .paramiko_channel import ParamikoChannel

if TYPE_CHECKING:
    import paramiko

MAX_JUMPS = 8
SILENT_S = 3.0
"""A server that has sent nothing by then may wait for us to send first. But most such servers are dead."""
IDLE_POLL_S = 1.0
"""paramiko's reader wakes ten times per second to see if it shall stop. Once is enough, because close() wakes it."""


class ParamikoTransport:
    """Makes one connection by paramiko. It is a Transport of transport.py."""

    def __init__(self, target: Target, settings: SshSettings) -> None:
        self.login = login_command(target, settings)
        self._target = target
        self._settings = settings
        self._closed = False
        self._first = False
        self._sockets: list[socket.socket] = []
        self._sessions: list[paramiko.Transport] = []
        self._proxies: list[ProxyProcess] = []

    def open(self, command: str, first: bool = False) -> Channel:
        self._first = first
        # paramiko logs tracebacks of its own threads. Our errors say the same in a sentence.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        try:
            options = read_host_options(self._target, self._settings)
            errors = ConnectErrors(options)
            try:
                return self._start_command(self._connect(options, ()), errors, command)
            except ConnectError as error:
                raise errors.with_ignored_options(error) from error
        except BaseException as error:
            closed = self._closed
            self.close()
            if closed and isinstance(error, ConnectError):
                message = f"node {self._target.name}: the connection was closed while it was being opened"
                raise ConnectError("closed", message) from error
            raise

    def close(self) -> None:
        self._closed = True
        self._shut_down_sockets()
        for session in reversed(self._sessions):
            session.packetizer.complete_handshake()  # ends its timer's thread, which would delay the end of our process
            session.close()
        for sock in self._sockets:
            sock.close()
        for proxy in self._proxies:
            proxy.end()

    def _shut_down_sockets(self) -> None:
        """Wake every thread that waits for this connection. Never blocks."""
        for sock in list(self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the socket was never connected, or the connection is gone

    # --- one host on the way ----------------------------------------------------------------------------

    def _connect(self, options: HostOptions, route: Sequence[HostOptions]) -> "paramiko.Transport":
        """Return a session with a host. `route` holds the hosts to which the session will lead as a jump host."""
        import paramiko

        errors = ConnectErrors(options, jump=bool(route))
        if len(route) > MAX_JUMPS:
            raise errors.error("config", f"there are more than {MAX_JUMPS} jump hosts, so ProxyJump leads in a circle")
        if options.proxy_command and "ProxyUseFdpass" in options.only_openssh:
            raise errors.error("config", "its ProxyCommand passes a socket on, which paramiko cannot take", USE_OPENSSH)
        jump_host = self._connect_jump_host(options, route)
        with server_limit(options.hostname, options.port).hold(STALLED_S, self._first) as hold_for:
            sock = self._dial(options, errors, jump_host)
            hold_for(LOGIN_S)
            session = paramiko.Transport(sock)  # type: ignore[arg-type]  # a Tunnel has the methods that it uses
            self._sessions.append(session)
            session.banner_timeout = session.handshake_timeout = session.auth_timeout = options.connect_timeout
            session.channel_timeout = options.connect_timeout
            session.use_compression(options.compression)
            prefer_known_keys(session, options)
            prefer_fast_ciphers(session)
            connected = time.monotonic()
            greeted = isinstance(sock, Tunnel) or wait_for_greeting(sock, min(SILENT_S, options.connect_timeout))
            with handshakes.hold(STALLED_S, self._first) if greeted else nullcontext():
                self._exchange_keys(session, errors, connected)
                trusted = check_host_key(session, errors)
                log_in(session, errors, self._settings.password if trusted else None)
        session.set_keepalive(options.alive_interval)
        sock.settimeout(IDLE_POLL_S)
        return session

    def _exchange_keys(self, session: "paramiko.Transport", errors: ConnectErrors, connected: float) -> None:
        """Exchange versions and keys with the server. Raises ConnectError.

        `connected` is the time from which the server's timeout counts.
        """
        import paramiko

        timeout = errors.options.connect_timeout
        try:
            session.start_client(timeout=max(1.0, connected + timeout - time.monotonic()))
            session.get_remote_server_key()  # start_client() returns without an error after its timeout
        except paramiko.ssh_exception.IncompatiblePeer as error:
            raise errors.not_connected("config", str(error), USE_OPENSSH) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            text = str(error)
            if time.monotonic() - connected > timeout - 0.2:
                detail = "it accepted the connection, but does not speak SSH"
                raise errors.not_connected("timeout", detail) from error
            if "Indecipherable protocol" in text:
                raise errors.not_connected("other", "what answers there is not an SSH server") from error
            stderr = self._proxies[-1].stderr() if errors.options.proxy_command else ""
            if stderr.strip():
                raise errors.proxy_failed(stderr) from error
            raise errors.not_connected("closed", "" if "banner" in text else text) from error

    def _connect_jump_host(self, options: HostOptions, route: Sequence[HostOptions]) -> "paramiko.Transport | None":
        """Return a session with the last jump host on the way to a host, or None if there is no jump host."""
        if not options.proxy_jump:
            return None
        *before, last = options.proxy_jump
        jump_options = read_host_options(parse_jump_host(last, options), self._settings)
        if before:
            # As with `ssh -J a,b`, the way to b leads through a, whatever b's own configuration says.
            jump_options = replace(jump_options, proxy_jump=tuple(before))
        return self._connect(jump_options, (*route, options))

    def _dial(
        self, options: HostOptions, errors: ConnectErrors, jump_host: "paramiko.Transport | None"
    ) -> socket.socket | Tunnel:
        """Return a stream of bytes to the host: a tunnel through the jump host, the proxy command's, or TCP."""
        if jump_host is not None:
            return self._open_tunnel(jump_host, options, errors)
        if options.proxy_command:
            proxy = ProxyProcess(options.proxy_command)
            self._proxies.append(proxy)
            self._register(proxy.sock, errors)
            return proxy.sock
        return dial_tcp(options, errors, lambda sock: self._register(sock, errors))

    def _register(self, sock: socket.socket, errors: ConnectErrors) -> None:
        """Let close() shut the socket down, even before it is connected."""
        self._sockets.append(sock)
        if self._closed:
            raise errors.not_connected("closed")

    def _open_tunnel(self, session: "paramiko.Transport", options: HostOptions, errors: ConnectErrors) -> Tunnel:
        import paramiko

        destination, origin = (options.hostname, options.port), ("127.0.0.1", 0)
        try:
            return Tunnel(session.open_channel("direct-tcpip", destination, origin, timeout=options.connect_timeout))
        except paramiko.ChannelException as error:
            kind = "proxy" if error.code == 1 else kind_of_text(error.text)
            # sshd answers "Connect failed" whatever the reason was.
            detail = f"jump host: {error.text}"
            raise errors.not_connected(kind if kind != "other" else "refused", detail) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise errors.not_connected(kind_of_text(str(error)), f"jump host: {error}") from error

    # --- the command ------------------------------------------------------------------------------------

    def _start_command(self, session: "paramiko.Transport", errors: ConnectErrors, command: str) -> Channel:
        import paramiko

        timeout = errors.options.connect_timeout
        # exec_command() waits for its answer without a limit. The end of the connection ends the wait.
        timer = threading.Timer(timeout, self._shut_down_sockets)
        timer.daemon = True
        timer.start()
        try:
            channel = session.open_session(timeout=timeout)
            ours = ParamikoChannel(channel, self._shut_down_sockets)
            channel.exec_command(command)
        except (paramiko.SSHException, EOFError, OSError) as error:
            why = f"the login at {errors.address} succeeded, but the server started no command: {error}"
            raise errors.error("other", why) from error
        finally:
            timer.cancel()
        return ours
