"""The password is accepted from the environment only, however somebody spells the option."""

import os
import sys

import pytest

from snakemake_executor_plugin_harbor.config.password import PASSWORD_VARIABLE, pop_password
from snakemake_executor_plugin_harbor.config.settings import ExecutorSettings
from snakemake_executor_plugin_harbor.errors import HarborError

SECRET = "hunter2-secret"


def take(monkeypatch: pytest.MonkeyPatch, value: str | None, inherited: str | None, *argv: str) -> str | None:
    settings = ExecutorSettings(password=value)
    monkeypatch.setattr(sys, "argv", ["snakemake", *argv])
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    if inherited is not None:
        monkeypatch.setenv(PASSWORD_VARIABLE, inherited)
    try:
        return pop_password(settings)
    finally:
        assert settings.password is None and PASSWORD_VARIABLE not in os.environ


def test_from_the_environment(monkeypatch):
    assert take(monkeypatch, SECRET, SECRET, "--harbor-hosts", "ada") == SECRET
    assert take(monkeypatch, None, None) is None
    assert take(monkeypatch, "", "") is None


@pytest.mark.parametrize(
    ("inherited", "argv"),
    [
        (None, ["--harbor-password", SECRET]),
        (None, [f"--harbor-passwor={SECRET}"]),
        (None, ["--harbor-p", SECRET]),
        (SECRET, ["--harbor-pass", SECRET]),
        (None, []),  # a profile
        ("another", []),
    ],
)
def test_from_elsewhere(monkeypatch, inherited, argv):
    with pytest.raises(HarborError, match="from the environment only") as caught:
        take(monkeypatch, SECRET, inherited, *argv)
    assert SECRET not in str(caught.value)


def test_settings_do_not_show_it():
    assert SECRET not in repr(ExecutorSettings(password=SECRET))
