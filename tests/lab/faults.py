"""Faults of hosts. The host "ctl" is the controller: the processes that `Lab.run` and `Lab.popen` have started."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.lab.lab import CONTROLLER, Lab
from tests.lab.machine import LabError, command, namespace_pids
from tests.sshd import wait_until

LOST = "harbor-lost"


def crash(lab: Lab, host: str) -> None:
    """Cut the power: all processes end at once, and no peer is notified. The disk stays."""
    group = lab.group(host)
    group.freeze(True)  # so that no process sees another one end
    if host != CONTROLLER:
        lab.network.unplug(lab.number(host))
    group.kill()
    group.freeze(False)


def reboot(lab: Lab, host: str) -> None:
    """Switch off and on, or on after a crash: the boot id is new, /tmp is empty. Old connections get a reset."""
    crash(lab, host)
    lab.boot([host])


def shutdown(lab: Lab, host: str) -> None:
    """Shut down in order: TERM to all processes, KILL two seconds later, then off. The disk stays."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in running(lab, host):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        try:
            wait_until(lambda: not running(lab, host), 2)
        except TimeoutError:
            pass
    crash(lab, host)


def reboot_unshared(lab: Lab, host: str) -> None:
    """Reboot, but sshd is up before the shared directories are mounted. Then use restore-shared."""
    crash(lab, host)
    lab.boot([host], lambda host: lose_shared(lab, host))


def lose_shared(lab: Lab, host: str) -> None:
    """Mount empty directories over the shared ones. A boot brings the shared ones back."""
    for path in lab.shared[host]:
        inside(lab, host, "mount", "-t", "tmpfs", "-o", "size=64k", LOST, str(path))


def restore_shared(lab: Lab, host: str) -> None:
    """Undo lose-shared, the last directory first."""
    for path in reversed(lab.shared[host]):
        if f" {path} " in lost_mounts(lab, host):
            inside(lab, host, "umount", "--lazy", str(path))


def partition(lab: Lab, host: str) -> None:
    """Drop all packets from and to the host. This lasts over reboots until heal."""
    lab.set_link(host, {*lab.link_faults(host), "partition"})


def slow(lab: Lab, host: str) -> None:
    """Limit the network to 256 kbit/s each way. This lasts over reboots until heal."""
    lab.set_link(host, {*lab.link_faults(host), "slow"})


def narrow(lab: Lab, host: str) -> None:
    """Limit the network to 10 MB/s each way. This lasts over reboots until heal."""
    lab.set_link(host, {*lab.link_faults(host), "narrow"})


def heal(lab: Lab, host: str) -> None:
    """End partition, slow and narrow. Connections that have survived go on."""
    lab.set_link(host, set())


def kill_sshd(lab: Lab, host: str) -> None:
    """Kill the listening sshd: new connections are refused, and sessions go on."""
    kill(lab, host, [pid for pid in [lab.listener(host)] if pid])


def start_sshd(lab: Lab, host: str) -> None:
    """Start sshd again after kill-sshd."""
    if not lab.listener(host):
        lab.start_sshd(host)


def drop_connections(lab: Lab, host: str) -> None:
    """End every ssh connection. Processes that were started over it go on."""
    listener = lab.listener(host)
    kill(lab, host, [pid for pid in lab.group(host).pids() if is_sshd(pid) and pid != listener])


def freeze(lab: Lab, host: str) -> None:
    """Freeze all processes. TCP connects, but nothing answers."""
    lab.group(host).freeze(True)


def thaw(lab: Lab, host: str) -> None:
    """Let frozen processes go on."""
    lab.group(host).freeze(False)


def disk_full(lab: Lab, host: str) -> None:
    """Leave no free byte in /tmp, /var/tmp, /root and /home."""

    def filled() -> bool:
        disk = os.statvfs(f"/proc/{lab.keeper()}/root{lab.directory}/{host}/disk")
        try:
            resize(lab, host, (disk.f_blocks - disk.f_bfree) * disk.f_frsize)
        except LabError:
            return False  # the used space has grown meanwhile
        return True

    wait_until(filled, what=f"full disk on {host}")


def disk_free(lab: Lab, host: str) -> None:
    """Free the disk again."""
    resize(lab, host, lab.disk_mb << 20)


FAULTS: dict[str, Callable[[Lab, str], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        *(crash, reboot, partition, slow, narrow, heal, kill_sshd, start_sshd),
        *(drop_connections, freeze, thaw, disk_full, disk_free),
        *(shutdown, reboot_unshared, lose_shared, restore_shared),
    )
}


def inflict(lab: Lab, host: str, kind: str) -> None:
    if kind not in FAULTS or (host == CONTROLLER and kind not in ("crash", "freeze", "thaw")):
        raise LabError(f"no fault {kind} of {host}; there are {' '.join(FAULTS)}; of ctl: crash freeze thaw")
    if host != CONTROLLER:
        lab.number(host)
    FAULTS[kind](lab, host)


def is_sshd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    except OSError:
        return False


def kill(lab: Lab, host: str, pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended meanwhile
    wait_until(lambda: not set(pids) & set(lab.group(host).pids()), what=f"the end of sshd on {host}")


def running(lab: Lab, host: str) -> list[int]:
    """Return the pids on this machine of all processes of a host but the first."""
    return [pid for pid in lab.group(host).pids() if namespace_pids(pid)[1:] not in ([], [1])]


def inside(lab: Lab, host: str, *argv: str) -> None:
    done = lab.exec(host, argv)
    if done.returncode:
        raise LabError(f"{host}: {' '.join(argv)}: {done.stderr.strip()}")


def lost_mounts(lab: Lab, host: str) -> str:
    """Return the mounts that lose-shared has made on a host."""
    lines = Path(f"/proc/{lab.init(host)}/mountinfo").read_text().splitlines()
    return "\n".join(line for line in lines if f" {LOST} " in line)


def resize(lab: Lab, host: str, size: int) -> None:
    enter = ["nsenter", f"--mount=/proc/{lab.keeper()}/ns/mnt"]
    command(*enter, "mount", "-o", f"remount,size={size}", f"{lab.directory}/{host}/disk")
