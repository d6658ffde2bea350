"""The command line that starts the agent works under every login shell that is installed here."""

import shutil
import signal
import subprocess

import pytest

from snakemake_executor_plugin_harbor.remote import bootstrap
from snakemake_executor_plugin_harbor.remote.bootstrap import bootstrap_command, bootstrap_input

WELCOME = {"t": "welcome", "v": 1, "run": "r", "node": "n", "scratch": None, "umask": 18, "nice": 0}


def reply(shell, line, scratch, **options):
    data = bootstrap_input({**WELCOME, "scratch": str(scratch)})
    return subprocess.run([shell, "-c", line], input=data, capture_output=True, timeout=30, check=False, **options)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "tcsh", "csh", "fish", "zsh", "ksh"])
def test_every_login_shell_passes_it_on(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    received = reply(shell, bootstrap_command(), tmp_path / "s")
    assert b'"t":"hello"' in received.stdout and b'"t":"ready"' in received.stdout, received.stderr


def test_it_is_one_line_that_begins_with_exec():
    line = bootstrap_command(setup="module load python")
    assert "\n" not in line and line.startswith("exec sh -c ") and "!" not in line and "\\" not in line


def test_setup_runs_first_and_a_python_can_be_named(tmp_path):
    received = reply("bash", bootstrap_command(setup="export FROM_SETUP='yes it did'; echo noise"), tmp_path / "s")
    assert received.stdout.startswith(b"noise\n") and b'"t":"ready"' in received.stdout
    received = reply("sh", bootstrap_command(python="/no/such/python"), tmp_path / "s")
    assert (
        received.returncode == 127
        and b"harbor: no-python: none of /no/such/python was found; PATH is" in received.stderr
    )


def test_no_python_at_all(tmp_path):
    (tmp_path / "sh").symlink_to("/bin/sh")
    line = bootstrap_command().replace("/usr/bin/python3", "/none").replace("/usr/local/bin/python3", "/none")
    received = reply("/bin/sh", line, tmp_path / "s", env={"PATH": str(tmp_path)})
    assert received.returncode == 127 and f"PATH is {tmp_path}".encode() in received.stderr


@pytest.mark.parametrize("size", [3, 20_000, -10])
def test_it_ends_if_the_rest_of_the_program_or_the_welcome_never_comes(tmp_path, monkeypatch, size):
    monkeypatch.setattr(bootstrap, "WELCOME_TIMEOUT_S", 1)
    data = bootstrap_input({**WELCOME, "scratch": str(tmp_path / "s")})[:size]
    with subprocess.Popen(["sh", "-c", bootstrap_command()], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(data)
        process.stdin.flush()
        assert process.wait(30) == -signal.SIGALRM


def test_an_agent_that_has_its_welcome_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "WELCOME_TIMEOUT_S", 1)
    data = bootstrap_input({**WELCOME, "scratch": str(tmp_path / "s")})
    with subprocess.Popen(["sh", "-c", bootstrap_command()], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(data)
        process.stdin.flush()
        while b'"t":"ready"' not in process.stdout.readline():
            assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.stdin.close()
        assert process.wait(30) == 0
