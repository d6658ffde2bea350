"""Makes the error messages for a node that cannot be reached: one sentence per cause, and the next command to type.

Both SSH transports use this file, so that a message does not depend on the transport.
"""

import errno
import re
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..transport import ConnectError, typed_target
from .host_options import HOME, HostOptions
from .known_hosts import KeyFingerprint

USE_OPENSSH = "snakemake --harbor-transport openssh   # in a profile: harbor-transport: openssh"
"""This is the hint for what the ssh program can do and paramiko cannot."""

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
    """Return the kind of the error that ssh or sshd describes in `text`. It is "other" if no phrase is known."""
    return next((kind for kind, phrase in _PHRASES if re.search(phrase, text, re.IGNORECASE)), "other")


def most_relevant_line(text: str) -> str:
    """Return the first line that has the kind of the whole text. If there is none, return the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kind = kind_of_text(text)
    of_kind = [line for line in lines if kind != "other" and kind_of_text(line) == kind]
    return (of_kind or lines[-1:] or ["no reason was given"])[0]


def kind_of_error(error: OSError) -> str:
    """Return the kind of an operating system's error."""
    if isinstance(error, socket.gaierror):
        return "name"
    if isinstance(error, TimeoutError):
        return "timeout"
    return _ERRNO_KINDS.get(error.errno or 0, "other")


