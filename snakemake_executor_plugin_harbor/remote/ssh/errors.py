"""What to tell the user when a node cannot be reached: one sentence for each cause, and the next command to type.

Both ways over SSH speak through here, so that a refused port reads the same whichever met it.
"""

import errno
import re
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..transport import ConnectError
from .config import HOME, HostOptions
from .known_hosts import ShownKey

BY_OPENSSH = "snakemake --harbor-transport openssh"
"""The hint for what the ssh program can and paramiko cannot."""

_PHRASES = (
    ("config", r"bad configuration option|terminating, \d+ bad configuration|bad owner or permissions on .*config"),
    ("config", r"can't open user config file|unable to negotiate with|missing argument|unsupported option"),
    ("host_key_changed", r"remote host identification has changed|host key for .* has changed|marked as revoked"),
    ("host_key_unknown", r"host key is known for .* strict checking|host key verification failed"),
    ("name", r"could not resolve hostname|name or service not known|nodename nor servname"),
    ("refused", r"connection refused"),
    ("unreachable", r"no route to host|network is unreachable|host is down|host is unreachable"),
    ("timeout", r"timed out|not responding|timeout"),
    ("auth", r"permission denied|too many authentication failures|no more authentication methods"),
    ("proxy", r"administratively prohibited|stdio forwarding failed|proxy"),
    ("closed", r"connection closed|connection reset|broken pipe|closed by remote host"),
)
_ERRNO_KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ECONNRESET: "closed",
    errno.EPIPE: "closed",
}


def kind_of_text(text: str) -> str:
    """The kind of error that ssh or sshd describes in `text`; "other" when no phrase is known."""
    return next((kind for kind, phrase in _PHRASES if re.search(phrase, text, re.IGNORECASE)), "other")


