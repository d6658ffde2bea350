"""step.py with full disks, closed outputs, copies that fail, odd locales, and files that are no result."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.sshd import wait_until
from tests.workflow.test_step import CASE, PYTHONS, RUN, STEP

DEV_FULL = Path("/dev/full")


@pytest.fixture(params=PYTHONS, ids=lambda path: Path(path).parts[-3])
def step(request, tmp_path, monkeypatch):
    """Return a function that starts step.py in a project as a node does. `limit` bounds file sizes."""
    monkeypatch.chdir(tmp_path)
    Path("template/sub").mkdir(parents=True)
    Path("template/base").write_text("1\n")

    def start(what, commands, *paths, result=None, params=None, limit=None, log="log", **options):
        lines = [{"place": f"run, command {i}", "script": "", "line": line} for i, line in enumerate(commands, 1)]
        spec = {"case": "a", "params": params or {}, "commands": lines, "result": result}
        command = [request.param, str(STEP), what, json.dumps(spec), *paths, log]
        if what == "template":
            command = [request.param, str(STEP), what, *paths]

        if limit:
            command = ["bash", "-c", f'ulimit -f {limit // 1024}; exec "$@"', "bash", *command]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(command, start_new_session=True, **options)

    return start


def ended(process, code, *texts):
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert b"Traceback" not in err
    for text in texts:
        assert text.encode() in err, err
    return out


# The output is larger than a pipe's buffer. The command writes for ever, or waits until its writer ends.
WRITERS = ["yes", "yes & wait", "head -c 3000000 /dev/zero; sleep 60", "trap '' TERM; yes & wait; sleep 60"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_ends_the_command_with_the_reason(step, writer):
    run = step("run", ["echo $$ > ../../../../pid; " + writer], *RUN, limit=100_000)
    ended(run, 1, "case a: run, command 1: its output cannot be written to", "File too large", "is kept in")
    assert not CASE.exists() and not Path("done").exists()
    wait_until(lambda: not Path("/proc", Path("pid").read_text().strip()).exists(), 10, "the end of the command")


@pytest.mark.skipif(not DEV_FULL.exists(), reason="there is no /dev/full")
def test_a_log_on_a_full_disk_ends_the_case_with_the_reason(step):
    run = step("run", ["echo hello; sleep 60"], *RUN, log="/dev/full")
    ended(run, 1, "its output cannot be written to /dev/full: No space left on device")
    post = step("run", ["true"], *RUN, log="/dev/full")
    ended(post, 0)


def test_a_log_that_cannot_be_opened_is_a_sentence(step):
    ended(step("run", ["true"], *RUN, log="none/log"), 1, "case a: No such file or directory: none/log")
    assert not CASE.exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_loses_nothing(step, closed):
    lines = ["echo out; echo err >&2"]
    spec = {"case": "a", "params": {}, "commands": [{"place": "run", "script": "", "line": lines[0]}], "result": None}
    command = [PYTHONS[-1], str(STEP), "run", json.dumps(spec), *RUN, "log"]
    assert subprocess.run(["bash", "-c", f'"$@" {closed}', "bash", *command], check=False).returncode == 0
    assert (CASE / "stdout").read_text() == "out\n" and (CASE / "stderr").read_text() == "err\n"
    assert sorted(Path("log").read_text().split()) == ["err", "out"]


def test_an_output_that_nobody_reads_any_more_does_not_end_the_case(step):
    read, write = os.pipe()
    os.close(read)
    run = step("run", ["seq 100000"], *RUN, stdout=write)
    os.close(write)
    ended(run, 0)
    assert (CASE / "stdout").read_text().endswith("\n100000\n")


def test_a_copy_that_fails_midway_leaves_nothing_that_looks_done(step):
    Path("template/zbig").write_bytes(b"x" * 300_000)
    Path("template/sub").chmod(0o555)
    ended(step("template", [], "template", "frozen", limit=100_000), 1, "template: template cannot be copied", "large")
    assert os.listdir(".") == ["template"]
    ended(step("run", ["true"], *RUN, limit=100_000), 1, "case a: template cannot be copied")
    assert not CASE.exists() and os.listdir(CASE.parent) == [] and not Path("done").exists()
    ended(step("run", ["echo {}"], *RUN), 0)
    Path("template/sub").chmod(0o755)


def test_a_copy_that_is_ended_midway_leaves_nothing(step):
    with Path("template/big").open("wb") as f:
        f.truncate(40_000_000_000)
    copying = step("template", [], "template", "frozen")
    wait_until(lambda: Path(".frozen.part/big").exists(), 20, "the copy's begin")
    copying.terminate()
    ended(copying, 143, "was ended by signal 15")
    assert sorted(os.listdir(".")) == ["template"]


def test_a_read_only_directory_of_a_failed_case_is_replaced(step):
    for _ in range(2):
        ended(step("run", ["mkdir -p d/e; touch d/e/f; chmod -R a-w .; exit 3"], *RUN), 3, "is kept in")
    ended(step("run", ["true"], *RUN), 0)


def test_a_result_that_cannot_be_copied_is_not_there_in_part(step):
    shutil.copytree("template", CASE)
    post = step("post", ["(ulimit -f unlimited; true)"], str(CASE), "done", result="big", limit=100_000)
    (CASE / "big").write_bytes(b"x" * 300_000)
    ended(post, 1, "File too large")
    assert not Path("done").exists() and not Path(".done.part").exists()


def test_values_are_utf8_whatever_the_locale(step):
    value = "ä € \U0001f600 \x85\u2028 \u0065\u0301\x1c "
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = step("run", ['printf "%s|" {x} "{x}" "$CASE_x" > out'], *RUN, params={"x": value}, env=env)
    ended(run, 0)
    assert (CASE / "out").read_bytes() == f"{value}|".encode() * 3


def test_logs_of_the_template_are_not_the_cases(step):
    Path("elsewhere").write_text("far\n")
    Path("template/stdout").write_text("old\n")
    Path("template/stderr").symlink_to("../elsewhere")
    ended(step("run", ["echo new; echo err >&2"], *RUN), 0)
    assert (CASE / "stdout").read_text() == "new\n" and (CASE / "stderr").read_text() == "err\n"
    assert Path("elsewhere").read_text() == "far\n"


def test_a_case_may_be_called_like_a_temporary_file(step):
    ended(step("run", ["true"], "template", "results/s/cases/a.part", "a.part"), 0)
    ended(step("run", ["true"], "template", "results/s/cases/a", "a"), 0)
    assert Path("a.part").exists() and Path("a").exists()


# The commands of run, those of post, and the reason why the file is no result.
OLD = "it is older than the case"
RESULTS = [
    (["true"], ["true"], OLD),
    (["true"], ["cp -p r.json x; mv x r.json"], OLD),
    (["cp -p old.json r.json"], ["true"], OLD),
    (["rm r.json; cp -p old.json r.json"], ["true"], OLD),
    (["ln -sf old.json r.json"], ["true"], OLD),
    (["ln -sf ../../../../template/r.json r.json"], ["true"], "it is a link that leads out of the case's directory"),
    (["ln -sf /dev/null r.json"], ["true"], "it is a link that leads out"),
    (["rm r.json; mkdir r.json"], ["true"], "it is a directory"),
    (["rm r.json; mkfifo r.json"], ["true"], "it is no file"),
    (["rm r.json"], ["true"], "there is no such file"),
    (["rm r.json; ln -s none r.json"], ["true"], "it is no file"),
    (["cp r.json x; cp x r.json"], ["true"], ""),
    (["cat old.json > r.json"], ["true"], ""),
    (["rm r.json; echo '{\"y\": 99}' > r.json"], ["true"], ""),
    (["echo 1 > new; ln -sf new r.json"], ["true"], ""),
    (["true"], ["echo '{\"y\": 99}' > r.json"], ""),
    (["touch r.json"], ["true"], ""),
]


@pytest.mark.parametrize(("run", "post", "why"), RESULTS, ids=[f"{r[0]}; {p[0]}" for r, p, _ in RESULTS])
def test_a_result_is_made_by_the_case(step, run, post, why):
    for name in ("r.json", "old.json"):
        Path("template", name).write_text('{"y": 99}')
        os.utime(Path("template", name), (time.time() - 100, time.time() - 100))
    steps = Path("results/s/.steps")
    for name in ("run", "post"):
        (steps / name).mkdir(parents=True)
    ended(step("run", run, "template", str(CASE), str(steps / "run/a")), 0)
    done = step("post", post, str(CASE), str(steps / "post/a"), result="r.json")
    if why:
        ended(done, 1, "left no r.json in", why)
        assert os.listdir(steps / "post") == []
    else:
        ended(done, 0)
        assert (steps / "post/a").read_text() == Path(CASE, "r.json").read_text()


def test_what_an_earlier_post_has_left_is_not_this_ones(step):
    steps = Path("results/s/.steps")
    for name in ("run", "post"):
        (steps / name).mkdir(parents=True)
    where = (str(CASE), str(steps / "post/a"))
    ended(step("run", ["echo 1 > of_run"], "template", str(CASE), str(steps / "run/a")), 0)
    time.sleep(0.05)
    ended(step("post", ["echo 1 > of_post"], *where, result="of_post"), 0)
    time.sleep(0.05)
    ended(step("post", ["true"], *where, result="of_post"), 1, "an earlier run of `post` has left it")
    ended(step("post", ["true"], *where, result="of_run"), 0)
    ended(step("post", ["echo 2 > of_post"], *where, result="of_post"), 0)
