"""`harbor doctor` checks this machine before it asks nodes, compares nodes with it, and shows findings by node."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_harbor import cli
from snakemake_executor_plugin_harbor.cli.checks import controller
from snakemake_executor_plugin_harbor.cli.checks.finding import CHECKS, Finding
from snakemake_executor_plugin_harbor.cli.checks.node import Here, examine
from snakemake_executor_plugin_harbor.cli.doctor import counts
from snakemake_executor_plugin_harbor.cli.node_options import add_arguments, chosen_config
from snakemake_executor_plugin_harbor.core.model import Checkup, Disk, Load, NodeFacts, NodeSpec
from snakemake_executor_plugin_harbor.remote.node_file import NodeFile, inspect
from snakemake_executor_plugin_harbor.remote.survey import Answer
from snakemake_executor_plugin_harbor.store.workdir import Workdir, new_run
from tests.sshd import free_port

HARBOR = Path(sys.executable).with_name("harbor")
PROFILE = {"executor": "harbor", "scheduler": "harbor", "rerun-incomplete": True, "nolock": True}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))


def told(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.level) for finding in found]


def doctor(*words: str, before: str = "") -> dict[str, Any]:
    command = f'{before} exec "$@"'
    argv = ["sh", "-c", command, "sh", str(HARBOR), "doctor", "--json", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    findings = json.loads(done.stdout)["findings"]
    return {finding["check"]: finding for finding in findings if finding["node"] is None}


# --- this machine -----------------------------------------------------------------------------------------


def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--hosts", "localhost", "--scratch", str(tmp_path / "scratch")]) == 0
    here, node, *rest = capsys.readouterr().out.splitlines()
    assert here.startswith("this machine  ok       Snakemake 9.") and str(tmp_path) in here
    assert node.startswith("localhost     ok       answers in ") and rest == ["1 of 1 nodes can be used"]


def test_an_ssh_configuration_that_is_not_valid(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host *\n  Frobnicate yes\n")
    found = doctor("--hosts", f"127.0.0.1:{free_port()}", "--ssh-config", "config")
    assert found["ssh"]["level"] == "error" and "frobnicate" in found["ssh"]["text"].lower()
    assert found["ssh"]["try"].startswith(f"ssh -G -F {tmp_path}/config")


@pytest.mark.parametrize(("transport", "level"), [("paramiko", "warning"), ("openssh", "error")])
def test_no_ssh_program(monkeypatch: pytest.MonkeyPatch, transport: str, level: str) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    config = chosen_config(parser.parse_args(["--hosts", "ada", "--transport", transport]))
    assert told(controller.ssh(config)) == [("ssh", level)]


def test_too_few_open_files(tmp_path: Path) -> None:
    found = doctor("--hosts", "localhost", "--scratch", str(tmp_path / "s"), before="ulimit -n 200;")
    assert found["files"]["level"] == "warning" and found["files"]["try"].startswith("ulimit -n 259")


@pytest.mark.parametrize(
    ("before", "words"), [("cd /proc", "cannot be written"), ("mkdir x; cd x; rmdir ../x", "cannot be used: No such")]
)
def test_a_directory_that_is_of_no_use(before: str, words: str) -> None:
    argv = ["sh", "-c", f"{before}; exec {HARBOR} doctor --hosts localhost"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and words in done.stderr and "Try: " in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("changes", "levels", "words"),
    [
        ({}, [], ""),
        ({"executor": "slurm"}, ["warning"], "executor: slurm in the profile"),
        ({"scheduler": None}, ["warning"], "without scheduler: harbor"),
        ({"nolock": False, "rerun-incomplete": None}, ["warning"] * 2, "does not take over jobs after a crash"),
        ({"harbor-password": "secret"}, ["error"], "the password comes from the environment"),
    ],
)
def test_keys_of_the_profile(changes: dict[str, Any], levels: list[str], words: str) -> None:
    found = list(controller.profile_keys({**PROFILE, **changes}))
    assert [finding.level for finding in found] == levels
    assert all(words in finding.text and finding.hint and "secret" not in str(finding) for finding in found)


def test_the_profile_that_is_given_is_checked(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "executor: harbor\nharbor-hosts: localhost\nscheduler: harbor\nnolock: true\n"
    )
    found = doctor("--profile", str(tmp_path), "--scratch", str(tmp_path / "s"))
    assert found["profile"]["try"] == "write into the profile: rerun-incomplete: true"


def test_the_place_of_the_journal(tmp_path: Path) -> None:
    place = tmp_path / "harbor"
    assert not list(controller.journal(place)), "it will be made"
    place.symlink_to(tmp_path)
    assert told(controller.journal(place)) == [("journal", "error")]
    if os.geteuid() == 0:
        place.unlink()
        place.mkdir()
        os.chown(place, 65534, 65534)
        assert told(controller.journal(place)) == [("journal", "error")]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_disk_that_is_too_small_for_the_journal(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from snakemake_executor_plugin_harbor.cli.checks import controller; "
    code += "print(*controller.journal(Path(sys.argv[1], 'harbor')), controller.filesystem(Path(sys.argv[1])))"
    line = f'mount -t tmpfs -o size=8m none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    done = subprocess.run(["unshare", "-m", "sh", "-c", line, code], capture_output=True, text=True, check=True)
    assert "only 8 MiB are free for the journal" in done.stdout and done.stdout.endswith(" tmpfs\n")


@pytest.mark.parametrize(("version", "ok"), [("9.19.3", False), ("9.20.0", True), ("9.27.1", True), ("10.0.0", False)])
def test_the_version_of_snakemake(version: str, ok: bool) -> None:
    assert told(controller.snakemake(version)) == ([] if ok else [("snakemake", "warning")])


def test_locks(tmp_path: Path) -> None:
    assert not list(controller.locks(tmp_path, PROFILE))
    held = Workdir(tmp_path, new_run())
    held.acquire()
    (tmp_path / ".snakemake/locks").mkdir()
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    (finding,) = controller.locks(tmp_path, None)
    assert finding.level == "note" and f"process {os.getpid()}" in finding.text and "works in this" in finding.text
    code = "import sys; from pathlib import Path; from snakemake_executor_plugin_harbor.store.workdir import Workdir, "
    code += "new_run; import os; Workdir(Path(sys.argv[1]), new_run()).acquire(); os._exit(9)"
    held.release()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    found = list(controller.locks(tmp_path, PROFILE))
    assert [finding.level for finding in found] == ["note"] and "died 0 min ago" in found[0].text
    assert told(controller.locks(tmp_path, None)) == [("lock", "note"), ("lock", "warning")]


def test_what_all_nodes_show_together(tmp_path: Path) -> None:
    facts = NodeFacts(cores=2, mem_mb=1, boot_id="b", shared=False)
    answers = [Answer(NodeSpec(name, name), facts) for name in ("ada", "eve")]
    directory, machines = controller.check_pool(answers, tmp_path)
    assert (directory.check, machines.check) == ("directory", "machines")
    assert "of this machine" in directory.text and "ada, eve are one machine" in machines.text
    apart = [Answer(answer.spec, replace(facts, boot_id=answer.spec.name, shared=True)) for answer in answers]
    assert not list(controller.check_pool(apart, tmp_path))


# --- a node, compared with this machine ---------------------------------------------------------------------


def answer(checkup: dict[str, Any] | None = None, facts: dict[str, Any] | None = None, **more: Any) -> Answer:
    made = Checkup(**{"state": "here", "snakemake": "9.27.1", "charmap": "UTF-8", **(checkup or {})})
    known = NodeFacts(**{"cores": 8, "mem_mb": 1, "scratch": "/s", "shared": True, "uid": 1000, **(facts or {})})
    values: dict[str, Any] = {"facts": known, "load": Load(), "checkup": made, "login": "ssh ada", "skew": 0.0}
    spec = NodeSpec("ada", "ada", staging=more.pop("staging", None))
    return Answer(spec, **{**values, "file": NodeFile(uid=1000), **more})


HERE = Here(Path("/work"), "/venv/bin/python", "9.27.1", 1000, 12)


@pytest.mark.parametrize(
    ("given", "check", "level", "words", "hint"),
    [
        ({"skew": -90.0}, "clock", "warning", "off by -90 s", "ssh ada 'timedatectl status'"),
        ({"load": Load(busy=7.6)}, "answers", "ok", "other people use 7.6 cores now, so jobs wait", ""),
        ({"load": Load(workdir_free_mb=3)}, "space", "warning", "only 3 MiB are free in the working", "ssh ada 'df -h"),
        ({"facts": {"warnings": ("there is no /proc here",)}}, "platform", "note", "no /proc", ""),
        (
            {"checkup": {"snakemake": "9.21.0"}},
            "scripts",
            "warning",
            "has Snakemake 9.21.0 there",
            "ssh ada '/venv/bin",
        ),
        ({"checkup": {"missing": ("/opt/conda",)}}, "programs", "note", "/opt/conda is missing there", ""),
        ({"checkup": {"workdir": Disk(inodes=0)}}, "inodes", "error", "only 0 more files", "ssh ada 'df -i /work'"),
        ({"file": NodeFile("this machine does not see it")}, "write", "error", "does not see it", "ssh ada id; ls -ld"),
        (
            {"facts": {"shared": False}, "checkup": {"state": "Permission denied"}, "staging": "never"},
            "shared",
            "error",
            "Permission",
            "ssh",
        ),
        ({"facts": {"shared": False}, "checkup": {"state": "x"}}, "shared", "note", "x, so files are sent", ""),
    ],
)
def test_a_finding(given: dict[str, Any], check: str, level: str, words: str, hint: str) -> None:
    found = {finding.check: finding for finding in examine(answer(**given), HERE)}
    assert set(found) - {"answers"} == {check} - {"answers"}
    assert found[check].level == level and words in found[check].text and found[check].hint.startswith(hint)


def test_a_directory_that_is_there_under_its_resolved_path(tmp_path: Path) -> None:
    """An automounter shows a directory under a path that the resolved path differs from."""
    (tmp_path / "real").mkdir()
    (tmp_path / "typed").symlink_to("real")
    away = answer({"state": "missing", "resolved": True}, {"shared": False})
    finding = examine(away, replace(HERE, workdir=tmp_path / "typed"))[0]
    assert f"but it is there as {tmp_path}/real" in finding.text
    assert finding.hint.startswith(f"cd {tmp_path}/real")


def test_the_directory_as_typed_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "typed").symlink_to("real")
    monkeypatch.chdir(tmp_path / "typed")
    monkeypatch.setenv("PWD", str(tmp_path / "typed"))
    found = doctor("--hosts", "localhost", "--scratch", str(tmp_path / "scratch"))
    assert f"working directory {tmp_path}/typed on" in found["controller"]["text"]


def test_a_file_that_a_node_has_made_for_us(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("token")
    assert inspect(path, "token", 0.0) == NodeFile("", os.getuid()) and not path.exists()
    assert inspect(path, "token", 0.0) == NodeFile("this machine does not see it")
    path.write_text("token and more")
    assert inspect(path, "token", 0.0).problem == "this machine reads something else in it"
    os.mkfifo(path)
    assert inspect(path, "token", 0.0).problem == "this machine reads something else in it"
    path.symlink_to("/etc/hostname")
    assert inspect(path, "token", 0.0).problem.startswith("this machine cannot read it: ")
    assert not list(tmp_path.iterdir())


# --- what is shown ------------------------------------------------------------------------------------------


def test_the_last_line_counts_nodes_by_their_worst_finding() -> None:
    found = [
        Finding(None, "ssh", "warning", "a"),
        Finding("ada", "clock", "warning", "a"),
        Finding("ada", "answers", "ok", "a"),
        Finding("eve", "answers", "ok", "a"),
        Finding("bob", "shared", "error", "a"),
    ]
    assert counts(found, 3) == "2 of 3 nodes can be used, 1 of them with a warning"


def test_every_check_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/doctor.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(CHECKS)
