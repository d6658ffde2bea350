"""Control groups, processes, and the network between the machine and the hosts of a lab."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.sshd import wait_until

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """The lab cannot do what was asked for."""


def command(*argv: str, text: str | None = None) -> str:
    """Run a program of the machine and return its output. Raises LabError with that output if it fails."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, env={"PATH": PATH}, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Cgroup:
    """A control group (version 2), whose processes are listed, frozen and killed together."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def root() -> Path:
        """Return the directory where version 2 is mounted. Raises LabError if it is not."""
        for line in Path("/proc/mounts").read_text().splitlines():
            _, target, kind, *_ = line.split()
            if kind == "cgroup2":
                return Path(target)
        raise LabError("control groups version 2 are not mounted")

    def join(self, argv: Sequence[str]) -> list[str]:
        """Return a command that enters the group and then runs `argv`."""
        return ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.path / "cgroup.procs"), *argv]

    def pids(self) -> list[int]:
        return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]

    def freeze(self, on: bool) -> None:
        (self.path / "cgroup.freeze").write_text(str(int(on)))
        wait_until(lambda: f"frozen {int(on)}" in self._events(), what=f"{self.path.name} frozen={on}")

    def kill(self) -> None:
        """Kill all processes at once, also frozen ones."""
        (self.path / "cgroup.kill").write_text("1")
        wait_until(lambda: "populated 0" in self._events(), what=f"the end of {self.path.name}")

    def cpu_seconds(self) -> float:
        """Return the CPU time (seconds) that its present and past processes have used."""
        return int((self.path / "cpu.stat").read_text().split()[1]) / 1e6

    def remove(self) -> None:
        for directory, _, _ in os.walk(self.path, topdown=False):
            os.rmdir(directory)  # the entries that it lists are no files

    def _events(self) -> str:
        return (self.path / "cgroup.events").read_text()


def namespace_pids(pid: int) -> list[int]:
    """Return the pids of a process on this machine and in each PID namespace inside, or [] when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return [int(word) for line in lines if line.startswith("NSpid:") for word in line.split()[1:]]


def argv_of(pid: int) -> list[str]:
    """Return the command line of a process, or [] when it has ended."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="replace").rstrip("\0").split("\0") if raw else []


class Network:
    """A bridge, and a cable from it to each host: 10.78.X.0/24, where host K has .K and the machine .254.

    All hardware addresses are known from the start. Otherwise a host that is cut off would show as an error after
    some seconds ("no route to host"), although a machine that has lost power does not answer at all.
    """

    MACHINE = 254

    def __init__(self, name: str, subnet: int, hosts: int) -> None:
        self.name = name
        self.subnet = subnet
        self._hosts = range(1, hosts + 1)

    @staticmethod
    def free_subnet() -> int:
        taken = {word.split(".")[2] for word in command("ip", "-4", "-o", "addr").split() if word.startswith("10.78.")}
        return next(number for number in range(256) if str(number) not in taken)

    def address(self, host: int) -> str:
        return f"10.78.{self.subnet}.{host}"

    def up(self) -> None:
        me = self.name
        self._ip(
            # Otherwise a timer would end the state that `cut` sets, for 15 s after a port was plugged.
            f"link add {me} type bridge forward_delay 0",
            f"link set {me} address {self._mac(self.MACHINE)} addrgenmode none up",
            f"addr add {self.address(self.MACHINE)}/24 dev {me}",
            *self._neighbours(me, 0),
        )

    def plug(self, host: int, pid: int, cut: bool) -> None:
        """Join the network namespace of `pid` to the bridge as host number `host`. `cut` cuts it off from the start."""
        port = self._port(host)
        self._ip(
            f"link add {port} type veth peer name eth0 address {self._mac(host)} netns {pid}",
            f"link set {port} addrgenmode none master {self.name} up",
        )
        self._ip("link set lo up", "link set eth0 addrgenmode none up", inside=pid)
        wait_until(lambda: self._port_is_up(port), what=f"the cable of {port}")
        self.cut(host, cut)  # before it has an address, so that no packet passes
        address = f"addr add {self.address(host)}/24 dev eth0"
        self._ip(address, *self._neighbours("eth0", host), inside=pid)

    def unplug(self, host: int) -> None:
        if self._exists(self._port(host)):
            self._ip(f"link del {self._port(host)}")

    def cut(self, host: int, on: bool) -> None:
        """Drop every packet of a host in both directions, while the link seems to be up at both ends."""
        # A port in the state "listening" forwards nothing. The kernel would end the other such states ("disabled",
        # "blocking") when another port comes up.
        command("bridge", "link", "set", "dev", self._port(host), "state", "1" if on else "3")

    def sent(self, host: int) -> int:
        """Return how many bytes were sent to the host since its boot, with all headers."""
        return int(Path("/sys/class/net", self._port(host), "statistics/tx_bytes").read_text())

    def shape(self, host: int, pid: int, shape: str | None) -> None:
        """Limit the traffic to and from the host by a filter of tc, or do not limit it."""
        shape = shape or "noqueue"
        command("tc", "qdisc", "replace", "dev", self._port(host), "root", *shape.split())
        inside = ("nsenter", f"--net=/proc/{pid}/ns/net")
        command(*inside, "tc", "qdisc", "replace", "dev", "eth0", "root", *shape.split())

    @classmethod
    def remove(cls, name: str) -> None:
        """Remove the bridge and all cables, also those of an earlier process."""
        for path in Path("/sys/class/net").glob(f"{name}*"):
            try:
                command("ip", "link", "del", path.name)
            except LabError:
                if cls._exists(path.name):  # otherwise the kernel has removed it with its host
                    raise

    @staticmethod
    def _exists(device: str) -> bool:
        return Path("/sys/class/net", device).exists()

    @staticmethod
    def _port_is_up(port: str) -> bool:
        return Path("/sys/class/net", port, "operstate").read_text() == "up\n"

    @staticmethod
    def _ip(*lines: str, inside: int | None = None) -> None:
        enter = [] if inside is None else ["nsenter", f"--net=/proc/{inside}/ns/net"]
        command(*enter, "ip", "-batch", "-", text="".join(f"{line}\n" for line in lines))

    def _port(self, host: int) -> str:
        return f"{self.name}p{host}"

    def _mac(self, host: int) -> str:
        return f"02:78:{self.subnet:02x}:00:00:{host:02x}"

    def _neighbours(self, device: str, own: int) -> Iterator[str]:
        for host in (*self._hosts, self.MACHINE):
            if host != own and (own or host != self.MACHINE):
                yield f"neigh replace {self.address(host)} lladdr {self._mac(host)} dev {device} nud permanent"
