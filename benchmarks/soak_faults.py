"""The faults of the soak (`soak.py`): they happen to hosts at random, and some excuse a second run of a job."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.lab import Lab


@dataclass(frozen=True)
class Fault:
    """A fault of a host, the action that ends it after `least` to `most` seconds, and how often it is drawn.

    `begin` returns True if the fault excuses that jobs of the host run again.
    """

    begin: Callable[[Lab, str], bool]
    end: Callable[[Lab, str], object] | None
    least: float
    most: float
    weight: int = 2


def inflict(kind: str, excuse: bool = False) -> Callable[[Lab, str], bool]:
    def begin(lab: Lab, host: str) -> bool:
        lab.fault(host, kind)
        return excuse

    return begin


def kill(*victims: str) -> Callable[[Lab, str], bool]:
    """Kill (-9) the newest process of each name on a host. Return True if no other process knows how jobs end."""

    def begin(lab: Lab, host: str) -> bool:
        told = lab.exec(host, ["sh", "-c", KILL, "kill", *victims]).stdout.split()
        return "alone" in told or len(victims) > 1

    return begin


# A process that an agent is about to start has the agent's name for a moment, and is no agent.
KILL = """
    for name; do
        pid=
        for found in $(ps -C $name -o pid= --sort=-start_time); do
            parent=$(ps -o comm= -p $(ps -o ppid= -p $found))
            [ "$parent" = harbor-agent ] || { pid=$found; break; }
        done
        [ "$pid" ] || continue
        [ "$parent" = harbor-guardian ] || pgrep -P $pid -x harbor-agent >/dev/null || echo alone
        kill -9 $pid
    done
"""

FAULTS = {
    "power cut": Fault(inflict("crash", excuse=True), inflict("reboot"), 3, 25, 3),
    "shutdown": Fault(inflict("shutdown", excuse=True), inflict("reboot"), 3, 25),
    "boot before the mount": Fault(inflict("reboot-unshared", excuse=True), inflict("restore-shared"), 2, 12),
    "lost directory": Fault(inflict("lose-shared"), inflict("restore-shared"), 1, 12),
    "reboot": Fault(inflict("reboot", excuse=True), None, 0, 0),
    "short partition": Fault(inflict("partition"), inflict("heal"), 2, 15),
    "long partition": Fault(inflict("partition"), inflict("heal"), 35, 45),
    "slow link": Fault(inflict("slow"), inflict("heal"), 5, 15, 1),
    "no sshd": Fault(inflict("kill-sshd"), inflict("start-sshd"), 3, 15, 1),
    "dropped connections": Fault(inflict("drop-connections"), None, 0, 0, 3),
    "freeze": Fault(inflict("freeze"), inflict("thaw"), 1, 6),
    "full disk": Fault(inflict("disk-full"), inflict("disk-free"), 2, 10),
    "killed agent": Fault(kill("harbor-agent"), None, 0, 0),
    "killed guardian": Fault(kill("harbor-guardian"), None, 0, 0),
    "killed both": Fault(kill("harbor-guardian", "harbor-agent"), None, 0, 0, 1),
}


OF_THE_DIRECTORY = ("boot before the mount", "lost directory")


@dataclass
class Weather:
    """Draws faults, ends them in time, and records which ones excuse a second run of a job.

    `staged` hosts do not have the working directory, so the faults of the directory do not happen to them.
    """

    lab: Lab
    random: random.Random
    healthy: int
    staged: set[str]
    count: Counter[str] = field(default_factory=Counter)
    excuses: list[tuple[str, float]] = field(default_factory=list)
    told: list[tuple[float, str, str]] = field(default_factory=list)
    _ailing: dict[str, tuple[float, Fault]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def raging(self) -> Iterator[None]:
        thread = threading.Thread(target=self._rage)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _rage(self) -> None:
        while not self._stop.wait(self.random.uniform(0.3, 3.0)):
            self._relieve(time.monotonic())
            well = [host for host in self.lab.hosts if host not in self._ailing]
            if len(well) > self.healthy:
                name = self.random.choices(list(FAULTS), [fault.weight for fault in FAULTS.values()])[0]
                host = self.random.choice(well)
                if host not in self.staged or name not in OF_THE_DIRECTORY:
                    self._strike(host, name)
        self._relieve(float("inf"))

    def _strike(self, host: str, name: str) -> None:
        fault = FAULTS[name]
        self.count[name] += 1
        self.told.append((time.time(), host, name))
        at = time.time()
        if fault.begin(self.lab, host):
            self.excuses.append((host, at))
        if fault.end is not None:
            self._ailing[host] = (time.monotonic() + self.random.uniform(fault.least, fault.most), fault)

    def _relieve(self, now: float) -> None:
        for host, (until, fault) in list(self._ailing.items()):
            if now >= until and fault.end is not None:
                fault.end(self.lab, host)
                del self._ailing[host]
