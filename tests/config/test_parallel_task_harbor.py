"""A configuration of Parallel-Task-Harbor is read, and the error for each mistake names file, line, section and key."""

from pathlib import Path

import pytest
import yaml

from snakemake_executor_plugin_harbor.config.hostfile import parse_hosts
from snakemake_executor_plugin_harbor.config.importers.parallel_task_harbor import read
from snakemake_executor_plugin_harbor.errors import HarborError

GOOD = """\
[PATH] 
BASE_PATH = runs
BASE_TMP = runs/base

[CONFIG_OPT]
--remote_enable = 0
--sim_params = BINARY ARG1 
--pre_proc = src.pre.mat
--post_proc = src.post.mat

[LOCAL]
MAX_CORE = 5

[SERVER_LIST]
ada = 4 carol 2222

[CMD_LIST]
# a comment
RUN = BINARY ARG1 >> run.log
COPY = cp run.log BASE_PATH && echo done

[SIM_LIST]
A_10 = ./mul 10
B_20 = "./mul 20"  'p q'
"""  # noqa: W291 - blanks at the end are usual


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for directory in ("runs/base", "src/pre", "src/post", "sim"):
        Path(directory).mkdir(parents=True)
    Path("src/pre/mat.py").write_text("from abc import *\nclass PreProcessor: pass\n")
    Path("src/post/mat.py").write_text("class PostProcessor(object): pass\n")
    return tmp_path


def config(*changes, text=GOOD):
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = Path("sim/mat.cfg")
    path.write_text(text)
    return path


def test_what_it_means(here):
    found = read(config())
    assert found.sweeps() == {
        "sweeps": {
            "mat": {
                "template": f"{here}/runs/base",
                "words": {"BASE_PATH": f"{here}/runs", "BASE_TMP": f"{here}/runs/base"},
                "cases": [
                    {"case": "A_10", "BINARY": "./mul", "ARG1": "10"},
                    {"case": "B_20", "BINARY": "./mul 20", "ARG1": "p q"},
                ],
                "run": ["BINARY ARG1 >> run.log && cp run.log BASE_PATH && echo done"],
                "pre_class": "src.pre.mat",
                "post_class": "src.post.mat",
            }
        }
    }
    assert found.hosts() == ["5/localhost"]
    assert yaml.safe_load(found.text()) == found.sweeps()


def test_without_processors_and_with_scripts(here):
    without = config(("--pre_proc = src.pre.mat\n", ""), ("--post_proc = src.post.mat\n", ""))
    sweep = read(without).sweeps()["sweeps"]["mat"]
    assert sweep["directory"] == f"{here}/runs/tmp_{{case}}" and not {"pre_class", "post_class", "pre"} & sweep.keys()
    assert yaml.safe_load(read(without).text()) == read(without).sweeps()
    Path("src/pre/make.sh").write_text("")
    sweep = read(config(("src.pre.mat", "src/pre/make.sh"), ("src.post.mat", "src/post/mat.py"))).sweeps()
    assert sweep["sweeps"]["mat"]["pre"] == "src/pre/make.sh"
    assert sweep["sweeps"]["mat"]["post_class"] == "src.post.mat", "a path of a file with the class is the class"


@pytest.mark.parametrize(
    ("limits", "remote", "hosts"),
    [
        ("[LOCAL]\nMAX_CORE = 5\n", 0, ["5/localhost"]),
        ("[RESOURCE]\nMAX_CORE = 7\n", 0, ["7/localhost"]),
        ("[SERVER_LIST]\nada = 4 carol 2222\ngrace = 8\n", 1, ["4/carol@ada:2222", "8/grace"]),
        ("[SERVER_LIST]\ncarol@ada = 4\ncarol@grace = 2 carol 22\n", 1, ["4/carol@ada", "2/carol@grace:22"]),
        ("[RESOURCE]\nMAX_CORE = 7\n10.0.0.7 = 4 carol\n", 1, ["4/carol@10.0.0.7"]),
        ("[LOCAL]\nMAX_CORE = 5\n[SERVER_LIST]\nada = 4 carol 22\n", 0, ["5/localhost"]),
    ],
)
def test_every_form_of_the_limits(here, limits, remote, hosts):
    middle = GOOD[GOOD.index("[LOCAL]") : GOOD.index("[CMD_LIST]")]
    found = read(config((middle, limits), ("enable = 0", f"enable = {remote}")))
    assert found.hosts() == hosts
    assert len(parse_hosts(found.hosts())) == len(hosts)


