"""A lab per module, and scenes on it, whose jobs write down what they do. A scene checks the result in the end.

A job appends lines to told/JOB: `start HOST ATTEMPT`, then `tick` several times per second until go/JOB or go/all
exists, then `end`. All hosts see the same file, so the order of its lines is the order of events.
"""

import textwrap
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab import Lab
from tests.snakemake.harness import Run, Workdir, on, setting
from tests.sshd import wait_until

LOST_AFTER, FENCE_WAIT = 8, 6
SCRATCH = "/var/tmp/harbor-0"
SOONER = setting("remote.connection.SILENCE_S", 8.0)
"""A node that is cut off is noticed sooner."""
OPTIONS = (
    *("--harbor-lost-after", str(LOST_AFTER), "--harbor-fence-wait", str(FENCE_WAIT), "--latency-wait", "5"),
    *("--rerun-incomplete", "--nolock", "--scheduler", "harbor"),
)
WORK = """\
say() { echo "$1 $HARBOR_NODE_NAME $HARBOR_ATTEMPT" >>"told/$job"; }
job=$1
say start
until [ -e "go/$job" ] || [ -e go/all ]; do sleep 0.2; say tick; done
say end
echo "$job" >"$2"
"""
RULES = """
    rule all:
        input: expand("out/{job}", job=JOBS)

    rule one:
        output: "out/{job}"
        shell: "sh work {wildcards.job} {output}"
"""


class Line(NamedTuple):
    """A line of a job, with its host and attempt."""

    what: str
    host: str
    attempt: int


class Scene:
    """A project with `jobs` in the directory that a lab's hosts share, and the checks of their results."""

    def __init__(self, lab: Lab, directory: Path, jobs: str, rules: str) -> None:
        self.lab = lab
        self.jobs = jobs.split()
        self.work = Workdir(directory, f"JOBS = {self.jobs}\n{textwrap.dedent(rules)}")
        self.directory = directory
        for name in ("told", "go"):
            (directory / name).mkdir()
        (directory / "work").write_text(WORK)

    def start(self, hosts: str, *options: str, before: str = "") -> Run:
        return self.work.start(*on(self.lab, *hosts.split()), *OPTIONS, *options, before=before)

    def settle(self, before: str = "") -> tuple[Run, list[str], list[str]]:
        """Start a run with one job on a host. Return the run, the hosts of the jobs, and all other hosts."""
        run = self.start("1/host1 1/host2 1/host3", before=before)
        hosts = [self.await_start(job) for job in self.jobs]
        return run, hosts, [host for host in self.lab.hosts if host not in hosts]

    def told(self, job: str) -> list[Line]:
        """Return all lines of a job, in order."""
        path = self.directory / "told" / job
        words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [Line(what, host, int(attempt)) for what, host, attempt in words]

    def starts(self, job: str) -> list[str]:
        """Return the hosts on which a job started, in order."""
        return [line.host for line in self.told(job) if line.what == "start"]

    def await_start(self, job: str, number: int = 1, timeout: float = 30) -> str:
        """Wait for a job's `number`th start, and return its host."""
        wait_until(lambda: len(self.starts(job)) >= number, timeout, f"start {number} of {job}")
        return self.starts(job)[number - 1]

    def await_end(self, job: str, timeout: float = 30) -> None:
        wait_until(lambda: any(line.what == "end" for line in self.told(job)), timeout, f"the end of {job}")

    def await_news(self, job: str, timeout: float = 10) -> None:
        """Wait until the job writes another line, so that it is known to run."""
        heard = len(self.told(job))
        wait_until(lambda: len(self.told(job)) > heard, timeout, f"news of {job}")

    def go(self, *jobs: str) -> None:
        for job in jobs or ("all",):
            (self.directory / "go" / job).touch()

    def fences(self) -> list[str]:
        """Return the fences of attempts that were given up. (Exit notices are in the same directory.)"""
        return [name for name in self.work.files(".snakemake/harbor/fence/*") if ".word" not in name]

    def finish(self, run: Run, code: int = 0, timeout: float = 60) -> None:
        """Let all jobs end. Check that the run ends and leaves nothing on the hosts that are up."""
        self.go()
        run.wait(timeout)
        run.expect(code)
        self.nothing_left()

    def ran_once(self, *jobs: str, attempts: int = 1, cut: Collection[str] = ()) -> None:
        """Check that each job (all jobs, if none are named) ended once, after that many starts that did not overlap.

        On a host that was `cut` off its power, an end may not be recorded, and then the job runs again.
        """
        for job in jobs or self.jobs:
            told = self.told(job)
            ends = [line for line in told if line.what == "end"]
            assert ends and {end.host for end in ends[:-1]} <= set(cut), (job, told)
            assert len(self.starts(job)) == attempts, (job, told)
            assert told == sorted(told, key=lambda line: line.attempt), (job, told)
            assert told[-1].what == "end", (job, told)
            assert (self.directory / "out" / job).read_text() == f"{job}\n"

    def nothing_left(self, timeout: float = 15) -> None:
        """Check that each host that is up has only its own processes, and no file in scratch."""
        for host in self.lab.hosts:
            try:
                wait_until(lambda host=host: not self.leftovers(host), timeout)
            except TimeoutError:
                raise AssertionError(f"left on {host}: {self.leftovers(host)}") from None

    def leftovers(self, host: str) -> list[object]:
        """Return processes and files on a host that did not exist at the start."""
        if not self.lab.processes(host):
            return []  # the host is off
        own = (["sleep", "infinity"], [""])
        processes = [(pid, argv) for pid, argv in self.lab.processes(host) if argv not in own]
        found = self.lab.exec(host, ["find", SCRATCH, "!", "-type", "d"]).stdout.split()
        return [*(pair for pair in processes if "[listener]" not in pair[1][0]), *found]

    def agents(self, host: str) -> list[int]:
        """Return the pids of agents and guardians inside a host."""
        return self._named(host, "harbor-agent")

    def guardians(self, host: str) -> list[int]:
        return self._named(host, "harbor-guardian")

    def _named(self, host: str, name: str) -> list[int]:
        return [int(pid) for pid in self.lab.exec(host, ["pgrep", "-x", name]).stdout.split()]

    def workers(self, host: str) -> list[int]:
        """Return the processes of jobs."""
        return [pid for pid, argv in self.lab.processes(host) if argv[:2] == ["sh", "work"]]

    def kill(self, host: str, pids: list[int]) -> None:
        """Kill (-9) a process inside the host."""
        assert pids, f"nothing to kill on {host}"
        self.lab.exec(host, ["kill", "-9", *map(str, pids)], check=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory that all hosts share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def hosts(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    reason = Lab.unavailable()
    if reason:
        pytest.skip(reason)
    with Lab(3, [shared], tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def lab(hosts: Lab) -> Iterator[Lab]:
    """Return the module's lab. All hosts are healthy, idle and empty before and after a test."""
    yield hosts
    for host in hosts.hosts:
        hosts.fault(host, "crash")
        hosts.fault(host, "disk-free")
    hosts.boot(hosts.hosts)
    for host in hosts.hosts:
        hosts.fault(host, "heal")
        hosts.exec(host, ["rm", "-rf", SCRATCH], check=True)


@pytest.fixture
def scene(lab: Lab, shared: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Scene]]:
    """Return a function that makes a scene: `scene("a b")` has the jobs a and b."""
    made: list[Scene] = []

    def make(jobs: str, rules: str = RULES) -> Scene:
        made.append(Scene(lab, shared / request.node.name.replace("/", "-"), jobs, rules))
        return made[-1]

    yield make
    for one in made:
        one.work.close()
