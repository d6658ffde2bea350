"""`harbor nodes` and `harbor doctor` take the nodes from their options, a profile or the last run."""

import argparse
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.cli import node_options
from snakemake_executor_plugin_harbor.config.pool_config import PoolConfig
from snakemake_executor_plugin_harbor.errors import HarborError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)


def config(*words: str) -> PoolConfig:
    parser = argparse.ArgumentParser()
    node_options.add_arguments(parser)
    return node_options.chosen_config(parser.parse_args(words))


def names(*words: str) -> list[str]:
    return [node.name for node in config(*words).nodes]


def profile(directory: Path, text: str, name: str = "config.yaml") -> str:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)
    return str(directory)


def test_options(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("eve\n")
    assert names("--hosts", "8/ada", "bob") == ["ada", "bob"]
    assert names("--hostfile", "hosts", "--hosts", "ada") == ["eve", "ada"]
    got = config("--hosts", "ada", "--transport", "openssh", "--scratch", "/local/tmp", "--ssh-config", "~/c")
    assert (got.transport, got.scratch, got.ssh_config) == ("openssh", "/local/tmp", Path("~/c").expanduser())


def test_a_profile_and_its_files(tmp_path: Path) -> None:
    directory = profile(tmp_path / "lab", "harbor-hosts: ada,bob\nharbor-hostfile: hosts\nharbor-transport: openssh\n")
    (tmp_path / "lab" / "hosts").write_text("eve\n")
    assert names("--profile", directory) == ["eve", "ada", "bob"]
    assert config("--profile", directory).transport == "openssh"
    assert names("--profile", directory, "--hosts", "ivy") == ["ivy"], "options override the profile"
    assert names("--profile", directory, "--hostfile", "lab/hosts") == ["eve"]


@pytest.mark.parametrize(
    ("text", "why"), [("- a\n", "it has no keys"), ("a: [", "cannot be read"), ("\0", "cannot be")]
)
def test_a_bad_profile(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(HarborError, match=why):
        config("--profile", profile(tmp_path / "lab", text))


def test_a_profile_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "home/snakemake").mkdir(parents=True)
    directory = profile(tmp_path / "home/snakemake/lab", "harbor-hostfile: hosts\n")
    Path(directory, "hosts").write_text("eve\n")
    assert names("--profile", "lab") == names("--profile", f"{directory}/config.yaml") == ["eve"]
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "lab")
    assert names() == ["eve"], "as Snakemake, where there is no run"
    with pytest.raises(HarborError, match="harbor profile --hosts"):
        config("--profile", "other")


def test_nothing_to_take_nodes_from(tmp_path: Path) -> None:
    with pytest.raises(HarborError, match=r"there is no config\.yaml"):
        config("--profile", str(tmp_path))
    with pytest.raises(HarborError, match="has no run") as caught:
        config()
    assert str(tmp_path) in str(caught.value) and "harbor nodes --hosts" in str(caught.value)
