"""What can happen to a host. "ctl" is the controller: what `Lab.run` and `Lab.popen` have started."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.lab.lab import CONTROLLER, DISK_MB, Lab
from tests.lab.machine import LabError, command, namespace_pids
from tests.sshd import wait_until

LOST = "harbor-lost"


def crash(lab: Lab, host: str) -> None:
    """A power cut: all processes are gone at once and nobody hears of it. Its disk stays."""
    group = lab.group(host)
    group.freeze(True)  # so that none sees another one die
    if host != CONTROLLER:
        lab.network.unplug(lab.number(host))
    group.kill()
    group.freeze(False)


def reboot(lab: Lab, host: str) -> None:
    """Off and on, or on after a crash: another boot id, an empty /tmp. Old connections get a reset."""
    crash(lab, host)
    lab.boot([host])


def shutdown(lab: Lab, host: str) -> None:
    """An orderly one: TERM to all processes, KILL two seconds later, then it is off. Its disk stays."""
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
    """Like reboot, but sshd is up before the shared directories are there; then restore-shared."""
    crash(lab, host)
    lab.boot([host], lambda host: lose_shared(lab, host))


def lose_shared(lab: Lab, host: str) -> None:
    """The shared directories are empty there: others are mounted over them. They come back at a boot."""
    for path in lab.shared:
        inside(lab, host, "mount", "-t", "tmpfs", "-o", "size=64k", LOST, str(path))


def restore_shared(lab: Lab, host: str) -> None:
    """After lose-shared."""
    for path in lab.shared:
        if f" {path} " in lost_mounts(lab, host):
            inside(lab, host, "umount", "--lazy", str(path))


def partition(lab: Lab, host: str) -> None:
    """Packets from and to the host vanish; stays over reboots until heal."""
    lab.set_link(host, {*lab.link_faults(host), "partition"})


def slow(lab: Lab, host: str) -> None:
    """256 kbit/s each way; stays over reboots until heal."""
    lab.set_link(host, {*lab.link_faults(host), "slow"})


def heal(lab: Lab, host: str) -> None:
    """End partition and slow; connections that lived through it go on."""
    lab.set_link(host, set())


def kill_sshd(lab: Lab, host: str) -> None:
    """New connections are refused; sessions live on."""
    kill(lab, host, [pid for pid in [lab.listener(host)] if pid])


def start_sshd(lab: Lab, host: str) -> None:
    """After kill-sshd."""
    if not lab.listener(host):
        lab.start_sshd(host)


def drop_connections(lab: Lab, host: str) -> None:
    """Every ssh connection ends; what it had started lives on."""
    listener = lab.listener(host)
    kill(lab, host, [pid for pid in lab.group(host).pids() if is_sshd(pid) and pid != listener])


def freeze(lab: Lab, host: str) -> None:
    """All processes stand still; TCP connects, nobody answers."""
    lab.group(host).freeze(True)


def thaw(lab: Lab, host: str) -> None:
    """They go on."""
    lab.group(host).freeze(False)


def disk_full(lab: Lab, host: str) -> None:
    """No room for one more byte in /tmp, /var/tmp, /root and /home."""

    def filled() -> bool:
        disk = os.statvfs(f"/proc/{lab.keeper()}/root{lab.directory}/{host}/disk")
        try:
            resize(lab, host, (disk.f_blocks - disk.f_bfree) * disk.f_frsize)
        except LabError:
            return False  # it has grown meanwhile
        return True

    wait_until(filled, what=f"full disk on {host}")


def disk_free(lab: Lab, host: str) -> None:
    """There is room again."""
    resize(lab, host, DISK_MB << 20)


FAULTS: dict[str, Callable[[Lab, str], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        *(crash, reboot, partition, slow, heal, kill_sshd, start_sshd),
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
            pass  # ended by itself meanwhile
    wait_until(lambda: not set(pids) & set(lab.group(host).pids()), what=f"the end of sshd on {host}")


def running(lab: Lab, host: str) -> list[int]:
    """All processes of a host but the first, by their pids on this machine."""
    return [pid for pid in lab.group(host).pids() if namespace_pids(pid)[1:] not in ([], [1])]


def inside(lab: Lab, host: str, *argv: str) -> None:
    done = lab.exec(host, argv)
    if done.returncode:
        raise LabError(f"{host}: {' '.join(argv)}: {done.stderr.strip()}")


def lost_mounts(lab: Lab, host: str) -> str:
    """What lose-shared has mounted on a host."""
    lines = Path(f"/proc/{lab.init(host)}/mountinfo").read_text().splitlines()
    return "\n".join(line for line in lines if f" {LOST} " in line)


def resize(lab: Lab, host: str, size: int) -> None:
    enter = ["nsenter", f"--mount=/proc/{lab.keeper()}/ns/mnt"]
    command(*enter, "mount", "-o", f"remount,size={size}", f"{lab.directory}/{host}/disk")
