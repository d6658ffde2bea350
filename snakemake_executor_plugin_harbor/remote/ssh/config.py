"""What the user's ssh configuration says about one host.

`ssh -G` is asked where the ssh program exists: it alone knows Include, Match and the system's defaults. Without it
paramiko's parser reads the files, which does not follow Include. May import transport.py, never paramiko at the top.
"""

import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..process import clean_environment
from ..transport import ConnectError, SshSettings, Target

ME = pwd.getpwuid(os.getuid())
HOME = Path(ME.pw_dir)
"""Where ssh looks for ~: in the password database, not in HOME."""
ALIVE_INTERVAL_S = 15
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:/]+)(?::(?P<port>\d+))?/?")


@dataclass(frozen=True)
class HostOptions:
    """One host's options as lists of words, with the names of ssh_config(5) in lower case."""

    target: Target
    settings: SshSettings
    values: Mapping[str, tuple[str, ...]]

    def _first(self, key: str, default: str = "") -> str:
        value = self.values.get(key, (default,))[0]
        return default if value.lower() == "none" else value

    def _is(self, key: str, default: bool) -> bool:
        return self._first(key, "yes" if default else "no").lower() not in ("no", "false")

    @cached_property
    def hostname(self) -> str:
        return self._first("hostname", self.target.host).lower()

    @cached_property
    def port(self) -> int:
        return int(self._first("port", "22"))

    @cached_property
    def user(self) -> str:
        return self._first("user") or self.target.user or ME.pw_name

    @cached_property
    def known_name(self) -> str:
        """The name under which known_hosts files list this host."""
        alias = self._first("hostkeyalias")
        if alias:
            return alias
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"

    @property
    def has_alias(self) -> bool:
        return bool(self._first("hostkeyalias"))

    @cached_property
    def connect_timeout(self) -> float:
        return float(self._first("connecttimeout") or self.settings.connect_timeout)

    @cached_property
    def alive_interval(self) -> int:
        return int(self._first("serveraliveinterval", "0")) or ALIVE_INTERVAL_S

    @cached_property
    def strict(self) -> str:
        """StrictHostKeyChecking as yes, accept-new or no; `ask` is yes here, as there is nobody to ask."""
        word = self._first("stricthostkeychecking", "ask").lower()
        return {"accept-new": "accept-new", "false": "no", "no": "no", "off": "no"}.get(word, "yes")

    @cached_property
    def user_known_hosts(self) -> tuple[Path, ...]:
        return self._paths("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")

    @cached_property
    def global_known_hosts(self) -> tuple[Path, ...]:
        return self._paths("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")

    @property
    def hash_known_hosts(self) -> bool:
        return self._is("hashknownhosts", False)

    @property
    def host_key_algorithms(self) -> tuple[str, ...]:
        return tuple(filter(None, self._first("hostkeyalgorithms").split(",")))

    @cached_property
    def identity_files(self) -> tuple[Path, ...]:
        return self._each_path("identityfile") or tuple(HOME / ".ssh" / name for name in DEFAULT_KEYS)

    @cached_property
    def certificate_files(self) -> tuple[Path, ...]:
        return self._each_path("certificatefile")

    @property
    def identities_only(self) -> bool:
        return self._is("identitiesonly", False)

    @cached_property
    def agent_socket(self) -> str | None:
        """Where ssh-agent listens: IdentityAgent, else SSH_AUTH_SOCK; None where there is none."""
        word = self.values.get("identityagent", ("SSH_AUTH_SOCK",))[0]
        if word.lower() == "none":
            return None
        if word == "SSH_AUTH_SOCK" or word.startswith("$"):
            return os.environ.get(word.strip("${}")) or None
        return str(self._path(word))

    @property
    def public_key_login(self) -> bool:
        return self._is("pubkeyauthentication", True)

    @property
    def compression(self) -> bool:
        return self._is("compression", False)

    @cached_property
    def family(self) -> socket.AddressFamily:
        families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
        return families.get(self._first("addressfamily"), socket.AF_UNSPEC)

    @cached_property
    def proxy_jump(self) -> tuple[str, ...]:
        return tuple(filter(None, (hop.strip() for hop in self._first("proxyjump").split(","))))

    @cached_property
    def proxy_command(self) -> str | None:
        return self._expand(self._first("proxycommand")) or None

    def _expand(self, text: str) -> str:
        """The percent tokens of ssh_config(5) and ${VARIABLES}; an unknown token stays as it is."""
        host = socket.gethostname()
        tokens = {
            "%": "%",
            "h": self.hostname,
            "n": self.target.host,
            "p": str(self.port),
            "r": self.user,
            "k": self._first("hostkeyalias") or self.target.host,
            "d": ME.pw_dir,
            "u": ME.pw_name,
            "i": str(os.getuid()),
            "l": host,
            "L": host.split(".")[0],
        }
        text = re.sub(r"%(.)", lambda m: tokens.get(m[1], m[0]), text)
        return re.sub(r"\$\{(\w+)\}", lambda m: os.environ.get(m[1], m[0]), text)

    def _path(self, word: str) -> Path:
        word = self._expand(word.strip('"'))
        return HOME / word[2:] if word.startswith("~/") else Path(word)

    def _each_path(self, key: str) -> tuple[Path, ...]:
        return tuple(self._path(word) for word in self.values.get(key, ()) if word.lower() != "none")

    def _paths(self, key: str, default: str) -> tuple[Path, ...]:
        line = self.values.get(key, (default,))[0]
        if line.lower() == "none":
            return ()
        if self._path(line).is_file():  # ssh -G prints a name with a blank as it is
            return (self._path(line),)
        return tuple(self._path(word) for word in (shlex.split(line) if '"' in line else line.split()))


