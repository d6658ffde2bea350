"""`harbor import` writes the sweep and the hosts, replaces nothing, and shows the next command."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from snakemake_executor_plugin_harbor.cli import main

CONFIG = """
[PATH]
BASE_PATH = runs
BASE_TMP = runs/base
[CONFIG_OPT]
--remote_enable = 1
--sim_params = SIZE
[SERVER_LIST]
ada = 4 carol 2222
grace = 8
[CMD_LIST]
RUN = ./mul SIZE
[SIM_LIST]
A = 1
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/base").mkdir(parents=True)
    Path("mat.cfg").write_text(CONFIG)


def test_hosts_get_a_file_that_the_next_command_names(capsys):
    assert main(["import", "mat.cfg", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    words = shlex.split(shown.pop("command"))
    hosts = ["4/carol@ada:2222", "8/grace"]
    assert shown == {
        "sweep": "mat",
        "cases": 1,
        "config": "config/config.yaml",
        "hosts": hosts,
        "hostfile": "config/hosts",
    }
    assert Path("config/hosts").read_text().splitlines() == ["# From mat.cfg", *hosts]
    assert yaml.safe_load(Path("config/config.yaml").read_text())["sweeps"]["mat"]["run"] == ["./mul SIZE"]
    named = dict(zip(words[1::2], words[2::2], strict=True))
    assert named["--harbor-hostfile"] == "config/hosts" and "--configfile" not in named
    assert (Path(named["--profile"]) / "config.yaml").is_file() and Path(named["--snakefile"]).is_file()


def test_nothing_is_replaced_without_force(capsys):
    assert main(["import", "mat.cfg", "-o", "other.yaml"]) == 0
    assert "Type: snakemake" in (text := capsys.readouterr().out) and text.rstrip().endswith("--configfile other.yaml")
    assert main(["import", "mat.cfg", "-o", "other.yaml"]) == 0, "the same text is no loss"
    Path("hosts").write_text("mine\n")
    Path("mat.cfg").write_text(CONFIG + "B = 2\n")
    before = Path("other.yaml").read_text()
    assert main(["import", "mat.cfg", "-o", "other.yaml"]) == 1
    assert "other.yaml exists, and `harbor import` does not replace it." in capsys.readouterr().err
    assert Path("other.yaml").read_text() == before and Path("hosts").read_text() == "mine\n"
    assert main(["import", "mat.cfg", "-o", "other.yaml", "--force"]) == 0
    assert Path("other.yaml").read_text() != before and Path("hosts").read_text() != "mine\n"


def test_a_mistake_is_one_sentence(capsys):
    Path("mat.cfg").write_text(CONFIG.replace("./mul SIZE", "./mul Size"))
    assert main(["import", "mat.cfg"]) == 1
    assert capsys.readouterr().err.startswith("harbor: mat.cfg:12: [CMD_LIST] RUN: Size is no parameter; did you mean")
    assert not Path("config").exists()
    Path("config").touch()
    Path("mat.cfg").write_text(CONFIG)
    assert main(["import", "mat.cfg"]) == 1
    assert "config/config.yaml cannot be written: " in capsys.readouterr().err