def telling_line(text: str) -> str:
    """The line that says most: the first one of the kind of the whole text, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kind = kind_of_text(text)
    known = [line for line in lines if kind != "other" and kind_of_text(line) == kind]
    return (known or lines[-1:] or ["no reason was given"])[0]


def kind_of_error(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "name"
    if isinstance(error, TimeoutError):
        return "timeout"
    return _ERRNO_KINDS.get(error.errno or 0, "other")


@dataclass(frozen=True)
class ConnectErrors:
    """Makes the errors of one host: the node itself, or a jump host on the way to it (`jump`)."""

    options: HostOptions
    jump: bool = False

    @property
    def _begin(self) -> str:
        options = self.options
        return f"node {options.target.name}: " + (f"jump host {options.target.host}: " if self.jump else "")

    @property
    def place(self) -> str:
        return f"{self.options.hostname} port {self.options.port}"

    def ssh(self, *words: str) -> str:
        """A command line of ssh to the host, as the user would type it."""
        return shlex.join(["ssh", *words, *self._words()])

    def error(self, kind: str, why: str, hint: str | None = None, permanent: bool | None = None) -> ConnectError:
        return ConnectError(kind, self._begin + why, hint or self.ssh("-v"), permanent)

    def unreached(self, kind: str, detail: str = "", hint: str | None = None) -> ConnectError:
        """No connection was made, or it ended before anybody was logged in."""
        options, passing = self.options, False
        if kind == "closed" and options.proxy_command:
            kind, detail = "proxy", detail or f"`{options.proxy_command}` ended"
        because = f": {detail}" if detail else ""
        why = {
            "name": f"the host name {options.hostname} does not resolve{because}",
            "refused": f"{self.place} refuses connections: no SSH server listens there{because}",
            "timeout": f"no answer from {self.place} within {options.connect_timeout:g} s{because}",
            "unreachable": f"there is no route to {self.place}{because}",
            "closed": f"{self.place} closed the connection before the login{because}",
            "proxy": f"the way to {self.place} through the proxy failed{because}",
            "config": f"no agreement with the SSH server at {self.place}{because}",
        }.get(kind, f"connecting to {self.place} failed{because}")
        if kind == "name":
            hint = shlex.join(["getent", "hosts", options.hostname])
            # No name server answers: a laptop that wakes up sees this for every name.
            passing = "temporary" in detail.lower()
        return self.error(kind, why, hint, permanent=False if passing else None)

    def on_the_way(self, said: str) -> ConnectError:
        """A jump host's ssh or the proxy command failed; `said` is what it wrote to stderr."""
        hops = ", ".join(self.options.proxy_jump)
        kind, line = kind_of_text(said), telling_line(said)
        return self.error(
            "proxy" if kind == "other" else kind, f"{f'jump host {hops}' if hops else 'proxy command'}: {line}"
        )

    def unknown_key(self, key: ShownKey | None, others: int = 0) -> ConnectError:
        """`key` None: the server's key was not seen. `others`: how many keys of other types are known."""
        options = self.options
        file = options.user_known_hosts[0] if options.user_known_hosts else "known_hosts"
        shown = f" ({key.type} {key.fingerprint})" if key else ""
        known = f" lists {others} of its keys, but not this one" if others else " does not list it"
        why = f"the host key{shown} of {options.known_name} is not known: {file}{known}. Compare the fingerprint first"
        return self.error("host_key_unknown", why, self._learn(key, str(file)))

    def certified_key(self, key: ShownKey, where: str) -> ConnectError:
        """known_hosts lists an authority for the host, and paramiko asks for no certificates."""
        why = f"the host key ({key.type} {key.fingerprint}) of {self.options.known_name} is known by the authority only"
        return self.error("host_key_unknown", f"{why} that {where} names, which takes the ssh program", BY_OPENSSH)

    def _learn(self, key: ShownKey | None, file: str) -> str:
        options = self.options
        if key is None or options.has_alias or options.proxy_jump or options.proxy_command or self.jump:
            # ssh-keyscan reaches neither what is behind a proxy nor writes an alias: ssh itself asks and adds it.
            return self.ssh("-o", "StrictHostKeyChecking=ask")
        kind = "ecdsa" if key.type.startswith("ecdsa") else key.type.removeprefix("ssh-")
        port = f"-p {options.port} " if options.port != 22 else ""
        return f"ssh-keyscan -t {kind} {port}{shlex.quote(options.hostname)} >> {shlex.quote(file)}"

    def changed_key(self, key: ShownKey | None, where: str, revoked: bool = False) -> ConnectError:
        """`where`: FILE:LINE of the key that was expected."""
        options = self.options
        shown = f" ({key.type} {key.fingerprint})" if key else ""
        if revoked:
            why = f"the host key{shown} of {options.known_name} is marked as revoked in {where}"
            return self.error("host_key_changed", why)
        why = (
            f"the host key{shown} of {options.known_name} is not the one in {where}: the machine was installed anew, "
            "or somebody is in between. Ask its administrator before you remove the old key"
        )
        file, words = where.rpartition(":")[0], ["ssh-keygen", "-R", options.known_name]
        if file and file != str(HOME / ".ssh/known_hosts"):
            words += ["-f", file]
        return self.error("host_key_changed", why, shlex.join(words))

    def denied(self, why: str, locked: Sequence[Path] = (), hint: str | None = None) -> ConnectError:
        """The server refused the login; `why` says what was tried, `locked` which keys need a passphrase."""
        options = self.options
        if locked:
            files = [str(file) for file in locked]
            why += f"; {', '.join(files)} has a passphrase and is not in ssh-agent"
            begin = "" if options.agent_socket else 'eval "$(ssh-agent)" && '
            hint = hint or begin + shlex.join(["ssh-add", *files])
        hint = hint or shlex.join(["ssh-copy-id", *self._words()])
        return self.error("auth", f"login as {options.user} at {self.place} was refused: {why}", hint)

    def _words(self) -> list[str]:
        target, config = self.options.target, self.options.settings.ssh_config
        words = ["-F", str(config)] if config else []
        words += ["-p", str(target.port)] if target.port else []
        return [*words, f"{target.user}@{target.host}" if target.user else target.host]
