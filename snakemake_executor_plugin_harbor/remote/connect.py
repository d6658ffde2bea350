"""Makes the transport to a node: SSH by paramiko, SSH by the ssh program, or a local shell.

The two SSH transports are imported only when they are used, because `import paramiko` takes 0.1 s.
"""

from .open_files import inherited_limit_command
from .process_channel import ProcessChannel, clean_environment
from .transport import Channel, ConnectError, SshSettings, Target, Transport


def make_transport(target: Target, kind: str, settings: SshSettings) -> Transport:
    """Return a transport that is not open yet. `kind` is "paramiko" or "openssh". A local target needs neither."""
    if target.local:
        return LocalTransport(target)
    if kind == "openssh":
        from .ssh.openssh_transport import OpensshTransport

        return OpensshTransport(target, settings)
    from .ssh.paramiko_transport import ParamikoTransport

    return ParamikoTransport(target, settings)


class LocalTransport:
    """Makes this machine a node: /bin/sh runs the command that an SSH server would run on another node."""

    login = ""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._channel: ProcessChannel | None = None
        self._closed = False

    def open(self, command: str, first: bool = False) -> Channel:
        try:
            channel = ProcessChannel(["/bin/sh", "-c", inherited_limit_command() + command], clean_environment())
        except OSError as error:
            message = f"node {self._target.name}: /bin/sh cannot be started on this machine: {error}"
            raise ConnectError("other", message, "ls -l /bin/sh") from error
        self._channel = channel
        if self._closed:
            channel.close()
        return channel

    def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            self._channel.close()
