"""The options that name nodes for `harbor nodes`, `doctor` and `clean`, and the survey of the nodes that they name."""

import argparse
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..config.password import PASSWORD_VARIABLE
from ..config.pool_config import PoolConfig, pool_config
from ..config.profile import profile_file, user_profiles
from ..config.settings import ExecutorSettings
from ..core.model import NodeSpec
from ..errors import HarborError
from ..remote.connect import make_transport
from ..remote.open_files import raise_open_file_limit
from ..remote.survey import Answer, Cleaning, Questions, survey
from ..remote.transport import SshSettings, Target, Transport
from ..store.journal_reader import open_run

CONNECT_TIMEOUT_S = 10.0
KEYS = ("hosts", "hostfile", "ssh_config", "transport", "scratch", "staging")
"""The settings of a run that decide how its nodes are reached and used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command's parser."""
    parser.add_argument(
        "--hosts", nargs="+", metavar="HOST", help="as --harbor-hosts; default: the nodes of the last run here"
    )
    parser.add_argument("--hostfile", type=Path, metavar="PATH", help="as --harbor-hostfile")
    parser.add_argument("--ssh-config", type=Path, metavar="PATH", help="as --harbor-ssh-config")
    parser.add_argument("--transport", choices=["paramiko", "openssh"], help="as --harbor-transport")
    parser.add_argument("--scratch", metavar="PATH", help="as --harbor-scratch")
    parser.add_argument(
        "--profile", metavar="NAME", help="use the harbor-* keys of this Snakemake profile, a name or a path"
    )


def survey_nodes(config: PoolConfig, workdir: Path, questions: Questions | Cleaning | None = None) -> list[Answer]:
    """Connect to the nodes and return one answer per node. Raises HarborError.

    `questions` are those of `harbor doctor` or `harbor clean`.
    """
    raise_open_file_limit(len(config.nodes), config.transport)
    settings = SshSettings(config.ssh_config, os.environ.get(PASSWORD_VARIABLE), CONNECT_TIMEOUT_S)

    def transport(spec: NodeSpec) -> Transport:
        target = Target(spec.name, spec.host, spec.user, spec.port, spec.local)
        return make_transport(target, config.transport, settings)

    try:
        nodes = tuple(replace(node, staging=node.staging or config.staging) for node in config.nodes)
        return survey(nodes, transport, config.scratch, workdir, questions)
    except OSError as error:
        raise HarborError(
            f"the working directory {workdir} cannot be written, so nodes cannot be asked whether they see it: "
            f"{error.strerror or error}.",
            f"ls -ld {shlex.quote(str(workdir))}",
        ) from error


def chosen_config(arguments: argparse.Namespace) -> PoolConfig:
    """Return the configuration. Options override the profile, or the last run of this directory if there is none."""
    values: dict[str, Any] = {}
    if arguments.profile is not None:
        values = _profile(arguments.profile)
    elif arguments.hosts is None and arguments.hostfile is None:
        values = _last_run()
    if arguments.hosts is not None or arguments.hostfile is not None:
        # One of the two replaces the profile's whole host list, as in a run.
        values |= {"hosts": None, "hostfile": None}
    values.update({key: value for key in KEYS if (value := getattr(arguments, key, None)) is not None})
    for key in ("hostfile", "ssh_config"):
        if values.get(key):
            values[key] = Path(values[key]).expanduser()
    return pool_config(ExecutorSettings(**{key: values[key] for key in KEYS if values.get(key)}))


def _last_run() -> dict[str, Any]:
    """Return the settings of the last run of this directory. Before the first run, Snakemake's own default decides."""
    try:
        return open_run(Path.cwd()).facts().get("settings") or {}
    except HarborError as error:
        default = os.environ.get("SNAKEMAKE_PROFILE", "none")
        if default != "none":
            return _profile(default)
        raise HarborError(
            f"no host list is given, and {Path.cwd()} has no run to take one from.",
            "harbor nodes --hosts 8/ada carol@grace",
        ) from error


def read_profile(profile: str) -> tuple[dict[str, Any], Path]:
    """Return the keys of a Snakemake profile, which is a name or a path, and its directory. Raises HarborError."""
    path = profile_file(profile)
    if path is None:
        raise HarborError(
            f"--profile {profile}: there is no config.yaml in a directory of this path, nor in {user_profiles()}.",
            "harbor profile --hosts 8/ada carol@grace   # installs the profile `harbor`",
        )
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise HarborError(f"--profile: {path} cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise HarborError(f"--profile: {path} is not a Snakemake profile, because it has no keys.")
    return document, path.parent


def _profile(profile: str) -> dict[str, Any]:
    """Return the values of KEYS in a profile. Files that it names are relative to the profile, if they exist there."""
    document, directory = read_profile(profile)
    values = {key: document.get("harbor-" + key.replace("_", "-")) for key in KEYS}
    if isinstance(values["hosts"], str):
        values["hosts"] = [values["hosts"]]
    for key in ("hostfile", "ssh_config"):
        value = values[key]
        if value and (directory / str(value)).exists():
            values[key] = str(directory / str(value))
    return values
