"""Starts Snakemake from a process that has imported it, because imports take most of the CPU time of a small run.

Each run is a fork in a session of its own, with the given working directory, environment and log. Then it runs as
`python -m snakemake` does.
"""

import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REQUEST_MAX = 1 << 20


class Process:
    """A run, with those methods of subprocess.Popen that the tests use."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.returncode: int | None = None
        self.pid = int(self._receive(120.0))

    def _receive(self, timeout: float | None) -> bytes:
        self._connection.settimeout(timeout)
        data = self._connection.recv(64)
        if not data:
            raise RuntimeError("the process that starts Snakemake has ended")
        return data

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            try:
                self.returncode = int(self._receive(timeout))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("snakemake", timeout or 0) from None
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0.0)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def start(arguments: list[str], cwd: Path, log: Path, env: dict[str, str], before: str = "") -> Process:
    """Start `python -m snakemake ARGUMENTS` with its output in the file `log`. It runs the code `before` first."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, log.open("w") as out:
        request = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": env, "before": before}).encode()
        socket.send_fds(_server(), [request], [theirs.fileno(), out.fileno()])
    return Process(ours)


@functools.cache
def _server() -> socket.socket:
    """Return the connection to this process's server. The server ends when the connection ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_MAX)
    with theirs:
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # the threads of numpy would not exist in a fork
        command = [sys.executable, "-m", "tests.snakemake.preloaded"]
        subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=subprocess.DEVNULL, env=env, start_new_session=True)
    return ours


def serve(requests: socket.socket) -> None:
    """Serve requests until the connection ends. Returns in each run, which then goes on as Snakemake."""
    import smart_open  # noqa: F401
    import snakemake.cli

    import snakemake_executor_plugin_harbor.remote.ssh.paramiko_transport
    import snakemake_executor_plugin_harbor.session.session  # noqa: F401

    snakemake.cli.get_argument_parser()  # Snakemake imports all plugins that are installed.
    assert threading.active_count() == 1, "a fork has no other threads"
    gc.freeze()
    while True:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        request, fds, _, _ = socket.recv_fds(requests, REQUEST_MAX, 2)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            pid = os.fork()
            if pid == 0:
                requests.close()
                os.close(fds[0])
                become(json.loads(request), fds[1])
                return
            with socket.socket(fileno=fds[0]) as connection:
                connection.send(b"%d" % pid)
                connection.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            os._exit(0)
        for fd in fds:
            os.close(fd)


def become(request: dict[str, Any], log: int) -> None:
    """Bring this process into the state of a new one."""
    from snakemake.workflow import Workflow

    from snakemake_executor_plugin_harbor.jobs import environment

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, source in enumerate((null, log, log)):
        os.dup2(source, fd)
    os.close(null)
    os.close(log)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = Workflow._rundir = request["cwd"]
    sys.argv[1:] = request["arguments"]
    importlib.reload(environment)  # It keeps the variables that there are when it is imported.
    exec(request["before"], {})


if __name__ == "__main__":
    serve(socket.socket(fileno=os.dup(0)))
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
