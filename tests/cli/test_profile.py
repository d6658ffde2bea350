"""`harbor profile` installs a profile that Snakemake finds by its name."""

import json
from pathlib import Path

import pytest
from snakemake.cli import parse_args

from snakemake_executor_plugin_harbor.cli import main
from snakemake_executor_plugin_harbor.config.hostfile import read_hostfile


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the user's profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "home/snakemake"


def hosts_of(profile: str) -> list[tuple[str, int | None]]:
    """The hosts that Snakemake's own parser of options finds by the profile's name."""
    _, found = parse_args(["--profile", profile])
    assert found.executor == "harbor" and found.scheduler == "harbor"
    return [(node.name, node.slots) for node in read_hostfile(Path(found.harbor_hostfile))]


def test_snakemake_finds_the_profile_by_name(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--hosts", "8/ada,bob", "carol@grace:2222"]) == 0
    told = capsys.readouterr().out
    assert hosts_of("harbor") == [("ada", 8), ("bob", None), ("grace", None)]
    assert str(profiles / "harbor/hosts") in told and "carol@grace:2222" in told
    assert told.endswith("  harbor doctor --profile harbor\n  snakemake --profile harbor\n")
    assert "harbor nodes --profile harbor" in (profiles / "harbor/hosts").read_text()


@pytest.mark.parametrize(
    ("name", "text", "file"),
    [("nodes.yaml", "ada: {slots: 8}\n", "hosts.yaml"), ("nodes.txt", "ada: 8/10.0.0.1\n", "hosts")],
)
def test_a_host_file_is_copied(name: str, text: str, file: str, profiles: Path) -> None:
    Path(name).write_text(text)
    assert main(["profile", "lab", "--hostfile", name, "--json"]) == 0
    assert (profiles / "lab" / file).read_text() == text and hosts_of("lab") == [("ada", 8)]


def test_only_force_overwrites(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--hosts", "ada"]) == 0
    assert main(["profile", "--hosts", "bob", "8/eve"]) == 1
    told = capsys.readouterr().err
    assert f"{profiles}/harbor/config.yaml exists" in told
    assert "Try: harbor profile harbor --force --hosts bob 8/eve" in told and hosts_of("harbor") == [("ada", None)]
    assert main(["profile", "--hosts", "bob", "--force"]) == 0 and hosts_of("harbor") == [("bob", None)]


def test_a_profile_with_another_file_is_not_shadowed(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Snakemake prefers this file to config.yaml."""
    (profiles / "lab").mkdir(parents=True)
    own = profiles / "lab/config.v9+.yaml"
    own.write_text("cores: 3\n")
    assert main(["profile", "lab", "--local"]) == 1
    assert f"{own} exists" in capsys.readouterr().err and own.read_text() == "cores: 3\n"
    assert main(["profile", "lab", "--local", "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == [str(own)]
    assert parse_args(["--profile", "lab"])[1].harbor_hosts == ["localhost"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Try: harbor profile harbor --hosts 8/ada"),
        (["--hosts", "0/ada"], "SLOTS must be"),
        (["--hosts", "ada", "ada"], "twice"),
        (["--hosts", ","], "no machines are given"),
        (["--hosts", "slurm"], "snakemake --profile harbor --harbor-hosts slurm"),
        (["--hostfile", "nowhere"], "nowhere cannot be read"),
        (["--hostfile", "bad"], "bad:2"),
        (["none", "--local"], "'none' cannot be the name"),
        (["../up", "--local"], "'../up' cannot be the name"),
        (["file", "--local"], "file"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    words: list[str], told: str, profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad").write_text("ada\nb@d@\n")
    profiles.mkdir(parents=True)
    (profiles / "file").write_text("cores: 3\n")
    assert main(["profile", *words]) == 1
    assert told in capsys.readouterr().err
    assert [path.name for path in profiles.iterdir()] == ["file"]
