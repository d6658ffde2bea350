"""Starts the real agent in the oldest and the newest Python of this machine. It is streamed, and never imported."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from snakemake_executor_plugin_harbor.remote.bootstrap import agent_source, bootstrap_command, bootstrap_input

RUN = f"r-{os.getpid()}"
"""Tests write `r/1`. On the wire the run has this name, because a job's key must be unique on the whole machine."""


@cache
def pythons() -> list[str]:
    """Return the oldest and the newest Python of this machine, from 3.6 on."""
    names = [path for minor in range(6, 20) if (path := shutil.which(f"python3.{minor}"))]
    names = [path for path in names if Path(path).parent.name != "shims"]  # pyenv's shims take 0.3 s each
    names += [str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3")]
    names += [path for path in [shutil.which("python3")] if path]
    found: dict[tuple[int, int], str] = {}
    for name in names:
        received = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
        match = re.match(r"Python 3\.(\d+)\.(\d+)", received.stdout)
        if match and int(match[1]) >= 6:
            found.setdefault((int(match[1]), int(match[2])), name)
    ordered = [found[version] for version in sorted(found)]
    return list(dict.fromkeys([ordered[0], ordered[-1]]))


class Agent:
    """One agent process, and the messages that it has sent."""

    def __init__(
        self,
        python: str,
        scratch: Path,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        **welcome: Any,
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, "/bin/sh", "-c", bootstrap_command(python)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        self._pid = 0
        self.received: list[dict[str, Any]] = []
        self._rest = b""
        hello = {"t": "welcome", "v": 1, "run": "r", "node": "n", "scratch": str(scratch), "umask": 0o022, "nice": 0}
        self.raw(bootstrap_input({**hello, "load_every": 0.2, **welcome}))

    def raw(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def send(self, **message: Any) -> None:
        self.raw(json.dumps(message).replace('"r/', f'"{RUN}/').encode() + b"\n")

    def start(self, script: str | list[str], job: str = "r/1", attempt: int = 1, **more: Any) -> None:
        scripts = [script] if isinstance(script, str) else script
        common = {
            "t": "start",
            "job": job,
            "attempt": attempt,
            "name": "rule",
            "scripts": scripts,
            "shell": "/bin/bash",
        }
        self.send(**{**common, "env": {}, "cwd": "/tmp", "hash": "h", "meta": {"m": 1}, "cpus": 1, **more})

    def wait(self, condition: Callable[[dict[str, Any]], bool], timeout: float = 40) -> dict[str, Any]:
        """Return the first message that fulfils the condition, among those received and those to come."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            for message in self.received[seen:]:
                if condition(message):
                    return message
            seen = len(self.received)
            data = self.process.stdout.read(65536)
            if data:
                *lines, self._rest = (self._rest + data).split(b"\n")
                texts = [line.decode().replace(f'"{RUN}/', '"r/') for line in lines if line.startswith(b"{")]
                self.received += [json.loads(text) for text in texts]
            elif time.monotonic() > deadline or data == b"":
                others = [message for message in self.received if message["t"] != "load"]
                raise AssertionError(f"the message did not come; the last ones were {others[-20:]}")
            else:
                time.sleep(0.005)

    def wait_for(self, kind: str, job: str | None = None, timeout: float = 40) -> dict[str, Any]:
        return self.wait(lambda m: m["t"] == kind and (job is None or m.get("job") == job), timeout)

    def exited(self, job: str = "r/1", attempt: int = 1, timeout: float = 40) -> dict[str, Any]:
        return self.wait(lambda m: m["t"] == "exited" and (m["job"], m["attempt"]) == (job, attempt), timeout)

    def run(self, script: str, job: str = "r/1", **more: Any) -> dict[str, Any]:
        self.start(script, job, **more)
        return self.exited(job)

    @property
    def pid(self) -> int:
        """The pid of the agent. `process` is its guardian."""
        if not self._pid:
            children = psutil.Process(self.process.pid).children()
            self._pid = next(p.pid for p in children if p.name() == "harbor-agent")
        return self._pid

    def kill(self) -> None:
        """Kill the agent. Its guardian lives on."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


def sleepers(seconds: str) -> list[int]:
    """Return the processes `sleep SECONDS`, which are found even if their environment is empty."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] == ["sleep", seconds] and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def run_beside_modules(python: str, code: str, **env: str) -> str:
    """Run a program that can import the agent's modules (`harbor_NAME`), without an agent. Returns what it prints."""
    modules, _, _ = agent_source().rpartition(b"\n")
    text, env = modules + b"\n" + code.encode(), {**os.environ, **env}
    done = subprocess.run([python, "-"], input=text, stdout=subprocess.PIPE, check=True, env=env)
    return done.stdout.decode()


@pytest.fixture(params=pythons(), ids=lambda path: Path(path).resolve().name + "@" + Path(path).parts[-3])
def python(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def agents(python: str, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Makes agents on one spool. At the end of the test the jobs that are left are killed."""
    made: list[Agent] = []

    def make(**options: Any) -> Agent:
        made.append(Agent(python, tmp_path / "scratch", **options))
        return made[-1]

    yield make
    for agent in made:
        assert agent.process.stdin is not None
        if not agent.process.stdin.closed:
            with suppress(BrokenPipeError):  # killed: its guardian is left
                for message in list(agent.received):
                    if message["t"] == "started":
                        agent.send(t="cancel", job=message["job"], attempt=message["attempt"], grace=0)
            agent.process.stdin.close()
        agent.process.wait(20)


@pytest.fixture
def agent(agents: Callable[..., Agent]) -> Agent:
    """An agent that is ready."""
    one = agents()
    one.wait_for("ready")
    return one
