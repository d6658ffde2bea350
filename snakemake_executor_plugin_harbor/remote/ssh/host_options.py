"""Turns the ssh configuration's options for one host into values that the transports use."""

import os
import pwd
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..transport import ConnectError, SshSettings, Target

PASSWD_ENTRY = pwd.getpwuid(os.getuid())
HOME = Path(PASSWD_ENTRY.pw_dir)
"""The ssh program finds ~ in the password database. It does not use the variable HOME."""
ALIVE_INTERVAL_S = 15
"""Keepalive messages have this interval, if the configuration has no ServerAliveInterval."""
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
ONLY_OPENSSH = {
    "proxyusefdpass": "ProxyUseFdpass",
    "pkcs11provider": "PKCS11Provider",
    "knownhostscommand": "KnownHostsCommand",
    "bindaddress": "BindAddress",
    "bindinterface": "BindInterface",
}
"""paramiko ignores these options. So a connection by paramiko may fail where the ssh program connects."""
_STRICTNESS = {"accept-new": "accept-new", "false": "no", "no": "no", "off": "no"}


@dataclass(frozen=True)
class HostOptions:
    """Holds the options of one host. Fields have the names of ssh_config(5), or say what they are."""

    target: Target
    settings: SshSettings
    hostname: str
    port: int
    user: str
    host_key_alias: str
    connect_timeout: float
    alive_interval: int
    strict: str
    """This is StrictHostKeyChecking: yes, accept-new or no. `ask` counts as yes, because nobody is there to answer."""
    user_known_hosts: tuple[Path, ...]
    global_known_hosts: tuple[Path, ...]
    hash_known_hosts: bool
    host_key_algorithms: tuple[str, ...]
    identity_files: tuple[Path, ...]
    certificate_files: tuple[Path, ...]
    identities_only: bool
    agent_socket: str | None
    """This is the path of ssh-agent's socket. It is None if there is no agent."""
    public_key_login: bool
    compression: bool
    family: socket.AddressFamily
    proxy_jump: tuple[str, ...]
    proxy_command: str | None
    only_openssh: tuple[str, ...]
    """These are the options of the host that paramiko ignores."""

    @property
    def known_name(self) -> str:
        """Return the name under which known_hosts files list the host."""
        if self.host_key_alias:
            return self.host_key_alias
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"

    @property
    def has_alias(self) -> bool:
        """Return True if HostKeyAlias is set."""
        return bool(self.host_key_alias)


def host_options(target: Target, settings: SshSettings, values: Mapping[str, Sequence[str]]) -> HostOptions:
    """Return the options that `values` describe. Raises ConnectError("config") for a number that is not one.

    `values` maps an option's name in lower case to the arguments of each of its lines.
    """
    config = _Values(target, settings, values)
    return HostOptions(
        target,
        settings,
        hostname=config.hostname,
        port=config.port,
        user=config.user,
        host_key_alias=config.first("hostkeyalias"),
        connect_timeout=config.number("connecttimeout") or settings.connect_timeout,
        alive_interval=config.number("serveraliveinterval") or ALIVE_INTERVAL_S,
        strict=_STRICTNESS.get(config.first("stricthostkeychecking").lower(), "yes"),
        user_known_hosts=config.file_list("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2"),
        global_known_hosts=config.file_list(
            "globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
        ),
        hash_known_hosts=config.flag("hashknownhosts", False),
        host_key_algorithms=config.comma_list("hostkeyalgorithms"),
        identity_files=config.files("identityfile") or tuple(HOME / ".ssh" / name for name in DEFAULT_KEYS),
        certificate_files=config.files("certificatefile"),
        identities_only=config.flag("identitiesonly", False),
        agent_socket=config.agent_socket(),
        public_key_login=config.flag("pubkeyauthentication", True),
        compression=config.flag("compression", False),
        family=_FAMILIES.get(config.first("addressfamily"), socket.AF_UNSPEC),
        proxy_jump=config.comma_list("proxyjump"),
        proxy_command=config.expand(config.first("proxycommand")) or None,
        only_openssh=tuple(name for key, name in ONLY_OPENSSH.items() if config.first(key).lower() not in ("", "no")),
    )


class _Values:
    """Reads the values of options in the forms of ssh_config(5)."""

    def __init__(self, target: Target, settings: SshSettings, values: Mapping[str, Sequence[str]]) -> None:
        self._target = target
        self._settings = settings
        self._values = values
        self.hostname = (self.first("hostname") or target.host).lower()
        self.port = self.number("port") or 22
        self.user = self.first("user") or target.user or PASSWD_ENTRY.pw_name
        host = socket.gethostname()
        self._tokens = {
            "%": "%",
            "h": self.hostname,
            "n": target.host,
            "p": str(self.port),
            "r": self.user,
            "k": self.first("hostkeyalias") or target.host,
            "d": PASSWD_ENTRY.pw_dir,
            "u": PASSWD_ENTRY.pw_name,
            "i": str(os.getuid()),
            "l": host,
            "L": host.split(".")[0],
        }

    def first(self, key: str) -> str:
        """Return the argument of the option's first line. It is "" if there is none or if it is `none`."""
        value = self._values.get(key, ("",))[0]
        return "" if value.lower() == "none" else value

    def number(self, key: str) -> int:
        """Return a number, or 0 if the option is not set."""
        value = self.first(key) or "0"
        if not re.fullmatch("[0-9]{1,9}", value):
            message = f"node {self._target.name}: the ssh configuration is not valid: {key} {value} is not a number"
            config = self._settings.ssh_config or HOME / ".ssh/config"
            raise ConnectError("config", message, f"grep -in {key} {shlex.quote(str(config))}")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.first(key).lower()
        return value not in ("no", "false") if value else default

    def comma_list(self, key: str) -> tuple[str, ...]:
        return tuple(filter(None, (word.strip() for word in self.first(key).split(","))))

    def files(self, key: str) -> tuple[Path, ...]:
        """Return one path per line of an option that may occur several times."""
        return tuple(self._path(word) for word in self._values.get(key, ()) if word.lower() != "none")

    def file_list(self, key: str, default: str) -> tuple[Path, ...]:
        """Return the paths of an option that has several on its line."""
        line = self._values.get(key, (default,))[0]
        if line.lower() == "none":
            return ()
        if self._path(line).is_file():  # `ssh -G` does not quote a name that contains a blank
            return (self._path(line),)
        return tuple(self._path(word) for word in (shlex.split(line) if '"' in line else line.split()))

    def agent_socket(self) -> str | None:
        """Return what IdentityAgent names. Its default is the variable SSH_AUTH_SOCK."""
        word = self._values.get("identityagent", ("SSH_AUTH_SOCK",))[0]
        if word.lower() == "none":
            return None
        if word == "SSH_AUTH_SOCK" or word.startswith("$"):
            return os.environ.get(word.strip("${}")) or None
        return str(self._path(word))

    def expand(self, text: str) -> str:
        """Replace the percent tokens of ssh_config(5) and ${VARIABLES}. Unknown ones stay as they are."""
        text = re.sub(r"%(.)", lambda match: self._tokens.get(match[1], match[0]), text)
        return re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], match[0]), text)

    def _path(self, word: str) -> Path:
        word = self.expand(word.strip('"'))
        return HOME / word[2:] if word.startswith("~/") else Path(word)