@dataclass(frozen=True)
class ConnectErrors:
    """Makes the errors of one host. With `jump`, the host is a jump host on the way to the node."""

    options: HostOptions
    jump: bool = False

    @property
    def address(self) -> str:
        """Return the host's name and port in the form of the messages."""
        return f"{self.options.hostname} port {self.options.port}"

    def ssh_command(self, *words: str) -> str:
        """Return a command line of ssh to the host, as the user would type it."""
        return shlex.join(["ssh", *words, *typed_target(self.options.target, self.options.settings)])

    def error(self, kind: str, why: str, hint: str | None = None, permanent: bool | None = None) -> ConnectError:
        """Return an error. The message names the node and the jump host before `why`. The default hint is `ssh -v`."""
        options = self.options
        prefix = f"node {options.target.name}: " + (f"jump host {options.target.host}: " if self.jump else "")
        return ConnectError(kind, prefix + why, hint or self.ssh_command("-v"), permanent)

    def with_ignored_options(self, error: ConnectError) -> ConnectError:
        """Return the error of paramiko. If it may be due to options that paramiko ignores, the error names them."""
        ignored = ", ".join(self.options.only_openssh)
        if not ignored:
            return error
        message = f"{error.message}. The ssh configuration has {ignored}, which only the ssh program understands"
        return ConnectError(error.kind, message, USE_OPENSSH, error.permanent)

    def not_connected(self, kind: str, detail: str = "", hint: str | None = None) -> ConnectError:
        """Return the error for a connection that was not made, or that ended before the login."""
        options, temporary = self.options, False
        if kind == "closed" and options.proxy_command:
            kind, detail = "proxy", detail or f"`{options.proxy_command}` ended"
        because = f": {detail}" if detail else ""
        why = {
            "name": f"the host name {options.hostname} does not resolve{because}",
            "refused": f"{self.address} refuses connections, so no SSH server listens there{because}",
            "timeout": f"no answer from {self.address} within {options.connect_timeout:g} s{because}",
            "unreachable": f"there is no route to {self.address}{because}",
            "closed": f"{self.address} closed the connection before the login{because}",
            "proxy": f"the connection to {self.address} through the proxy failed{because}",
            "config": f"no agreement with the SSH server at {self.address}{because}",
        }.get(kind, f"the connection to {self.address} failed{because}")
        if kind == "name":
            hint = shlex.join(["getent", "hosts", options.hostname])
            # No name server answered. A laptop that wakes up gets this for every name.
            temporary = "temporary" in detail.lower()
        return self.error(kind, why, hint, permanent=False if temporary else None)

    def proxy_failed(self, stderr: str) -> ConnectError:
        """Return the error for a jump host's ssh or a proxy command that failed. `stderr` is what it wrote."""
        jump_hosts = ", ".join(self.options.proxy_jump)
        kind, line = kind_of_text(stderr), most_relevant_line(stderr)
        what = f"jump host {jump_hosts}" if jump_hosts else "proxy command"
        return self.error("proxy" if kind == "other" else kind, f"{what}: {line}")

    def unknown_key(self, key: KeyFingerprint | None, others: int = 0) -> ConnectError:
        """Return the error for a host key that known_hosts does not list.

        `key` is None if the key is not known. `others` is the number of the host's keys of other types in known_hosts.
        """
        options = self.options
        file = options.user_known_hosts[0] if options.user_known_hosts else "known_hosts"
        shown = f" ({key.type} {key.sha256})" if key else ""
        known = f" lists {others} of its keys, but not this one" if others else " does not list it"
        why = f"the host key{shown} of {options.known_name} is not known: {file}{known}. Compare the fingerprint first"
        return self.error("host_key_unknown", why, self._command_to_add_key(key, str(file)))

    def key_of_authority(self, key: KeyFingerprint, where: str) -> ConnectError:
        """Return the error for a host that known_hosts lists by a certificate authority only.

        paramiko does not ask servers for certificates.
        """
        why = (
            f"the host key ({key.type} {key.sha256}) of {self.options.known_name} is known only by the certificate "
            f"authority in {where}, and only the ssh program can check certificates"
        )
        return self.error("host_key_unknown", why, USE_OPENSSH)

    def _command_to_add_key(self, key: KeyFingerprint | None, file: str) -> str:
        options = self.options
        if key is None or options.has_alias or options.proxy_jump or options.proxy_command or self.jump:
            # ssh-keyscan cannot reach a host behind a proxy, and it writes no alias. But ssh asks and adds the key.
            return self.ssh_command("-o", "StrictHostKeyChecking=ask")
        kind = "ecdsa" if key.type.startswith("ecdsa") else key.type.removeprefix("ssh-")
        port = f"-p {options.port} " if options.port != 22 else ""
        return f"ssh-keyscan -t {kind} {port}{shlex.quote(options.hostname)} >> {shlex.quote(file)}"

    def changed_key(self, key: KeyFingerprint | None, where: str, revoked: bool = False) -> ConnectError:
        """Return the error for a host key that is not the expected one. `where` is FILE:LINE of the expected key."""
        options = self.options
        shown = f" ({key.type} {key.sha256})" if key else ""
        if revoked:
            why = f"the host key{shown} of {options.known_name} is marked as revoked in {where}"
            return self.error("host_key_changed", why)
        why = (
            f"the host key{shown} of {options.known_name} is not the one in {where}. Either the machine was "
            "reinstalled, or somebody intercepts the connection. Ask its administrator before you remove the old key"
        )
        file, words = where.rpartition(":")[0], ["ssh-keygen", "-R", options.known_name]
        if file and file != str(HOME / ".ssh/known_hosts"):
            words += ["-f", file]
        return self.error("host_key_changed", why, shlex.join(words))

    def hint_for_master(self) -> str:
        """Return the hint for a server that asks for a code. The user answers once, and harbor uses that connection."""
        file = self.options.settings.ssh_config or "~/.ssh/config"
        return (
            f"{self.ssh_command()} true   # once, after these lines for this host in {file}: "
            "ControlMaster auto, ControlPath ~/.ssh/%C, ControlPersist 8h"
        )

    def login_refused(self, why: str, locked: Sequence[Path] = (), hint: str | None = None) -> ConnectError:
        """Return the error for a refused login.

        `why` says what was tried. `locked` are key files that need a passphrase.
        """
        options = self.options
        if locked:
            files = [str(file) for file in locked]
            why += f"; {', '.join(files)} has a passphrase and is not in ssh-agent"
            begin = "" if options.agent_socket else 'eval "$(ssh-agent)" && '
            hint = hint or begin + shlex.join(["ssh-add", *files])
        hint = hint or shlex.join(["ssh-copy-id", *typed_target(options.target, options.settings)])
        return self.error("auth", f"the login as {options.user} at {self.address} was refused: {why}", hint)