ORDER = "BINARY ARG1 \n"
MISTAKES = {
    "unknown section": (("[LOCAL]", "[LOCALS]"), ':11: [LOCALS]: unknown section; did you mean "LOCAL"?'),
    "DEFAULT is no section": (("[LOCAL]", "[DEFAULT]"), ":11: [DEFAULT]: unknown section"),
    "section missing": (("[SIM_LIST]\n", ""), "[SIM_LIST] is missing; it holds the cases"),
    "section twice": (("[LOCAL]", "[PATH]"), ":11: [PATH] is there twice"),
    "option twice": (("B_20", "A_10"), ":24: [SIM_LIST] A_10: the name is there twice"),
    "no section": (("[PATH] \n", ""), ":1: a [SECTION] must stand before the first option"),
    "no option": (("MAX_CORE = 5", "MAX_CORE"), ":12: 'MAX_CORE\\n' is not of the form `name = value`"),
    "percent": (("run.log\nCOPY", "`date +%s`\nCOPY"), ":19: [CMD_LIST] RUN: a % begins the name of another option"),
    "unknown option": (("--pre_proc", "--pre-proc"), ":8: [CONFIG_OPT] --pre-proc: unknown option; did you mean"),
    "option missing": (("--remote_enable = 0\n", ""), ":5: [CONFIG_OPT] --remote_enable: is missing"),
    "no value": (("--sim_params = BINARY ARG1", "--sim_params ="), ":7: [CONFIG_OPT] --sim_params: it has no value"),
    "remote": (("enable = 0", "enable = yes"), ":6: [CONFIG_OPT] --remote_enable: expected 0 (this machine) or 1"),
    "path missing": (("BASE_TMP", "BASE_TEMP"), None),
    "template missing": (("runs/base", "runs/none"), ":3: [PATH] BASE_TMP: there is no directory "),
    "run path missing": (("= runs\n", "= none\n"), ":2: [PATH] BASE_PATH: there is no directory "),
    "parameter twice": ((ORDER, "ARG1 ARG1\n"), ":7: [CONFIG_OPT] --sim_params: ARG1 is there twice"),
    "parameter is a path": ((ORDER, "BASE_TMP ARG1\n"), ":7: [CONFIG_OPT] --sim_params: BASE_TMP is the name of"),
    "too few values": (
        ("= ./mul 10", "= ./mul"),
        ":23: [SIM_LIST] A_10: 1 value (./mul), but --sim_params has 2 names (BINARY, ARG1).",
    ),
    "too many values": (
        ("= ./mul 10", "= ./mul 10 3"),
        ":23: [SIM_LIST] A_10: 3 values (./mul, 10, 3), but --sim_params has 2 names (BINARY, ARG1). Quotes make",
    ),
    "quote": (("= ./mul 10", '= "./mul 10'), ":23: [SIM_LIST] A_10: a quote is not closed, or text follows it"),
    "name of a case": (("A_10 =", "a/b ="), ":23: [SIM_LIST] a/b: it is not a name for a case"),
    "another case": (("= BINARY ARG1 >", "= BINARY Arg1 >"), ":19: [CMD_LIST] RUN: Arg1 is no parameter; did you mean"),
    "path, another case": (
        ("log BASE_PATH", "log base_path"),
        ":20: [CMD_LIST] COPY: base_path is no parameter; did you mean",
    ),
    "module": (("src.pre.mat", "src.pre.mad"), ":8: [CONFIG_OPT] --pre_proc: there is no module src.pre.mad: "),
    "class": (
        ("src.post.mat", "src.pre.mat"),
        ":9: [CONFIG_OPT] --post_proc: src/pre/mat.py has no class PostProcessor",
    ),
    "script": (("src.pre.mat", "src/pre/mad.sh"), ":8: [CONFIG_OPT] --pre_proc: there is no script: "),
    "no module": (("src.pre.mat", "src.pre-mat"), ":8: [CONFIG_OPT] --pre_proc: 'src.pre-mat' is neither the name"),
    "jobs": (("CORE = 5", "CORE = many"), ":12: [LOCAL] MAX_CORE: expected a number of jobs, got 'many'"),
    "unknown limit": (("MAX_CORE", "MAX_CORES"), ':12: [LOCAL] MAX_CORES: unknown option; did you mean "MAX_CORE"?'),
    "load": (("MAX_CORE", "MAX_LOAD"), ":12: [LOCAL] MAX_LOAD: unknown option; a limit of the load"),
    "memory": (("MAX_CORE", "MAX_MEM"), "--harbor-min-free-mem-mb"),
    "limits missing": (("[LOCAL]\nMAX_CORE = 5\n", ""), "[LOCAL] MAX_CORE: is missing; with --remote_enable = 0"),
    "host": (("ada = 4 carol 2222", "ada = x carol 2222"), ":15: [SERVER_LIST] ada: 'x/carol@ada:2222' is not a host"),
    "port": (("carol 2222", "carol ssh"), ":15: [SERVER_LIST] ada: '4/carol@ada:ssh' is not a host: PORT"),
    "host values": (("carol 2222", "carol 2222 1"), ":15: [SERVER_LIST] ada: 4 values; the form is `name"),
    "two users": (("ada = 4 carol", "bob@ada = 4 carol"), ":15: [SERVER_LIST] bob@ada: two users are given"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_names_its_place(here, change, message):
    path = config(change)
    if message is None:
        # The class decides which paths it needs.
        assert read(path).sweeps()["sweeps"]["mat"].keys().isdisjoint({"template", "directory"})
        change, message = ("--pre_proc = src.pre.mat\n", ""), ":1: [PATH] BASE_TMP: is missing; it is the folder to"
        path = config(change, text=path.read_text())
    with pytest.raises(HarborError) as error:
        read(path)
    assert message in str(error.value)
    assert "sim/mat.cfg" in str(error.value)


def test_the_list_of_hosts_is_needed_with_remote(here):
    path = config(("enable = 0", "enable = 1"), ("[SERVER_LIST]\nada = 4 carol 2222\n", ""))
    with pytest.raises(HarborError, match=r"\[SERVER_LIST\] is missing; with --remote_enable = 1"):
        read(path)


def test_a_file_that_is_none(here, monkeypatch):
    with pytest.raises(HarborError, match=r"none\.cfg cannot be read: No such file"):
        read(Path("none.cfg"))
    Path("sim/mat.cfg").write_bytes(b"\xff\xfe")
    with pytest.raises(HarborError, match="is not a text file in UTF-8"):
        read(Path("sim/mat.cfg"))
    Path("src/pre/mat.py").write_text("class PreProcessor:\n  def\n")
    with pytest.raises(HarborError, match=r"src/pre/mat.py:2 is no valid Python"):
        read(config())
    Path("src/pre/mat.py").write_text("class PreProcessor: pass\n")
    monkeypatch.chdir("runs")
    Path("runs/base").mkdir(parents=True)
    with pytest.raises(HarborError, match=f"there is no module src.pre.mat below .*\n  Try: cd {here}"):
        read(here / "sim/mat.cfg")
