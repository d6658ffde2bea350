"""`harbor init` lays down projects that run as they are, and overwrites nothing."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from snakemake_executor_plugin_harbor.cli import main
from snakemake_executor_plugin_harbor.config.hostfile import read_hostfile
from snakemake_executor_plugin_harbor.config.shipped import shipped

HARBOR = ("-c", "import sys; from snakemake_executor_plugin_harbor.cli import main; sys.exit(main())")
SNAKEMAKE = ("-m", "snakemake", "--nocolor")
IMPORTED = """
[PATH]
BASE_PATH = runs
BASE_TMP = base
[CONFIG_OPT]
--remote_enable = 0
--sim_params = N
[LOCAL]
MAX_CORE = 2
[SERVER_LIST]
ada = 8 carol 2222
bob = 4
[CMD_LIST]
RUN = expr N + 1 > sum
[SIM_LIST]
a = 1
b = 2
"""
EXAMPLES = sorted(path.name for path in shipped("examples").iterdir())


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def run(*command: str, where: Path, home: Path) -> str:
    """Run Python to its end, and return its output. Profiles of the user are in `home`."""
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=where,
        env={**os.environ, "XDG_CONFIG_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_a_new_project_runs_as_it_is_and_without_a_clone(tmp_path: Path) -> None:
    """All processes start outside of the checkout. In .ci/run, they use the wheel."""
    project, home = tmp_path / "my sweep", tmp_path / "home"

    def cases() -> list[str]:
        with (project / "results/throw/results.csv").open() as table:
            return [row["case"] for row in csv.DictReader(table) if float(row["distance"]) > 1]

    told = run(*HARBOR, "init", "my sweep", where=tmp_path, home=home)
    assert told.endswith("  cd 'my sweep'\n  snakemake --profile profiles/local\n")
    laid = files(project)
    assert {"Snakefile", "README.md", "config/README.md", "profiles/pool/hosts", "profiles/local/config.yaml"} < {*laid}
    machine = (str(Path(__file__).parents[2]), str(shipped("workflow")), sys.prefix)
    assert not [name for name in laid if any(path in (project / name).read_text() for path in machine)]

    run(*SNAKEMAKE, "--profile", "profiles/local", where=project, home=home)
    assert cases() == [f"angle={angle}_drag={drag}" for angle in (30, 45, 60) for drag in ("0", "0.02")]

    config = project / "config/config.yaml"
    config.write_text(config.read_text().replace("angle: [30, 45, 60]", "angle: [30, 45]"))
    run(*HARBOR, "profile", "--local", where=project, home=home)
    told = run(*SNAKEMAKE, "--profile", "harbor", where=project, home=home)
    assert "throw_collect" in told and "throw_run" not in told
    assert "results/throw/cases still holds 2 cases" in told, "a module tells this too"
    assert len(cases()) == 4


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_becomes_a_project(example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "new"), "--json", "--example", example]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told["files"]) == [str(tmp_path / "new" / name) for name in files(tmp_path / "new")]
    for name in files(shipped("examples") / example):
        if not {".snakemake", "results", "__pycache__"} & {*Path(name).parts}:
            assert (tmp_path / "new" / name).read_bytes() == (shipped("examples") / example / name).read_bytes()
    assert {"Snakefile", "profiles/local/config.yaml", "profiles/pool/config.yaml"} < {*files(tmp_path / "new")}


def test_a_configuration_of_parallel_task_harbor_becomes_a_project_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "local.cfg").write_text(IMPORTED)
    (tmp_path / "remote.cfg").write_text(IMPORTED.replace("remote_enable = 0", "remote_enable = 1"))
    assert main(["init", "here", "--from", "local.cfg"]) == main(["init", "there", "--from", "remote.cfg"]) == 0
    told = capsys.readouterr().out
    assert "cd here\n  snakemake --profile profiles/local\n" in told
    assert "cd there\n  snakemake --profile profiles/pool\n" in told and "README.md" not in os.listdir("there")
    assert yaml.safe_load(Path("here/profiles/local/config.yaml").read_text())["harbor-hosts"] == "2/localhost"
    nodes = read_hostfile(Path("there/profiles/pool/hosts"))
    assert [(node.name, node.user, node.slots) for node in nodes] == [("ada", "carol", 8), ("bob", None, 4)]

    run(*SNAKEMAKE, "--profile", "profiles/local", where=tmp_path / "here", home=tmp_path / "home")
    assert [(tmp_path / f"runs/tmp_{case}/sum").read_text() for case in "ab"] == ["2\n", "3\n"]
    assert (tmp_path / "here/results/local/results.csv").read_text() == "case,N\na,1\nb,2\n"


def test_processors_stay_in_their_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(shipped("examples") / "parallel_task_harbor", project)
    shutil.rmtree(project / "config")
    (project / "README.md").write_text("mine")
    monkeypatch.chdir(project)
    source = "sim_config/local_mat_mul.cfg"
    assert main(["init", str(tmp_path / "other"), "--from", source]) == 1
    assert f"Try: harbor init . --from {source}" in capsys.readouterr().err and not (tmp_path / "other").exists()
    assert main(["init", ".", "--from", source]) == 0
    assert len(yaml.safe_load(Path("config/config.yaml").read_text())["sweeps"]["local_mat_mul"]["cases"]) == 100
    assert main(["init", ".", "--from", "nothing.cfg"]) == 1 and "nothing.cfg cannot be read" in capsys.readouterr().err


def test_the_default_example_and_a_name_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "new"), "--example"]) == 0
    assert (tmp_path / "new/template/mat_mul.py").exists()
    with pytest.raises(SystemExit) as ended:
        main(["init", "--example", str(tmp_path / "other")])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "there are " in told and "mat_mul" in told and "harbor init DIR --example" in told


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own").write_text("mine")
    (tmp_path / "Snakefile").symlink_to("nowhere")
    assert main(["init", str(tmp_path)]) == 1
    assert f"{tmp_path}/Snakefile exists" in capsys.readouterr().err and len([*tmp_path.iterdir()]) == 2
    (tmp_path / "Snakefile").unlink()
    (tmp_path / "scripts").write_text("mine")
    assert main(["init", str(tmp_path / "own")]) == 1
    assert "own" in (told := capsys.readouterr().err) and "cannot be written" in told and "Try: ls -ld" in told
    (tmp_path / "scripts").unlink()
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "own").read_text() == "mine" and f"  cd {tmp_path}\n" in capsys.readouterr().out
    assert main(["init", str(tmp_path)]) == 1
    assert "more) exist" in (told := capsys.readouterr().err) and f"Try: harbor init {tmp_path}/new_sweep" in told


def test_in_the_present_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "."]) == 0
    assert "cd " not in capsys.readouterr().out and (tmp_path / "Snakefile").exists()
