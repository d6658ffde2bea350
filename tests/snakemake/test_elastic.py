"""Hosts join and leave during a run: the host file is edited, and nodes are drained and resumed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.snakemake.harness import Run, Workdir, on
from tests.sshd import Pool, hosts, wait_until

WAITING = """
    rule all:
        input: expand("out/{i}", i=range(COUNT))

    rule one:
        output: "out/{i}"
        shell:
            "echo {wildcards.i} $HARBOR_NODE_NAME >> effects; "
            "until [ -e go/{wildcards.i} ] || [ -e go/all ]; do sleep 0.1; done; touch {output}"
"""


class Elastic:
    """A run with a host file, and the questions of the tests about it."""

    def __init__(self, project: Callable[..., Workdir], pool: Pool, lines: str, count: int) -> None:
        self.work = project(WAITING.replace("COUNT", str(count)))
        self.count = count
        self.list = self.work.directory / "hosts"
        self.edit(lines)
        (self.work.directory / "go").mkdir()
        options = (*on(pool)[:-2], "--harbor-hostfile", str(self.list), "--scheduler", "harbor")
        self.run: Run = self.work.start(*options)

    def edit(self, lines: str) -> None:
        """Replace the file by a new one, as editors do."""
        new = self.list.with_suffix(".new")
        new.write_text(lines.replace(" ", "\n") + "\n" * bool(lines))
        new.replace(self.list)

    def effects(self) -> dict[str, str]:
        """Return the node of each started job."""
        path = self.work.directory / "effects"
        lines = path.read_text().splitlines() if path.exists() else []
        assert len({line.split()[0] for line in lines}) == len(lines), f"a job ran twice: {lines}"
        return dict(line.split() for line in lines if " " in line)

    def until(self, running: int, what: str = "running jobs") -> dict[str, str]:
        wait_until(lambda: len(self.effects()) == running, 40, f"{running} {what}")
        return self.effects()

    def go(self, *names: str) -> None:
        for name in names:
            (self.work.directory / "go" / name).touch()

    def harbor(self, *arguments: str) -> Any:
        told = self.work.harbor(*arguments, "--json")
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)

    def node(self, name: str) -> dict[str, Any] | None:
        return next((node for node in self.harbor("status")["nodes"] if node["name"] == name), None)

    def finish(self) -> str:
        self.go("all")
        self.run.wait()
        self.run.expect(0)
        assert len(self.effects()) == self.count
        return self.run.text


@pytest.fixture
def elastic(project, pool) -> Callable[[str, int], Elastic]:
    return lambda lines, count: Elastic(project, pool, lines, count)


def jobid(run: Elastic, i: str) -> str:
    return next(job["id"] for job in run.harbor("status")["jobs"] if job["wildcards"].get("i") == i)


def test_a_host_that_is_added_joins_and_gets_jobs(elastic):
    run = elastic("1/node1", 3)
    run.until(1)
    run.edit("1/node1 2/node2")
    run.run.until("node node2 has joined")
    assert sorted(run.until(3).values()) == ["node1", "node2", "node2"]
    assert "has joined" not in run.finish().replace("node2 has joined", "")


def test_a_host_that_is_removed_finishes_its_job_and_leaves(elastic):
    run = elastic("1/node1 1/node2", 4)
    begun = run.until(2)
    (mine,) = [i for i, node in begun.items() if node == "node2"]
    (other,) = [i for i, node in begun.items() if node == "node1"]
    run.edit("1/node1")
    wait_until(lambda: run.node("node2")["state"] == "draining", 10, "node2 drains")
    run.go(other)
    assert run.until(3)[next(i for i in run.effects() if i not in begun)] == "node1"
    assert "has left" not in run.run.text, "its job still runs"
    run.go(mine)
    run.run.until("node node2 has left the pool")
    wait_until(lambda: run.node("node2") is None, 10, "status without node2")
    run.finish()
    assert list(run.effects().values()).count("node2") == 1, "nothing new was placed there"
    assert run.work.files("out/*") == ["0", "1", "2", "3"]


def test_a_host_that_is_removed_while_it_is_idle_leaves_at_once_and_may_come_back(elastic):
    run = elastic("1/node1 1/node2", 2)
    run.until(2)
    (mine,) = [i for i, node in run.effects().items() if node == "node2"]
    run.go(mine)
    wait_until(lambda: run.node("node2")["running"] == 0, 10, "node2 is idle")
    run.edit("1/node1")
    run.run.until("node node2 has left the pool", 10)
    run.edit("1/node1 1/node2")
    run.run.until("node node2 has joined", 15)
    run.finish()


@pytest.mark.parametrize(
    ("bad", "told"),
    [("1/node1 0/ada", "{file}:2: '0/ada' is not a host"), ("", "{file}: the host list is empty")],
    ids=["line", "empty"],
)
def test_a_bad_edit_is_a_warning_and_the_old_list_stays(elastic, bad, told):
    run = elastic("1/node1", 2)
    run.until(1)
    run.edit(bad)
    run.run.until("the edited host list is not used")
    assert told.format(file=run.list) in run.run.text
    run.edit("1/node1 1/node2")
    assert sorted(run.until(2).values()) == ["node1", "node2"], "a good edit after it counts"
    text = run.finish()
    assert text.count("is not used") == 1, "one warning"
    assert "Traceback" not in text and "has left" not in text


def test_a_bad_edit_of_a_yaml_file_is_a_warning_too(project, pool):
    work = project(WAITING.replace("COUNT", "1"))
    path = work.directory / "hosts.yaml"
    path.write_text("node1: {slots: 1}\n")
    (work.directory / "go").mkdir()
    run = work.start(*on(pool)[:-2], "--harbor-hostfile", str(path), "--scheduler", "harbor")
    wait_until((work.directory / "effects").exists, 30)
    path.write_text("? [node1, node2]\n: {slots: 1}\n")
    run.until("the edited host list is not used: .*hosts.yaml:1: a sequence cannot be a name")
    path.write_text("node1: {slots: 1}\nnode2: {slots: 1}\n")
    run.until("node node2 has joined")
    (work.directory / "go/all").touch()
    run.wait()
    run.expect(0)
    assert run.text.count("is not used") == 1 and "Traceback" not in run.text


def test_a_host_file_that_is_removed_leaves_the_list_as_it_is(elastic):
    run = elastic("1/node1", 3)
    run.until(1)
    run.list.unlink()
    run.run.until("the edited host list is not used")
    assert re.search(rf"{run.list}.*No such file", run.run.text)
    run.go(*run.effects())
    run.until(2, "a job that starts without the file")
    run.edit("1/node1 1/node2")
    run.run.until("node node2 has joined")
    text = run.finish()
    assert text.count("is not used") == 1 and "has left" not in text


def test_more_slots_in_the_file_are_used_without_a_new_connection(project, tmp_path):
    with hosts(1, tmp_path / "sshd") as pool:
        run = Elastic(project, pool, "1/node1", 3)
        run.until(1)
        logins = pool["node1"].log().count("Accepted publickey")
        run.edit("3/node1")
        assert set(run.until(3).values()) == {"node1"}
        assert pool["node1"].log().count("Accepted publickey") == logins
        wait_until(lambda: run.node("node1")["slots"] == 3, 10, "status with three slots")
        text = run.finish()
    assert "has left" not in text and "has joined" not in text


def test_a_drained_node_gets_nothing_until_it_is_resumed(elastic):
    run = elastic("1/node1", 2)
    (first,) = run.until(1)
    assert run.harbor("drain", "node1", "--reason", "new memory") == {"node": "node1", "state": "draining"}
    shown = run.node("node1")
    assert (shown["state"], shown["reason"]) == ("draining", "new memory")
    run.go(first)
    wait_until(lambda: run.node("node1")["state"] == "drained", 10, "node1 is drained")
    assert run.node("node1")["reason"] == "new memory"
    waiting = jobid(run, next(i for i in "01" if i != first))
    wait_until(lambda: "is drained: new memory" in run.work.harbor("explain", waiting).stdout, 10, "explain")
    assert "is drained: new memory" in run.harbor("explain", waiting)["reason"]
    assert len(run.effects()) == 1, "nothing is placed there"
    told = run.work.harbor("resume", "node1")
    assert (told.returncode, told.stdout.strip()) == (0, "node1 is ready")
    run.until(2, "jobs after resume")
    run.finish()


def test_other_nodes_take_what_a_drained_one_would_have_got(elastic):
    run = elastic("1/node1 2/node2", 5)
    run.until(3)
    assert run.harbor("drain", "node2")["state"] == "draining"
    assert run.node("node2")["reason"] == "by the user"
    begun = run.effects()
    run.go(*begun)
    wait_until(lambda: len(run.effects()) == 4, 20, "the next job")
    run.go(*run.effects())
    assert [node for i, node in run.until(5).items() if i not in begun] == ["node1", "node1"]
    run.finish()


def test_an_unknown_node_is_an_error_that_lists_the_names(elastic):
    run = elastic("1/node1 1/node2", 1)
    run.until(1)
    for command in ("drain", "resume"):
        told = run.work.harbor(command, "node9")
        assert told.returncode == 1 and not told.stdout
        assert "no node node9" in told.stderr and "node1, node2" in told.stderr
        assert "Traceback" not in told.stderr
    run.finish()


def test_a_node_whose_host_key_was_unknown_is_used_after_resume(project, tmp_path):
    with hosts(1, tmp_path / "sshd") as pool:
        pool.add("node2", known=False)
        run = Elastic(project, pool, "1/node1 1/node2", 2)
        run.until(1)
        run.run.until("node node2 is not used")
        assert run.node("node2")["state"] == "rejected"
        assert "known" in run.node("node2")["reason"]
        with Path(pool.known_hosts).open("a") as file:
            file.writelines(pool["node2"].known_hosts_lines())
        run.harbor("resume", "node2")
        assert sorted(run.until(2).values()) == ["node1", "node2"]
        assert run.node("node2")["state"] == "ready"
        run.finish()
