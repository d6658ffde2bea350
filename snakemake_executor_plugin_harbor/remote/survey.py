"""Connect to every node of a host list once, and gather what it says of itself. For `nodes` and `doctor`."""

import argparse
import os
import queue
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..config.settings import ExecutorSettings, PoolConfig, pool_config
from ..core import events as ev
from ..core.model import Load, NodeFacts, NodeSpec
from ..core.protocol import VERSION, Message
from ..errors import HarborError
from ..store.journal_reader import open_run
from .connection import Current
from .descriptors import raise_limit
from .link import Link
from .links import Links
from .transport import SshSettings, Target, Transport, make_transport

ANSWER_S = 30.0
EACH_S = 0.2
"""Several nodes log in side by side, yet not all at once."""
KEYS = ("hosts", "hostfile", "ssh_config", "transport", "scratch")


@dataclass
class Answer:
    """What came of one node. `reason` says why there are no facts; `skew` is its clock minus ours, seconds."""

    spec: NodeSpec
    facts: NodeFacts | None = None
    load: Load | None = None
    reason: str = ""
    took: float | None = None
    skew: float | None = None
    events: list[ev.Event] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hosts", nargs="+", metavar="HOST", help="as --harbor-hosts; default: those of the last run here"
    )
    parser.add_argument("--hostfile", type=Path, metavar="PATH", help="as --harbor-hostfile")
    parser.add_argument("--ssh-config", type=Path, metavar="PATH", help="as --harbor-ssh-config")
    parser.add_argument("--transport", choices=["paramiko", "openssh"], help="as --harbor-transport")
    parser.add_argument("--scratch", metavar="PATH", help="as --harbor-scratch")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="take the harbor-* keys of this Snakemake profile")


def configuration(arguments: argparse.Namespace) -> PoolConfig:
    """The host list: from the options, else from the profile, else from the last run of this directory."""
    values: dict[str, Any] = {}
    if arguments.profile is not None:
        values = _profile(arguments.profile)
    elif arguments.hosts is None and arguments.hostfile is None:
        try:
            values = open_run(Path.cwd()).facts().get("settings") or {}
        except HarborError as error:
            raise HarborError(
                "no host list given, and no run here to take it from.", "harbor nodes --hosts 8/ada carol@grace"
            ) from error
    values.update({key: value for key in KEYS if (value := getattr(arguments, key)) is not None})
    for key in ("hostfile", "ssh_config"):
        if values.get(key):
            values[key] = Path(values[key]).expanduser()
    return pool_config(ExecutorSettings(**{key: values[key] for key in KEYS if values.get(key)}))


def _profile(directory: Path) -> dict[str, Any]:
    for name in ("profile.yaml", "config.yaml", "config.v9+.yaml", "config.v8+.yaml"):
        path = directory / name
        if path.is_file():
            break
    else:
        raise HarborError(f"--profile: there is no config.yaml in {directory}.")
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise HarborError(f"--profile: {path} cannot be read: {error}.") from error
    if not isinstance(document, dict):
        raise HarborError(f"--profile: {path} is no Snakemake profile: it has no keys.")
    values = {key: document.get("harbor-" + key.replace("_", "-")) for key in KEYS}
    if isinstance(values["hosts"], str):
        values["hosts"] = [values["hosts"]]
    for key in ("hostfile", "ssh_config"):
        value = values[key]
        if value and (directory / str(value)).exists():
            values[key] = str(directory / str(value))
    return values


def survey(config: PoolConfig) -> list[Answer]:
    """Connect to all nodes; returns when each has answered or failed, or after half a minute (more for many nodes)."""
    raise_limit(len(config.nodes), config.transport)
    inbox: queue.SimpleQueue[tuple[str, ev.Event, float]] = queue.SimpleQueue()
    answers = {spec.name: Answer(spec) for spec in config.nodes}
    token = secrets.token_hex(8)
    probe = Path.cwd() / f".harbor-probe-{token}"
    password = os.environ.get("SNAKEMAKE_HARBOR_PASSWORD")
    settings = SshSettings(config.ssh_config, password, 10.0)

    def transport(spec: NodeSpec) -> Transport:
        return make_transport(
            Target(spec.name, spec.host, spec.user, spec.port, spec.local), config.transport, settings
        )

    def welcome(spec: NodeSpec) -> Message:
        message = {"t": "welcome", "v": VERSION, "run": f"survey-{token}", "node": spec.name, "load_every": 0.5}
        message["owner"] = message["run"]
        paths = {"scratch": spec.scratch or config.scratch, "workdir": str(Path.cwd())}
        return {
            **message,
            **paths,
            "umask": 0o077,
            "nice": 0,
            "probe": {"file": str(probe), "token": token},
            "same": [],
        }

    def make(spec: NodeSpec) -> Link:
        def post(event: ev.Event, current: Current) -> None:
            inbox.put((spec.name, event, time.time()))

        return Link(spec, transport, welcome, post, lambda *_: None)

    links = Links(make)
    started = time.monotonic()
    try:
        probe.write_text(token)
        for spec in config.nodes:
            links.connect(spec)
        _gather(answers, inbox, started)
    finally:
        probe.unlink(missing_ok=True)
        links.close()
    return list(answers.values())


def _gather(
    answers: dict[str, Answer], inbox: "queue.SimpleQueue[tuple[str, ev.Event, float]]", started: float
) -> None:
    def open_ones() -> list[Answer]:
        return [a for a in answers.values() if not a.reason and a.load is None]

    limit = ANSWER_S + len(answers) * EACH_S
    while open_ones() and (left := started + limit - time.monotonic()) > 0:
        try:
            name, event, at = inbox.get(timeout=left)
        except queue.Empty:
            break
        answer = answers[name]
        match event:
            case ev.NodeUp(_, facts):
                answer.facts, answer.took = facts, time.monotonic() - started
                answer.skew = facts.time - at if facts.time else None
            case ev.LoadMeasured(_, load):
                answer.load = load
            case ev.NodeDown(_, reason):
                answer.reason = answer.reason or reason
    for answer in open_ones():
        answer.reason = f"no answer within {limit:.0f} s"
