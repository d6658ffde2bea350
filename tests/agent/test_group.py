"""The program that runs the jobs of a group: levels, units and their ends."""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest

from snakemake_executor_plugin_harbor.jobs.group_command import program
from tests.agent.conftest import pythons
from tests.sshd import wait_until

# The tests of whole runs use a newer Python.
pytestmark = pytest.mark.parametrize("python", pythons()[:1], indirect=True)
NO_JOB = {"env": {}, "asks": {"_cores": 1}, "touch": [], "makes": [], "log": "", "shell": "/bin/sh"}
NO_JOB |= {"benchmark": "", "pipes": [], "serves": [], "uses": [], "after": []}


@pytest.fixture
def group(python, tmp_path):
    """Return a function that starts the program. Jobs are given as {name: script}, or as facts with a `script`."""
    started = []

    def start(*levels, cores=8, latency=5.0, **limits):
        def facts(name, job):
            given = {"script": job} if isinstance(job, str) else job
            rest = {key: value for key, value in given.items() if key != "script"}
            return {**NO_JOB, "name": name, "cwd": str(tmp_path), "scripts": [given["script"]], **rest}

        units = [[[facts(*pair) for pair in unit.items()] for unit in level] for level in levels]
        text = json.dumps({"levels": units, "limits": {"_cores": cores, **limits}, "latency": latency})
        script = tmp_path / f"program.{len(started)}.py"
        script.write_text(f"{program()}\nGRACE = 0.5\nmain({text!r})\n")
        started.append(
            subprocess.Popen(
                [python, "-c", script.read_text()], stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def outcome(process):
    """Wait for the end. Nothing that the jobs have started is left then."""
    said, _ = process.communicate(timeout=30)
    # An orphan that was killed exists until its new parent has reaped it.
    wait_until(lambda: not [pid for pid in psutil.pids() if session_of(pid) == process.pid], 5)
    return process.returncode, said


def session_of(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return None


def test_a_pipe_exists_while_its_jobs_run(group, tmp_path):
    write = {"script": "test -p stream && seq 100000 > stream", "pipes": ["stream"]}
    (tmp_path / "stream").write_text("of an earlier attempt")
    code, said = outcome(group([{"write": write, "read": "wc -l < stream > count"}], cores=1))
    assert code == 0, said
    assert (tmp_path / "count").read_text().strip() == "100000" and not (tmp_path / "stream").exists()


@pytest.mark.parametrize("read", ["head -n 1 <&3; exec 3<&-; sleep 0.3; exit 3", "exit 3"])
def test_a_reader_that_fails_is_named_although_its_writer_ends_first_of_a_broken_pipe(group, tmp_path, read):
    write = {"script": "exec yes > stream", "pipes": ["stream"]}
    code, said = outcome(group([{"write": write, "read": f"exec 3< stream; {read}"}], [{"later": "touch later"}]))
    assert code == 3 and "job read failed with exit code 3, so the group ends" in said
    assert not (tmp_path / "stream").exists() and not (tmp_path / "later").exists()


def test_a_writer_that_fails_ends_its_reader_even_if_that_ignores_term(group, tmp_path):
    write = {"script": "until [ -e deaf ]; do sleep 0.05; done; exit 4", "pipes": ["stream"]}
    code, said = outcome(group([{"write": write, "read": "trap '' TERM; touch deaf; sleep 1000"}]))
    assert code == 4 and "job write failed with exit code 4" in said


def test_a_service_runs_until_the_jobs_that_use_it_have_ended(group, tmp_path):
    """A job that uses it starts when the file of the service is there. What the service has started ends with it."""
    serve = {
        "script": "trap 'echo bye > bye; exit 0' TERM; sleep 0.3; echo here > port; sleep 1000 & wait",
        "serves": ["port"],
    }
    one = {"script": "cat port > one", "uses": ["port"]}
    two = {"script": "test -e one && test ! -e bye && touch two", "uses": ["port"], "after": [1]}
    code, said = outcome(group([{"serve": serve, "one": one, "two": two}], [{"later": "test -e bye"}]))
    assert code == 0, said
    assert (tmp_path / "one").read_text() == "here\n" and (tmp_path / "two").exists()
    assert "service job serve is ended, because all jobs that use it have ended" in said


@pytest.mark.parametrize(
    ("serve", "use", "code", "said"),
    [
        ("exit 5", "touch used", 5, "job serve failed with exit code 5, so"),
        ("sleep 1000", "touch used", 1, "job use cannot start, because its service has not made port within 0.2 s"),
        # A service that dies is the cause if a job fails that uses it, and otherwise no failure, as with Snakemake.
        ("touch port; exit 5", "sleep 0.5; exit 6", 5, "job serve failed with exit code 5, so"),
        ("touch port; exit 5", "sleep 0.5", 0, "service job serve failed with exit code 5 while jobs use it"),
        ("touch port; sleep 1000", "exit 6", 6, "job use failed with exit code 6, so"),
    ],
)
def test_services_that_fail(group, tmp_path, serve, use, code, said):
    jobs = {"serve": {"script": serve, "serves": ["port"]}, "use": {"script": use, "uses": ["port"]}}
    found, text = outcome(group([jobs], latency=0.2))
    assert found == code and said in text and not (tmp_path / "used").exists()


def test_resources_limit_the_jobs_that_run_side_by_side(group, tmp_path):
    """Two need half of the memory each, and a third one fits beside neither. So the log has at most two at a time."""
    script = "echo + >> log; sleep 0.2; echo - >> log"
    sizes = {"a": 500, "b": 500, "c": 1000, "d": 500}
    level = [{name: {"script": script, "asks": {"_cores": 1, "mem_mb": size}}} for name, size in sizes.items()]
    code, said = outcome(group(level, mem_mb=1000))
    assert code == 0, said
    running, most = 0, 0
    for line in (tmp_path / "log").read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most == 2
    # d fits beside a or b, so c does not hold it up.
    assert said.index("job d starts") < said.index("job c starts")


def test_a_job_that_asks_for_more_than_the_group_has_runs_alone(group, tmp_path):
    level = [{name: {"script": "mkdir alone; sleep 0.1; rmdir alone", "asks": {"_cores": 9}}} for name in "ab"]
    assert outcome(group(level, cores=2))[0] == 0


def test_after_term_nothing_more_starts_and_jobs_have_their_time(group, tmp_path):
    """The agent sends TERM to all processes. Those that clean up are waited for."""
    # A shell that has just forked and not yet started its program loses a signal, so the program itself is `here`.
    clean = "trap 'sleep 0.3; touch cleaned; exit 1' TERM; sh -c 'touch here; exec sleep 1000' & wait"
    process = group([{"a": clean}], [{"b": "touch never"}])
    wait_until((tmp_path / "here").exists, 10)
    os.killpg(process.pid, signal.SIGTERM)
    assert outcome(process)[0] == 143
    assert (tmp_path / "cleaned").exists() and not (tmp_path / "never").exists()


def test_after_term_connected_jobs_end_although_they_lead_process_groups(group, tmp_path):
    write = {"script": "touch here; sleep 1000 > stream", "pipes": ["stream"]}
    process = group([{"write": write, "read": "cat stream; sleep 1000"}])
    wait_until((tmp_path / "here").exists, 10)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    assert outcome(process)[0] == 143 and time.monotonic() - began < 4
    assert not (tmp_path / "stream").exists()


def test_jobs_side_by_side_have_gpus_of_their_own(group, tmp_path, monkeypatch):
    """The group holds three GPUs. The third job waits for one of them, and the last job asks for none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    meet = "touch NAME.here; until [ -e one.here ] && [ -e two.here ]; do sleep 0.05; done; "
    level = []
    for name, gpus, first in (("one", 1, meet), ("two", 2, meet), ("three", 1, ""), ("none", 0, "")):
        script = f"{first}echo $CUDA_VISIBLE_DEVICES > NAME".replace("NAME", name)
        level.append({name: {"script": script, "asks": {"_cores": 1, "gpu": gpus}}})
    code, said = outcome(group(level, gpu=3))
    assert code == 0, said
    one, two, three, none = [(tmp_path / name).read_text().split() for name in ("one", "two", "three", "none")]
    assert sorted(f"{one[0]},{two[0]}".split(",")) == ["0", "2", "5"] and len(two[0].split(",")) == 2
    assert three[0] in ("0", "2", "5") and none == []
