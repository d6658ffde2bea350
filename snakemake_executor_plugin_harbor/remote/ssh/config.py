"""Reads what the user's ssh configuration says about one host.

The ssh program is asked (`ssh -G`) if it is installed, because only it knows Include, Match and the system's defaults.
Otherwise paramiko's parser reads the files. That parser does not follow Include.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from ..process_channel import clean_environment
from ..transport import ConnectError, SshSettings, Target
from .host_options import HOME, HostOptions, host_options

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_JUMP_HOST = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:/]+)(?::(?P<port>\d+))?/?")


def read_host_options(target: Target, settings: SshSettings) -> HostOptions:
    """Return all options that the configuration has for `target`. Raises ConnectError."""
    config = settings.ssh_config
    if config is not None and not os.access(config, os.R_OK):
        message = f"node {target.name}: the ssh configuration {config} cannot be read"
        raise ConnectError("config", message, f"ls -l {shlex.quote(str(config))}")
    values = _values_from_ssh(target, settings) if shutil.which("ssh") else _values_from_files(target, config)
    return host_options(target, settings, values)


def _values_from_ssh(target: Target, settings: SshSettings) -> dict[str, list[str]]:
    argv = ["ssh", "-G", *target_arguments(target, settings)]
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
        reason = "did not answer" if isinstance(error, subprocess.TimeoutExpired) else f"failed: {error}"
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


def _values_from_files(target: Target, config: Path | None) -> dict[str, list[str]]:
    import paramiko

    files = [config] if config else [HOME / ".ssh/config", SYSTEM_CONFIG]
    # The first value found counts, as with ssh. `Host *` ends the last block of the file before.
    text = "\nHost *\n".join(file.read_text(errors="replace") for file in files if file.is_file())
    try:
        found = paramiko.SSHConfig.from_text(text).lookup(target.host)
    except paramiko.SSHException as error:
        message = f"node {target.name}: the ssh configuration is not valid: {error}"
        raise ConnectError("config", message, f"cat {shlex.join(map(str, files))}") from error
    values = {key: list(value) if isinstance(value, list) else [value] for key, value in found.items()}
    if target.port is not None:
        values["port"] = [str(target.port)]
    if target.user is not None:
        values["user"] = [target.user]
    return values


def target_arguments(target: Target, settings: SshSettings) -> list[str]:
    """Return the arguments that name `target` on a command line of ssh."""
    words = ["-F", str(settings.ssh_config)] if settings.ssh_config else []
    words += ["-p", str(target.port)] if target.port else []
    words += ["-l", target.user] if target.user else []
    return [*words, "--", target.host]


def parse_jump_host(text: str, options: HostOptions) -> Target:
    """Return one host of ProxyJump: [USER@]HOST[:PORT] or ssh://[USER@]HOST[:PORT]. Raises ConnectError("config")."""
    match = _JUMP_HOST.fullmatch(text)
    if match is None:
        name = options.target.name
        message = f"node {name}: ProxyJump {text!r} does not have the form [USER@]HOST[:PORT]"
        raise ConnectError("config", message, f"ssh -G {shlex.quote(options.target.host)}")
    port = int(match["port"]) if match["port"] else None
    return Target(options.target.name, match["host"].strip("[]"), match["user"], port, local=False)
