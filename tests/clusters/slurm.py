"""Run a real Slurm on this machine for tests: munged, slurmctld and one slurmd per node.

All daemons are private: they have a directory, ports and a key of their own, and no service of the machine is used.
They need root, because Slurm starts jobs in the name of their users. There is no accounting database and there are no
cgroups. All nodes are this machine, so a job
on any of them sees the same files.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.sshd import free_port, wait_until

PACKAGES = "slurmctld slurmd slurm-client munge"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
CLIENTS = ("salloc", "sacct", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
START_TIMEOUT_S = 20.0

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool.%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# The machine has fewer cores than its nodes together.
SlurmdParameters=config_overrides
ReturnToService=2
# squeue shows ended jobs for this time. There is no accounting database that sacct could ask.
MinJobAge=300
GresTypes=gpu
# A waiting job starts at once, and a job that exceeds its time ends soon.
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1
KillWait=1
"""


def missing() -> str | None:
    """Return why no Slurm can run here, or None if it can."""
    if os.geteuid() != 0:
        return "Slurm starts jobs as root only"
    programs = [*CLIENTS, "munged", "slurmctld", "slurmd"]
    absent = [name for name in programs if shutil.which(name, path=PATH) is None]
    return f"{', '.join(absent)} not found: apt-get install {PACKAGES}" if absent else None


class Slurm:
    """One cluster. `bin` is a directory with Slurm's commands for it, which a test puts first into PATH.

    The commands there set SLURM_CONF themselves, because Snakemake's Slurm plugin removes it from the environment.
    """

    def __init__(self, directory: Path, nodes: int, cpus: int) -> None:
        self.directory = directory
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.bin = directory / "bin"
        self.config = directory / "slurm.conf"
        self._daemons: list[subprocess.Popen[bytes]] = []
        for name in ("state", "bin", *(f"spool.{node}" for node in self.nodes)):
            (directory / name).mkdir(parents=True)
        host = os.uname().nodename
        lines = [CONFIG.format(host=host, port=free_port(), directory=directory)]
        for node in self.nodes:
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} "
                f"CPUs={cpus} RealMemory=16000 Gres=gpu:2 Features={node},fast\n"
            )
        lines.append(f"PartitionName=all Nodes={','.join(self.nodes)} Default=YES MaxTime=INFINITE State=UP\n")
        self.config.write_text("".join(lines))
        (directory / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        for name in CLIENTS:
            wrapper = self.bin / name
            wrapper.write_text(
                f'#!/bin/sh\nexport SLURM_CONF={self.config}\nexec {shutil.which(name, path=PATH)} "$@"\n'
            )
            wrapper.chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        """Return the variables with which Slurm's commands talk to this cluster."""
        return {"PATH": f"{self.bin}:{os.environ['PATH']}"}

    def start(self) -> None:
        """Start the daemons and wait until all nodes are idle."""
        key = self.directory / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        socket = self.directory / "munge.socket"
        self._start(
            "munged",
            "--foreground",
            "--force",
            *(f"--key-file={key}", f"--socket={socket}"),
            *(f"--{kind}-file={self.directory}/munge.{kind}" for kind in ("pid", "log", "seed")),
        )
        wait_until(socket.exists, START_TIMEOUT_S, "munged")
        self._start("slurmctld", "-D")
        for node in self.nodes:
            self._start("slurmd", "-D", "-N", node)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Wait until no node runs a job or cleans up after one."""
        wait_until(self._idle, START_TIMEOUT_S, f"Slurm (logs in {self.directory})")

    def stop(self) -> None:
        """End all jobs and then the daemons, the first one last."""
        if self._daemons:
            self.run("scancel", "--quiet", "--user=root", check=False)
            wait_until(lambda: not self.run("squeue", "--noheader"), START_TIMEOUT_S, "the end of all jobs")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            daemon.wait(START_TIMEOUT_S)
        self._kill_strays()

    def _kill_strays(self) -> None:
        """Kill what jobs have left. Without cgroups, Slurm loses a process whose parent has ended before `scancel`."""
        for process in psutil.process_iter():
            try:
                if str(self.bin) in process.environ().get("PATH", ""):
                    process.kill()
            except psutil.Error:
                pass  # It has ended, or it belongs to another user.

    def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        """Run one of Slurm's commands and return what it prints."""
        env = {**os.environ, **self.env}
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=110, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout

    def _start(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=PATH)
        assert path is not None
        with (self.directory / f"{program}.out").open("ab") as out:
            # The daemons look for gres.conf beside the file that SLURM_CONF names, not beside that of -f.
            env = {**os.environ, "SLURM_CONF": str(self.config)}
            self._daemons.append(
                subprocess.Popen([path, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=env)
            )

    def _idle(self) -> bool:
        for daemon in self._daemons:
            assert daemon.poll() is None, f"{daemon.args} ended: logs in {self.directory}"
        return self.run("sinfo", "--noheader", "-o", "%T %D", check=False).split() == ["idle", str(len(self.nodes))]


@contextmanager
def slurm(directory: Path, nodes: int = 4, cpus: int = 8) -> Iterator[Slurm]:
    """Run a cluster until the block ends."""
    cluster = Slurm(directory, nodes, cpus)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
