"""Run real OpenSSH servers on loopback for tests. Each server of a pool looks like a host.

Each server has an address of its own (127.0.1.1, 127.0.1.2, ...), a free port and its own host key. The pool has one
client key and one ssh configuration, which names them node1, node2, ... This works as root and as an ordinary user.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/lib/ssh")
START_TIMEOUT_S = 10.0


def wait_until(condition: Callable[[], object], timeout: float = 10.0, what: str = "the condition") -> None:
    """Return as soon as `condition()` is true. Raises TimeoutError after `timeout` seconds.

    A condition that takes long, such as a look at all processes or a run of `harbor`, is checked less often.
    """
    begun = checked = time.monotonic()
    while not condition():
        now = time.monotonic()
        if now > begun + timeout:
            raise TimeoutError(f"{what} did not come true within {timeout} s")
        time.sleep(max(0.01, now - checked))
        checked = time.monotonic()


def free_port(address: str = "127.0.0.1") -> int:
    """Return a TCP port of `address` that no process listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair PATH and PATH.pub. `kind` is the value of ssh-keygen -t."""
    bits = ["-b", "2048"] if kind == "rsa" else []
    argv = ["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-C", f"test-{path.name}", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path


def public_key(path: Path) -> str:
    """Return `TYPE BASE64` of a key pair's public half."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


class Sshd:
    """One server. `options` are further lines of sshd_config, and `kinds` are the types of its host keys."""

    def __init__(
        self,
        name: str,
        address: str,
        directory: Path,
        authorized: Path,
        options: Sequence[str] = (),
        kinds: Sequence[str] = ("ed25519",),
    ) -> None:
        self.name = name
        self.address = address
        self.port = free_port(address)
        self.user = getpass.getuser()
        self.directory = directory
        self.options = list(options)
        self._authorized = authorized
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.host_keys = [keygen(directory / f"host_{kind}", kind) for kind in kinds]

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def known_name(self) -> str:
        return f"[{self.address}]:{self.port}"

    def known_hosts_lines(self) -> list[str]:
        return [f"{self.known_name} {public_key(key)}\n" for key in self.host_keys]

    def start(self) -> None:
        """Start the server and wait until it listens."""
        if SSHD is None:
            raise FileNotFoundError("sshd: install openssh-server")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's directory for privilege separation
        config = self._write_config()
        with (self.directory / "sshd.log").open("ab") as log:
            argv = [SSHD, "-D", "-e", "-f", str(config)]  # sshd needs its absolute path, because it executes itself
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._listens, START_TIMEOUT_S, f"sshd {self.name}")

    def stop(self) -> None:
        """End the listener. Open sessions go on, as when sshd is restarted."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def drop(self) -> None:
        """Kill the open sessions, as if the machine went down. Their commands go on."""
        listing = subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)
        children: dict[int, list[int]] = {}
        for line in listing.stdout.splitlines():
            pid, parent, name = line.split(None, 2)
            if name.startswith("sshd"):
                children.setdefault(int(parent), []).append(int(pid))
        # A session is one process, or two, of which the second has the user's own rights.
        found = children.get(self.pid, [])
        for pid in found:
            found.extend(children.get(pid, []))
        for pid in reversed(found):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended meanwhile

    def log(self) -> str:
        """Return the server's log so far."""
        return (self.directory / "sshd.log").read_text(errors="replace")

    def _write_config(self) -> Path:
        lines = [
            # sshd takes the first value of an option, so the test's own options win.
            *self.options,
            f"ListenAddress {self.address}:{self.port}",
            *(f"HostKey {key}" for key in self.host_keys),
            f"AuthorizedKeysFile {self._authorized}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
            "PrintMotd no",
            "SetEnv SHLVL=1",  # bash then does not read the .bashrc of the user who runs the tests
            "LogLevel VERBOSE",
            "MaxStartups 100",
            "Subsystem sftp internal-sftp",
        ]
        path = self.directory / "sshd_config"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"sshd {self.name} ended: {self.log()}")
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0


class Pool:
    """Some servers, the client's key, and the ssh configuration with their names."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.key = keygen(directory / "client")
        self.authorized = directory / "authorized_keys"
        self.authorized.write_text(public_key(self.key) + "\n")
        self.known_hosts = directory / "known_hosts"
        self.known_hosts.touch()
        self.ssh_config = directory / "ssh_config"
        self.servers: dict[str, Sshd] = {}
        self._extra: dict[str, tuple[str, ...]] = {}

    @property
    def names(self) -> list[str]:
        return list(self.servers)

    def __getitem__(self, name: str) -> Sshd:
        return self.servers[name]

    def add(
        self,
        name: str,
        options: Sequence[str] = (),
        kinds: Sequence[str] = ("ed25519",),
        client: Sequence[str] = (),
        known: bool = True,
    ) -> Sshd:
        """Start one more server. `client` are further lines of its Host block. `known` adds its keys to known_hosts."""
        address = f"127.0.{1 + len(self.servers) // 250}.{1 + len(self.servers) % 250}"
        server = Sshd(name, address, self.directory / name, self.authorized, options, kinds)
        server.start()
        self.servers[name] = server
        self._extra[name] = tuple(client)
        if known:
            with self.known_hosts.open("a") as file:
                file.writelines(server.known_hosts_lines())
        self.write_config()
        return server

    def write_config(self) -> Path:
        """Write the ssh configuration. A server's own lines come first, so that they win."""
        blocks = []
        for name, server in self.servers.items():
            block = [
                f"Host {name}",
                *self._extra[name],
                f"HostName {server.address}",
                f"Port {server.port}",
                f"User {server.user}",
                f"IdentityFile {self.key}",
                "IdentitiesOnly yes",
                f"UserKnownHostsFile {self.known_hosts}",
                "GlobalKnownHostsFile /dev/null",
            ]
            blocks.append("\n  ".join(block) + "\n")
        self.ssh_config.write_text("\n".join(blocks))
        return self.ssh_config

    def close(self) -> None:
        for server in self.servers.values():
            server.stop()


@contextmanager
def hosts(count: int, directory: Path, options: Sequence[str] = ()) -> Iterator[Pool]:
    """Run a pool of `count` servers, node1 to nodeN, until the block ends."""
    pool = Pool(directory)
    try:
        for number in range(1, count + 1):
            pool.add(f"node{number}", options)
        yield pool
    finally:
        pool.close()


if __name__ == "__main__":
    # Start servers by hand: python -m tests.sshd 3 /tmp/pool
    with hosts(int(sys.argv[1]), Path(sys.argv[2])) as shown:
        print(f"ssh -F {shown.ssh_config} {shown.names[0]}", flush=True)
        shown[shown.names[0]]._process.wait()  # type: ignore[union-attr]
