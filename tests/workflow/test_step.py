"""step.py runs as on a node, on the oldest and the newest Python that are found, without Snakemake."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sshd import wait_until

STEP = Path(__file__).parents[2] / "workflow/scripts/step.py"
PYENV = sorted(
    Path.home().glob(".pyenv/versions/3.*/bin/python3"), key=lambda p: [int(x) for x in p.parts[-3].split(".")]
)
PYTHONS = list(dict.fromkeys([str(PYENV[0]), str(PYENV[-1])] if PYENV else [sys.executable]))


@pytest.fixture(params=PYTHONS, ids=lambda path: Path(path).parts[-3])
def node(request, tmp_path, monkeypatch):
    """Return a function that starts step.py in a project as a node does, and returns the process."""
    monkeypatch.chdir(tmp_path)
    template = tmp_path / "template"
    (template / "sub").mkdir(parents=True)
    (template / "base").write_text("1\n")

    def start(what, commands, *paths, result=None, params=None, on_failure=()):
        lines = [{"place": f"{what}, command {i}", "script": "", "line": line} for i, line in enumerate(commands, 1)]
        spec = {"case": "a", "params": params or {}, "commands": lines, "result": result}
        command = [request.param, str(STEP), what, json.dumps(spec), *paths, "log", *on_failure]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)

    return start


RUN = ("template", "results/s/cases/a", "done")
CASE = Path(RUN[1])


def test_output_goes_to_the_case_the_log_and_on(node):
    value = "it's\n$HOME {y}"
    run = node(
        "run", ["printf '\\0021/3\\003' ; echo {x} \"$CASE $CASE_x\"", "echo err >&2"], *RUN, params={"x": value}
    )
    out, err = run.communicate()
    assert run.returncode == 0 and out == f"\x021/3\x03{value} a {value}\n".encode() and err == b"err\n"
    assert (CASE / "stdout").read_bytes() == out and (CASE / "stderr").read_bytes() == err
    assert Path("log").read_bytes() == out + err
    times = json.loads(Path("done").read_text())
    assert times["began"] <= CASE.joinpath("stderr").stat().st_mtime_ns <= times["ended"]


def test_each_attempt_starts_afresh_and_a_failed_one_is_kept(node):
    commands = ["echo dirt >> base; cat base", "test -e ok"]
    run = node("run", commands, *RUN)
    err = run.communicate()[1].decode()
    assert run.returncode == 1 and "case a: run, command 2 ended with exit code 1: test -e ok" in err
    kept = Path("results/s/failed/a")
    assert str(kept) in err and (kept / "stdout").read_text() == "1\ndirt\n"
    assert not CASE.exists() and not Path("done").exists()
    run = node("run", commands[:1], *RUN)
    assert run.communicate()[0] == b"1\ndirt\n" and run.returncode == 0
    assert not kept.exists() and (CASE / "base").read_text() == "1\ndirt\n"


def test_a_missing_program_is_named_with_the_node(node, monkeypatch):
    monkeypatch.setenv("HARBOR_NODE_NAME", "ada")
    run = node("run", ["no-such-simulator -b x"], *RUN)
    err = run.communicate()[1].decode()
    assert run.returncode == 127 and "no-such-simulator: " in err.splitlines()[0]
    assert (
        "run, command 1 ended with exit code 127: no-such-simulator -b x\n  A program or library is missing on ada"
        in err
    )
    run = node("run", ["exit 3"], *RUN)
    assert "missing" not in run.communicate()[1].decode()


def test_the_state_of_a_case_says_how_its_last_step_ended(node, monkeypatch):
    """With `record`, a command that fails by itself fails no job. One that is killed or not found still does."""
    monkeypatch.setenv("HARBOR_NODE_NAME", "ada")
    steps = Path("results/s/.steps")
    for name in ("run", "post"):
        (steps / name).mkdir(parents=True)
    done, posted = str(steps / "run/a"), str(steps / "post/a")

    def state(code, what="run", *commands, on_failure=("record",)):
        paths = (*RUN[:2], done) if what == "run" else (RUN[1], posted)
        ended = node(what, commands, *paths, result="r.json", on_failure=on_failure)
        assert ended.wait(20) == code
        found = json.loads((steps / "state/a").read_text())
        assert found["node"] == "ada" and found["log"] == "log"
        return {key: found.get(key) for key in ("step", "state", "reason", "killed", "recorded")}

    failed = {"step": "run", "state": "failed", "killed": False, "recorded": False}
    reason = "run, command 1 ended with exit code 3: exit 3"
    assert state(3, "run", "exit 3", on_failure=()) == {**failed, "reason": reason}
    assert not os.path.exists(done)
    killed = state(128 + 9, "run", "kill -9 $$")
    assert killed["killed"] and not killed["recorded"] and "was killed by signal 9" in killed["reason"]
    missing = state(127, "run", "no-such-simulator")
    assert missing == {**failed, "reason": "run, command 1 ended with exit code 127: no-such-simulator"}
    recorded = state(0, "run", "echo > left", "exit 3")
    assert recorded == {**failed, "reason": "run, command 2 ended with exit code 3: exit 3", "recorded": True}
    assert (CASE / "left").exists() and "exit code 3" in json.loads(Path(done).read_text())["failed"]
    assert state(0, "post", "echo > r.json")["step"] == "run" and Path(posted).read_text() == ""
    assert state(0, "run", "true")["state"] == "done"
    ended = state(0, "post", "exit 4")
    assert ended == {
        **failed,
        "step": "post",
        "reason": "post, command 1 ended with exit code 4: exit 4",
        "recorded": True,
    }
    assert state(1, "post", "true")["reason"].startswith("left no r.json in")
    assert state(0, "post", "echo '{}' > r.json")["state"] == "done" and Path(posted).read_text() == "{}\n"


def test_a_copy_keeps_links_and_can_be_written(node):
    outside = Path("elsewhere")
    outside.write_text("far")
    template = Path("template")
    (template / "out").symlink_to("../elsewhere")
    (template / "sub/in").symlink_to("../base")
    (template / "nowhere").symlink_to("none")
    (template / "sub").chmod(0o555)
    Path("big").mkdir()
    Path("results").symlink_to("big")
    assert node("run", ["cat out sub/in; touch sub/new"], *RUN).communicate()[0] == b"far1\n"
    assert os.readlink(CASE / "sub/in") == "../base" and os.readlink(CASE / "nowhere") == "none"
    template.joinpath("sub").chmod(0o755)


def test_told_to_end_it_keeps_what_is_there(node):
    run = node("run", ["echo begun; exec sleep 60"], *RUN)
    wait_until(lambda: (CASE / "stdout").exists() and (CASE / "stdout").read_text(), 10, "output of the case")
    run.send_signal(signal.SIGTERM)
    assert run.wait(10) == 128 + signal.SIGTERM
    assert Path("results/s/failed/a/stdout").read_text() == "begun\n"


def test_a_process_left_in_the_background_holds_nothing_up(node):
    run = node("run", ["sleep 60 & echo $!"], *RUN)
    assert run.wait(20) == 0
    os.kill(int((CASE / "stdout").read_text()), signal.SIGKILL)


def test_post_hands_the_result_over(node):
    shutil.copytree("template", CASE)
    post = node("post", ["echo '{}' > r.json"], str(CASE), "done", result="r.json")
    assert post.wait(10) == 0 and Path("done").read_text() == "{}\n"
    post = node("post", ["true"], str(CASE), "done", result="other.json")
    assert post.wait(10) == 1 and b"left no other.json in" in post.communicate()[1]
