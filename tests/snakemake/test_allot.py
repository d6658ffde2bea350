"""Allot's example on five machines: ten ranks with Allot's ids, found again after a crash (docs/replaces.md)."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.store.journal_reader import open_run
from snakemake_executor_plugin_harbor.views.status import status
from tests.lab import Lab
from tests.snakemake.harness import Run, Workdir
from tests.sshd import wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "allot"
HELD = 3
"""The number of steps that each task makes before it waits for the file `go`."""
SCRATCH = "/var/tmp/harbor-0"
FACTORY = ("--harbor-command-factory", "factory.py:task")


class Example(Workdir):
    """A copy of the example. Its tasks note each start, wait for the file `begin`, and then at one step for `go`."""

    def __init__(self, directory: Path) -> None:
        shutil.copytree(EXAMPLE, directory)
        super().__init__(directory, (EXAMPLE / "Snakefile").read_text())
        noted = "import os\nopen('starts', 'a').write(f'{sys.argv[2]}\\n')\n"
        noted += "while not os.path.exists('begin'): time.sleep(0.05)\n"
        held = f"while i == {HELD - 1} and not os.path.exists('go'): time.sleep(0.05)\n"
        self.replace("test.py", {"\n\ndef print": f"\n{noted}\n\ndef print", "time.sleep(1)\n": held})

    def replace(self, name: str, words: dict[str, str]) -> None:
        text = (self.directory / name).read_text()
        for old, new in words.items():
            assert old in text, (name, old)
            text = text.replace(old, new)
        (self.directory / name).write_text(text)

    def starts(self) -> list[int]:
        """Return the rank of each start of a task, sorted."""
        path = self.directory / "starts"
        return sorted(map(int, path.read_text().split())) if path.exists() else []

    def jobs(self) -> list[dict]:
        return status(open_run(self.directory))["jobs"]

    def await_progress(self, run: Run) -> dict:
        """Wait until all ten tasks run at once and each shows the step where it waits. Return the status then."""
        run.until(r"nodes ready, \d+ slots")  # before this line, the status is that of an earlier run
        wait_until(lambda: held(status(open_run(self.directory))), 30, "ten running tasks with progress")
        told = self.harbor("status", "--json")
        assert told.returncode == 0, told.stderr
        now = json.loads(told.stdout)
        assert held(now)
        return now

    def finish(self, run: Run) -> None:
        (self.directory / "go").touch()
        run.wait()
        run.expect(0)
        assert self.starts() == list(range(10)), "each task ran once"
        ended = [(job["state"], job["progress"]) for job in self.jobs()]
        assert ended == [("succeeded", {"done": 120, "total": 120})] * 10
        for rank in range(10):
            assert (self.directory / f"out/{rank}.out").read_text().endswith("\x02120/120\x03\nfinished\n")

    def told(self, rank: int) -> dict[str, str]:
        """Return what Allot's fields were, as the factory wrote them to the rank's output."""
        (log,) = self.directory.glob(f".snakemake/harbor_logs/ranks/rank={rank}/*.1.log")
        return dict(re.findall(r"(\w+)=(\S+)", log.read_text().split("arguments")[0]))


def held(now: dict) -> bool:
    shown = [job["progress"] for job in now["jobs"] if job["state"] == "running"]
    return shown == [{"done": HELD, "total": 120}] * 10


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def lab(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    reason = Lab.unavailable()
    if reason:
        pytest.skip(reason)
    with Lab(5, [shared], tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    made = Example(tmp_path / "allot")
    yield made
    made.close()


@pytest.fixture
def on_hosts(lab: Lab, shared: Path, request: pytest.FixtureRequest) -> Iterator[Example]:
    """Return the example with the addresses of five hosts in Allot's host file."""
    made = Example(shared / request.node.name)
    made.replace("profiles/pool/hosts", {f"10.0.0.1{number}": host for number, host in enumerate(lab.hosts)})
    yield made
    made.close()


def test_ten_ranks_on_five_nodes_survive_a_crash_of_snakemake(lab, on_hosts):
    options = ("--profile", "profiles/pool", "--harbor-ssh-config", str(lab.ssh_config), "--harbor-nice", "0", *FACTORY)
    (on_hosts.directory / "begin").touch()
    lab.fault("host5", "crash")
    run = on_hosts.start(*options)
    run.until(r"only 4 of 5 nodes can be used yet. Waiting up to \d+ s more for node4 ")
    waiting = status(open_run(on_hosts.directory))
    states = {node["name"]: node["state"] for node in waiting["nodes"]}
    assert states.pop("node4") in ("connecting", "backoff") and set(states.values()) == {"ready"}
    assert on_hosts.starts() == [] == waiting["jobs"], "no command is issued before every node is up"
    lab.fault("host5", "reboot")

    before = on_hosts.await_progress(run)
    assert Counter(job["node"] for job in before["jobs"]) == {f"node{i}": 2 for i in range(5)}

    run.kill()
    again = on_hosts.start(*options, "--harbor-stall-after", "5")
    after = on_hosts.await_progress(again)
    assert after["run"] != before["run"] and {job["attempt"] for job in after["jobs"]} == {1}
    assert again.text.count("adopted job") == 10
    again.until(r"job \d+ \(ranks\) on node\d: no output and no progress for 5 s")
    wait_until(
        lambda: {job["reason"] for job in on_hosts.jobs()} == {"no output and no progress for 5 s"}, 15, "stalls"
    )
    on_hosts.finish(again)
    for host in lab.hosts:
        assert lab.exec(host, ["find", SCRATCH, "!", "-type", "d"]).stdout == "", "nothing is left on the nodes"
    slots = str(before["nodes"][0]["slots"])
    for job in before["jobs"]:
        rank = int(job["wildcards"]["rank"])
        assert on_hosts.told(rank) == {
            "job_name": "ranks",
            "node_name": job["node"],
            "cpus_on_node": slots,
            "node_id": str(rank // 2),
            "local_id": str(rank % 2),
            "proc_id": str(rank),
            "output_dir": str(Path(job["log"]).parent),
        }
        assert job["node"] == f"node{rank // 2}"


def test_the_ten_ranks_run_on_this_machine_alone(example):
    run = example.start("--profile", "profiles/local", *FACTORY)
    wait_until(lambda: example.starts() == list(range(10)), 30, "ten started tasks")
    early = json.loads(example.harbor("status", "--json").stdout)["jobs"]
    assert [(job["state"], job["progress"]) for job in early] == [("running", None)] * 10, "running, without output yet"
    (example.directory / "begin").touch()
    example.await_progress(run)
    example.finish(run)
    places = [example.told(rank) for rank in range(10)]
    assert [(p["node_name"], p["node_id"]) for p in places] == [("localhost", "0")] * 10
    assert [(p["local_id"], p["proc_id"]) for p in places] == [(str(rank), str(rank)) for rank in range(10)]