def resolve(target: Target, settings: SshSettings) -> HostOptions:
    """Everything that the configuration says about `target`. Raises ConnectError("config")."""
    config = settings.ssh_config
    if config is not None and not os.access(config, os.R_OK):
        message = f"node {target.name}: the ssh configuration {config} cannot be read"
        raise ConnectError("config", message, f"ls -l {shlex.quote(str(config))}")
    values = _ask_ssh(target, settings) if shutil.which("ssh") else _parse_files(target, config)
    return HostOptions(target, settings, {key: tuple(words) for key, words in values.items()})


def _ask_ssh(target: Target, settings: SshSettings) -> dict[str, list[str]]:
    argv = ["ssh", "-G", *target_words(target, settings)]
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=clean_environment(),
            timeout=settings.connect_timeout,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = "did not answer" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        message = f"node {target.name}: `{shlex.join(argv)}` {reason}"
        raise ConnectError("other", message, shlex.join(argv)) from error
    if done.returncode != 0:
        reason = "; ".join(line for line in done.stderr.splitlines() if "Pseudo-terminal" not in line)
        message = f"node {target.name}: the ssh configuration is not valid: {reason}"
        raise ConnectError("config", message, shlex.join(argv))
    values: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value)
    return values


def _parse_files(target: Target, config: Path | None) -> dict[str, list[str]]:
    import paramiko

    files = [config] if config else [HOME / ".ssh/config", SYSTEM_CONFIG]
    # The first value found holds; `Host *` ends the last block of the file before.
    text = "\nHost *\n".join(file.read_text(errors="replace") for file in files if file.is_file())
    try:
        found = paramiko.SSHConfig.from_text(text).lookup(target.host)
    except paramiko.SSHException as error:
        message = f"node {target.name}: the ssh configuration is not valid: {error}"
        raise ConnectError("config", message) from error
    values = {key: list(value) if isinstance(value, list) else [value] for key, value in found.items()}
    if target.port is not None:
        values["port"] = [str(target.port)]
    if target.user is not None:
        values["user"] = [target.user]
    return values


def target_words(target: Target, settings: SshSettings) -> list[str]:
    """The words that name `target` on a command line of ssh."""
    words = ["-F", str(settings.ssh_config)] if settings.ssh_config else []
    words += ["-p", str(target.port)] if target.port else []
    words += ["-l", target.user] if target.user else []
    return [*words, "--", target.host]


def parse_hop(text: str, options: HostOptions) -> Target:
    """One hop of ProxyJump: [USER@]HOST[:PORT] or ssh://[USER@]HOST[:PORT]. Raises ConnectError("config")."""
    match = _HOP.fullmatch(text)
    if match is None:
        name = options.target.name
        message = f"node {name}: ProxyJump {text!r} is not of the form [USER@]HOST[:PORT]"
        raise ConnectError("config", message, f"ssh -G {shlex.quote(options.target.host)}")
    port = int(match["port"]) if match["port"] else None
    return Target(options.target.name, match["host"].strip("[]"), match["user"], port, local=False)
