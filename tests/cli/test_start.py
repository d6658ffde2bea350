"""How `harbor start` keeps Snakemake alive after a logout. tests/snakemake/test_terminal.py starts real runs."""

import getpass
import os
import sys

import pytest

from snakemake_executor_plugin_harbor.cli import start
from snakemake_executor_plugin_harbor.store.output_log import output_log

SYSTEMD_RUN = """#!/bin/sh
[ "$1 $2 $3 $4" = "--user --scope --quiet --collect" ] || exit 1
shift 4
IN_SCOPE=yes exec "$@"
"""
"""systemd-run needs a manager of the user, which no container has. With --scope, it becomes the command, too."""


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Start a program that tells whether it is in a scope, and return how it was started, and its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(start, "LINGERING", tmp_path / "linger")
    (tmp_path / "bin").mkdir()
    (tmp_path / "linger").mkdir()

    def started():
        code = "import os; print(os.environ.get('IN_SCOPE'), os.getsid(0) == os.getpid(), os.isatty(0), flush=True)"
        run = start.Started([sys.executable, "-c", code])
        assert run.process.wait(30) == 0
        assert run.has_begun_or_ended() and run.reader is None
        return run.how, output_log(tmp_path).read_text().split()

    return started


def systemd_run(tmp_path, text):
    path = tmp_path / "bin/systemd-run"
    path.write_text(text)
    path.chmod(0o755)


def test_without_systemd_it_is_a_session_of_its_own(begin, tmp_path):
    (tmp_path / "linger" / getpass.getuser()).touch()
    systemd_run(tmp_path, "#!/bin/sh\necho no user manager >&2; exit 1\n")
    assert begin() == ("a session of its own", ["None", "True", "False"])


def test_a_user_who_lingers_gets_a_scope(begin, tmp_path):
    systemd_run(tmp_path, SYSTEMD_RUN)
    assert begin()[0] == "a session of its own", "systemd would end a scope at the logout"
    (tmp_path / "linger" / getpass.getuser()).touch()
    how, told = begin()
    assert "scope" in how and told == ["yes", "True", "False"]
