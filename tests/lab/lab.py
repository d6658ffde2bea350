"""Run N hosts on one Linux machine, for tests that need machines to log in to and to break. This needs root.

A host is a network, PID, mount, UTS and IPC namespace with an sshd, an address, a hostname, a machine id, a boot id, a
/proc with a load, and a disk for /tmp, /var/tmp, /root and /home of its own. The other files of the machine are
read-only there. The shared directories are the same everywhere. The machine reaches the hosts at 10.78.X.K.

Everything that a lab makes on the machine has its name, which comes from its directory: the control group
`harbor-lab-ID` with all processes, and the bridge `hlID` with its cables. Mounts are in the namespaces of these
processes.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

from tests.lab import files
from tests.lab.machine import PATH, Cgroup, LabError, Network, argv_of, command, namespace_pids
from tests.sshd import SSHD, wait_until

CONTROLLER = "ctl"
DISK_MB = 256
IDLE: dict[str, Any] = {"busy": 0.0, "loadavg": None, "mem_available_mb": None}
SHAPES = {
    "slow": "tbf rate 256kbit burst 8kb latency 1s",
    # 100 Mbit Ethernet with what is left of it for files, and a switch that buffers 500 kB.
    "narrow": "tbf rate 80mbit burst 32kb latency 50ms",
}
"""Limits of a cable's rate each way. A packet that would wait for longer than `latency` is lost."""
PROGRAMS = ("ssh", "ssh-keygen", "ip", "bridge", "tc", "mount", "unshare", "nsenter", "pivot_root", "setsid")


