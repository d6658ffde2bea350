"""The keys `directory`, `words`, `pre_class` and `post_class` of a sweep are checked before anything runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

import step  # noqa: E402
import sweep_config  # noqa: E402
import sweep_specs  # noqa: E402

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
GOOD = {
    "template": "template",
    "directory": "runs/tmp_{case}",
    "words": {"BASE": "/base"},
    "cases": [{"case": "a", "ARG-1": "1"}, {"case": "b", "ARG-1": "2 3"}],
    "run": "./run ARG-1 BASE {x} CASE",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for directory in ("template", "runs", "src"):
        Path(directory).mkdir()
    Path("template/run").write_text("#!/bin/sh\necho run\n")
    return tmp_path


def load(more=None, **changes):
    sweep = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return sweep_config.load({"sweeps": {"s": sweep, **(more or {})}}, SCHEMA)["s"]


MISTAKES = {
    "no {case}": ({"directory": "runs/tmp"}, "sweeps.s.directory: 'runs/tmp' must contain {case}"),
    "no parent": ({"directory": "none/tmp_{case}"}, "sweeps.s.directory: there is no directory "),
    "in the template": ({"directory": "template/{case}"}, "of the case a lies in the template"),
    "in the results": ({"directory": "results/s/{case}"}, None),
    "no template": ({"template": None}, "sweeps.s.template: is missing"),
    "class without words": (
        {"post_class": "src.post", "words": None},
        "sweeps.s.words: is missing; post_class needs it",
    ),
    "both": ({"post_class": "src.post", "post": "true"}, "sweeps.s: both post and post_class are given"),
    "directory and class": ({"pre_class": "src.pre"}, "sweeps.s.directory: with pre_class, TARGET_DIR"),
    "no module": ({"post_class": "src.post"}, "sweeps.s.post_class: there is no module src.post: "),
    "names of parameters": ({"words": None}, "'ARG-1' is not a name for a parameter"),
    "two sweeps": ({"more": {"t": GOOD}}, "sweeps.t: the cases a of s and a of t have one directory, "),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_names_its_key(changes, message):
    if message is None:
        Path("results/s").mkdir(parents=True)
        message = "of the case a lies in results/s"
    with pytest.raises(sweep_config.SweepError) as error:
        load(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.getcwd()", "contains the working directory"),
        ("os.path.dirname(os.getcwd())", "contains the working directory"),
        ("os.getcwd() + '/template'", "contains the template"),
        ("'/'", "contains the working directory"),
        ("'tmp'", "whose TARGET_DIR is 'tmp'; it must be the absolute path"),
        ("None", "whose TARGET_DIR is None; it must be the absolute path"),
    ],
)
def test_a_class_cannot_name_a_directory_that_holds_something_else(target, message):
    Path("src/pre.py").write_text(
        "import os\nfrom src.x import AbstractPreProcessor, Request\n"
        "class PreProcessor(AbstractPreProcessor):\n    def generateRequest(self, case, values):\n"
        f"        self.pushRequest(Request(dict(values, TARGET_DIR={target}), {{}}))\n"
    )
    with pytest.raises(sweep_config.SweepError) as error:
        load(pre_class="src.pre", directory=None)
    assert message in str(error.value)


PRE = """
from src.x import AbstractPreProcessor, Request
class PreProcessor(AbstractPreProcessor):
    def generateRequest(self, case, values):
        for name in {names}:
            values = dict(values, REQ_NAME=name, TARGET_DIR=f"/base/{{case}}_{{self.getReqNum()}}")
            self.pushRequest(Request(values, {{}}))
"""


@pytest.mark.parametrize(
    ("names", "cases"),
    [
        ('["x"]', ["a", "b"]),
        ('[case + "x", case + "y"]', ["ax", "ay", "bx", "by"]),
        ('["x", "x"]', ["a.1", "a.2", "b.1", "b.2"]),
        ('["a/b", "c"]', ["a.1", "a.2", "b.1", "b.2"]),
        ('["x"] if case == "b" else []', ["b"]),
    ],
)
def test_each_request_is_a_case(names, cases):
    Path("src/pre.py").write_text(PRE.format(names=names))
    sweep = load(pre_class="src.pre", directory=None)
    assert [case.name for case in sweep.cases] == cases
    silent = "sweeps.s.pre_class: 1 cases do not run, as generateRequest pushes no request for them: a"
    assert (silent in sweep_config.warnings(sweep)) == (cases == ["b"])
    again = sweep_config.load({"sweeps": {"s": {**GOOD, "directory": "runs/{case}"}}}, SCHEMA)["s"]
    assert not any("do not run" in line for line in sweep_config.warnings(again))


def test_two_requests_with_one_directory_are_refused():
    Path("src/pre.py").write_text(PRE.format(names='["x", "y"]').replace("_{self.getReqNum()}", ""))
    with pytest.raises(sweep_config.SweepError, match="the cases x of s and y of s have one directory, /base/a"):
        load(pre_class="src.pre", directory=None, cases=[{"case": "a", "x": 1}])


def test_words_become_values_without_quotes(here):
    spec = json.loads(sweep_specs.step(load(), load().cases[1], "run"))
    assert spec["directory"] == f"{here}/runs/tmp_b" == spec["values"]["TARGET_DIR"]
    line = spec["commands"][0]["line"]
    assert step.argv(spec["commands"][0], spec) == ["bash", "-c", "./run 2 3 /base {x} CASE"], line
    assert step.with_words("X  X\tXY 'X' \"X y\" x=X", {"X": "1 2"}) == "1 2  1 2\tXY 'X' \"X y\" x=X"


def test_each_attempt_starts_from_a_fresh_copy_and_the_results_link_to_it(here):
    sweep = load()
    for directory in ("results/s/cases", "results/s/.steps/run"):
        Path(directory).mkdir(parents=True)
    spec = sweep_specs.step(sweep, sweep.cases[0], "run")
    command = [sys.executable, str(SCRIPTS / "step.py"), "run", spec, "template", "results/s/cases/a"]
    for _ in range(2):
        Path("template/run").chmod(0o755)
        run = subprocess.run([*command, "results/s/.steps/run/a", "log"], capture_output=True, text=True, check=False)
        assert run.returncode == 0 and run.stdout == "run\n", run.stderr
        assert os.readlink("results/s/cases/a") == f"{here}/runs/tmp_a"
        assert {path.name for path in Path("runs/tmp_a").iterdir()} == {"run", "stdout", "stderr"}
        Path("runs/tmp_a/left").touch()
    os.rename("runs", "gone")
    run = subprocess.run([*command, "results/s/.steps/run/a", "log"], capture_output=True, text=True, check=False)
    assert run.returncode == 1 and f"has no directory {here}/runs" in run.stderr