class Lab:
    """`with Lab(4, shared=[directory]) as lab:` hosts host1 to host4.

    `base` is the lab's own directory. It is new or empty, and it is removed in the end. `shared` directories are the
    same on all hosts, at their own paths. `missing` names those that a host does not have. The attribute `shared` says
    which ones each host has. The lab goes down by itself when the process `owner` has died, if one is given. A host's
    disk has `disk_mb` MiB, which are memory of this machine as far as they are used.
    """

    def __init__(
        self,
        n: int = 4,
        shared: Iterable[Path] = (),
        base: Path | None = None,
        owner: int | None = os.getpid(),
        missing: Mapping[str, Iterable[Path]] | None = None,
        disk_mb: int = DISK_MB,
    ) -> None:
        self.directory = (base or Path(tempfile.mkdtemp(prefix="lab-"))).resolve()
        self.hosts = [f"host{number}" for number in range(1, n + 1)]
        absent = {host: {Path(path).resolve() for path in paths} for host, paths in (missing or {}).items()}
        paths = [Path(path).resolve() for path in shared]
        self.shared = {host: [path for path in paths if path not in absent.get(host, ())] for host in self.hosts}
        self.ssh_config = self.directory / "ssh_config"
        self.disk_mb = disk_mb
        self._owner = owner
        self._network: Network | None = None
        identity = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:6]
        self._name = f"hl{identity}"
        self._group = Cgroup(Cgroup.root() / f"harbor-lab-{identity}")

    @classmethod
    def attach(cls, base: Path) -> "Lab":
        """Return the lab that is up in `base`."""
        try:
            state = json.loads((base / "lab.json").read_text())
        except OSError:
            raise LabError(f"no lab in {base}; type: python -m tests.lab up 4 --dir {base}") from None
        lab = cls(state["n"], base=base, disk_mb=state["disk_mb"])
        lab.shared = {host: [Path(path) for path in paths] for host, paths in state["shared"].items()}
        lab._network = Network(lab._name, state["subnet"], state["n"])
        return lab

    @staticmethod
    @functools.cache
    def unavailable() -> str | None:
        """Return why this machine cannot run a lab, or None if it can."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return "a lab needs Linux and root"
        missing = [program for program in PROGRAMS if not shutil.which(program, path=PATH)]
        if missing or SSHD is None:
            return f"a lab needs {', '.join(missing or ['sshd'])}: install openssh-server, iproute2 and util-linux"
        probe = f"hltry{os.getpid() % 10**8}"
        try:
            group = Cgroup.root() / probe
            group.mkdir()
            old = not (group / "cgroup.kill").exists()
            group.rmdir()
            command("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "true")
            command("ip", "link", "add", probe, "type", "bridge")
            command("ip", "link", "del", probe)
        except (OSError, LabError) as error:
            return f"this machine offers no lab: {error}"
        return "a lab needs Linux 5.14 or newer (cgroup.kill)" if old else None

    def __enter__(self) -> "Lab":
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> "Lab":
        """Bring all hosts up. Raises LabError if this machine or `base` does not allow it."""
        reason = self.unavailable()
        if reason:
            raise LabError(reason)
        self.directory.mkdir(parents=True, exist_ok=True)
        if any(self.directory.iterdir()):
            raise LabError(f"{self.directory} is not empty; if it is an old lab, type: python -m tests.lab down")
        if not 1 <= len(self.hosts) <= 250:
            raise LabError(f"{len(self.hosts)} hosts: a lab has 1 to 250")
        for path in {path for paths in self.shared.values() for path in paths}:
            if not path.is_dir():
                raise LabError(f"{path}, to be shared, is no directory")
        try:
            self._make_network()
            self._make_files()
            self._start_keeper()
            self.boot(self.hosts)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """End every process and remove every trace. The lab may be incomplete, crashed, or down already."""
        if self._group.path.exists():
            self._group.kill()
            self._group.remove()
        Network.remove(self._name)
        if (self.directory / "lab.json").exists():
            shutil.rmtree(self.directory)

    def boot(self, hosts: Iterable[str], before_sshd: Callable[[str], None] = lambda host: None) -> None:
        """Switch on hosts that are off."""
        processes = {}
        for host in hosts:
            (self.directory / host / "etc/boot_id").write_text(f"{uuid.uuid4()}\n")
            namespaces = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork"]
            script = ["/bin/sh", str(Path(__file__).with_name("boot.sh")), str(self.directory), host]
            enter = ["nsenter", f"--mount=/proc/{self.keeper()}/ns/mnt"]
            processes[host] = self._daemon(host, [*enter, *namespaces, *script])
        for host, process in processes.items():
            self._await(process, "built", self.directory / f"{host}.log")
            self.network.plug(self.number(host), self.init(host), "partition" in self.link_faults(host))
            self.set_link(host, self.link_faults(host))
            before_sshd(host)
            self.start_sshd(host)

    @property
    def network(self) -> Network:
        if self._network is None:
            raise LabError("the lab is not up")
        return self._network

    def number(self, host: str) -> int:
        if host not in self.hosts:
            raise LabError(f"no host {host}; there are {' '.join(self.hosts)}")
        return self.hosts.index(host) + 1

    def group(self, host: str) -> Cgroup:
        return Cgroup(self._group.path / host)

    def keeper(self) -> int:
        """Return the pid of the process that holds the hosts' disks in its mount namespace."""
        pids = self.group("keeper").pids()
        if not pids:
            raise LabError(f"the lab's keeper has died; type: python -m tests.lab down --dir {self.directory}")
        return pids[0]

    def init(self, host: str) -> int:
        """Return the pid on this machine of a host's process 1. Raises LabError when the host is off."""
        self.number(host)
        for pid in self.group(host).pids():
            if namespace_pids(pid)[1:] == [1]:
                return pid
        raise LabError(f"{host} is off")

    def processes(self, host: str) -> list[tuple[int, list[str]]]:
        """Return (pid, argv) of all processes inside a host, with their pids there, or [] when it is off."""
        pairs = [(namespace_pids(pid)[1:], argv_of(pid)) for pid in self.group(host).pids()]
        return sorted((pids[0], argv) for pids, argv in pairs if pids and argv)

    def exec(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside a host, not through ssh. The call hangs while the host is frozen."""
        enter = ["nsenter", f"--target={self.init(host)}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        environment = ["env", "-i", "--chdir=/root", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8"]
        return self._run(self.group(host).join([*enter, *environment, *argv]), options)

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on the controller, which is this machine. The command ends with the lab."""
        return self._run(self.group(CONTROLLER).join(argv), options)

    def popen(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """Start a command as `run` does, without waiting. The faults of "ctl" (freeze, thaw, crash) hold for it."""
        return subprocess.Popen(self.group(CONTROLLER).join(argv), **options)

    def fault(self, host: str, kind: str) -> None:
        """Inflict a fault on a host, and return when it has happened. `faults.py` lists the kinds."""
        from tests.lab.faults import inflict

        inflict(self, host, kind)

    def load(
        self,
        host: str,
        busy: float | None = None,
        loadavg: float | None = None,
        mem_available_mb: int | None = None,
        clear: bool = False,
    ) -> None:
        """Set what /proc says on a host: `busy` cores in use by others, the load average, available memory.

        A value that is not given stays. Without values, a host's cores are busy with its own processes only, the load
        average is what these use at the moment, and the memory is the machine's. Returns when the files have the
        values.
        """
        cpus = len(os.sched_getaffinity(0))
        if busy is not None and not 0 <= busy <= cpus:
            raise LabError(f"busy={busy}: a host has the machine's {cpus} CPUs")
        self.number(host)
        path = self.directory / host / "etc/load.json"
        given = {"busy": busy, "loadavg": loadavg, "mem_available_mb": mem_available_mb}
        setting = IDLE if clear else json.loads(path.read_text())
        setting = {**setting, **{key: value for key, value in given.items() if value is not None}}
        self._write_load(host, setting)

    def link_faults(self, host: str) -> set[str]:
        """Return the faults of a host's cable: partition, slow, narrow."""
        return set((self.directory / host / "link").read_text().split())

    def set_link(self, host: str, faults: set[str]) -> None:
        """Set the faults of a host's cable, now or when the host is switched on."""
        (self.directory / host / "link").write_text(" ".join(sorted(faults)))
        if self.processes(host):
            self.network.cut(self.number(host), "partition" in faults)
            shape = next((SHAPES[fault] for fault in SHAPES if fault in faults), None)
            self.network.shape(self.number(host), self.init(host), shape)

    def start_sshd(self, host: str) -> None:
        done = self.exec(host, [str(SSHD), "-f", "/run/lab/sshd_config", "-E", "/run/lab/sshd.log"])
        if done.returncode:
            raise LabError(f"{host}: sshd: {done.stderr.strip()}")
        wait_until(lambda: self.listener(host), what=f"sshd on {host}")

    def listener(self, host: str) -> int | None:
        """Return the pid on this machine of the sshd that listens on a host."""
        try:
            inside = int(Path(f"/proc/{self.init(host)}/root/run/sshd.pid").read_text())
        except (OSError, ValueError):
            return None
        return next((pid for pid in self.group(host).pids() if namespace_pids(pid)[1:] == [inside]), None)

    @staticmethod
    def _run(argv: Sequence[str], options: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **options}
        return subprocess.run(argv, check=options.pop("check", False), **options)

    def _make_network(self) -> None:
        for part in ("keeper", CONTROLLER, *self.hosts):
            (self._group.path / part).mkdir(parents=True)
        lock = os.open(self._group.path.parent, os.O_RDONLY)  # only one lab at a time looks for a free subnet
        try:
            flock(lock, LOCK_EX)
            self._network = Network(self._name, Network.free_subnet(), len(self.hosts))
            self._network.up()
        finally:
            os.close(lock)

    def _make_files(self) -> None:
        shared = {host: [str(path) for path in paths] for host, paths in self.shared.items()}
        state = {"n": len(self.hosts), "shared": shared, "subnet": self.network.subnet, "disk_mb": self.disk_mb}
        (self.directory / "lab.json").write_text(json.dumps(state))
        addresses = {host: self.network.address(self.number(host)) for host in self.hosts}
        files.write(self.directory, addresses, self.shared)
        for host in self.hosts:
            self._write_load(host, IDLE)

    def _write_load(self, host: str, setting: dict[str, Any]) -> None:
        etc = self.directory / host / "etc"
        stamp = uuid.uuid4().hex  # the keeper writes the stamp back when it has applied the load
        draft = etc / "load.new"
        draft.write_text(json.dumps({**setting, "stamp": stamp}))
        draft.rename(etc / "load.json")
        if self.group("keeper").pids():
            wait_until(lambda: (etc / "applied").read_text() == stamp, what=f"the load of {host}")

    def _start_keeper(self) -> None:
        script = [sys.executable, "-m", "tests.lab.keeper", str(self.directory)]
        owner = [str(self._owner)] if self._owner else []
        process = self._daemon("keeper", ["unshare", "--mount", *script, *owner])
        self._await(process, "ready", self.directory / "keeper.log")

    def _daemon(self, part: str, argv: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a process that outlives this one. It inherits only a pipe, through which it writes one line."""
        outer = self.group(part).join(["setsid", "--fork", "env", "-i", f"PATH={PATH}", *argv])
        with (self.directory / f"{part}.log").open("ab") as log:
            return subprocess.Popen(
                outer, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, cwd=files.PROJECT
            )

    @staticmethod
    def _await(process: "subprocess.Popen[str]", word: str, log: Path) -> None:
        with process:
            assert process.stdout is not None
            said = process.stdout.readline().strip()
        if said != word:
            raise LabError(f"{log.stem} did not start: {log.read_text().strip()}")
