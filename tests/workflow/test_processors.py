"""Classes that were written for Parallel-Task-Harbor, with and without a checkout of its modules."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
PRE = """
{imports}
class PreProcessor({base}):
    def __init__(self, paths):
        super().__init__()
        self.paths = paths
    def generateRequest(self, case, values):
        print("noise on stdout")
        for part in values["parts"].split(","):
            name = case + part
            self.pushRequest(Request(dict(values, REQ_NAME=name, TARGET_DIR=self.paths["BASE_PATH"] + "/tmp_" + name),
                                     {{"BASE_TMP": "x/*"}}))
    def modifyPrior(self, request):
        self._makeDir(request.getValue("TARGET_DIR"))
"""
IMPORTS = {
    "package": "from src import Request\nfrom src.pre_proc.preprocessor import AbstractPreProcessor",
    "modules": "from src.request import Request\nfrom src.pre_proc.x import PreProcessor as AbstractPreProcessor",
    "star": "from src.pre_proc.pre_proc import *\nfrom src.pre_proc.pre_proc import Request",
    "import": "import src.request\nRequest = src.request.Request\nAbstractPreProcessor = src.AnyPreProcessor",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("src/pre_proc").mkdir(parents=True)
    Path("runs").mkdir()
    return tmp_path


def module(imports=IMPORTS["package"], base="AbstractPreProcessor", changes=()):
    text = PRE.format(imports=imports, base=base)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("src/pre_proc/mine.py").write_text(text)


def call(*arguments, given=None):
    command = [sys.executable, str(SCRIPTS / "processors.py"), *arguments]
    text = json.dumps(given) if given else ""
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def generate(here, cases):
    asked = {"module": "src.pre_proc.mine", "paths": {"BASE_PATH": f"{here}/runs"}, "cases": cases}
    return call("generate", given=asked)


def names(run):
    assert run.returncode == 0, run.stderr
    return [[request["values"]["REQ_NAME"] for request in requests] for requests in json.loads(run.stdout)]


@pytest.mark.parametrize("imports", IMPORTS.values(), ids=IMPORTS)
@pytest.mark.parametrize("package", ["a folder", "with an empty __init__"])
def test_every_way_to_import_the_base_classes(here, imports, package):
    if package != "a folder":
        Path("src/__init__.py").touch()
    module(imports)
    assert names(generate(here, [["a", {"parts": "1,2"}], ["b", {"parts": "1"}]])) == [["a1", "a2"], ["b1"]]


def test_the_modules_of_a_checkout_come_first(here):
    Path("src/__init__.py").write_text("from .request import Request\n")
    Path("src/request.py").write_text(
        "class Request:\n    def __init__(self, values, copies):\n        self.own = values\n"
        "    def getValue(self, key):\n        return self.own.get(key, 'N')\n"
    )
    Path("src/pre_proc/preprocessor.py").write_text(
        "class AbstractPreProcessor:\n    def __init__(self):\n        self.queue = []\n"
        "    def pushRequest(self, r):\n        self.queue.append(r)\n"
        "    def pullRequest(self):\n        return self.queue.pop(0)\n"
        "    def getReqNum(self):\n        return len(self.queue)\n"
    )
    module()
    assert names(generate(here, [["a", {"parts": "1,2"}]])) == [["a1", "a2"]]


FAULTS = {
    "import": ("from src import Request", "import nothing_of_this_name", "the module src.pre_proc.mine failed: Mod"),
    "name": ("import Request", "import Server, Request", "ImportError: cannot import name 'Server' from 'src'"),
    "class": ("class PreProcessor", "class Other", "the module src.pre_proc.mine has no class PreProcessor"),
    "init": ("self.paths = paths", "self.paths = paths['NONE']", "PreProcessor of src.pre_proc.mine failed: KeyError"),
    "code": ('case + part', "case + 1", "generateRequest of src.pre_proc.mine for the case a failed: TypeError"),
    "exit": ('case + part', "exit(7)", "for the case a failed: SystemExit: 7"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_a_class_is_one_sentence_with_its_place(here, old, new, message):
    module(changes=[(old, new)])
    run = generate(here, [["a", {"parts": "1"}]])
    assert run.returncode == 1 and message in run.stderr and "Traceback" not in run.stderr
    assert "class" in message or "src/pre_proc/mine.py:" in run.stderr


def pre(here, case="a", number=0, directory="tmp_a1", names=("X",)):
    spec = {"case": case, "module": "src.pre_proc.mine", "paths": {"BASE_PATH": f"{here}/runs"}, "of": [case, number],
            "params": {"parts": "1,2"}, "names": names, "directory": f"{here}/runs/{directory}"}  # fmt: skip
    return call("pre", json.dumps(spec), "prepared", "request", "log")


def test_modify_prior_makes_what_each_attempt_gets_a_copy_of(here):
    make = 'self._makeDir(request.getValue("TARGET_DIR"))'
    more = "request.req_dict['X'] = 5; open(request.getValue('TARGET_DIR') + '/f', 'w')"
    module(changes=[(make, f"{make}; {more}")])
    run = pre(here, number=1, directory="tmp_a2")
    assert run.returncode == 0 and run.stderr == "", run.stderr
    assert os.listdir("prepared") == ["f"] and os.listdir("runs") == []
    found = json.loads(Path("request").read_text())
    assert found["values"]["REQ_NAME"] == "a2" and found["values"]["X"] == 5, (
        "values that modifyPrior has changed count"
    )
    assert "noise on stdout" in Path("log").read_text()
    assert "a: TARGET_DIR is " in pre(here, directory="tmp_other").stderr
    assert "has pushed 2 requests now" in pre(here, number=2).stderr
    module(changes=[(make, "pass")])
    assert (
        f"modifyPrior of src.pre_proc.mine has not made the directory {here}/runs/tmp_a2"
        in pre(here, number=1, directory="tmp_a2").stderr
    )
    module(changes=[(make, "1 / 0")])
    run = pre(here)
    assert run.stderr.startswith("case a: modifyPrior of src.pre_proc.mine failed: ZeroDivisionError")
    assert "Traceback" not in run.stderr and "Traceback" in Path("log").read_text()


def test_processors_run_one_after_the_other(here):
    body = (
        "import os, time\nclass PostProcessor:\n    def __init__(self, key):\n        self.key = key\n"
        "    def postProcess(self, r):\n        os.mkdir('busy')\n        time.sleep(0.1)\n        os.rmdir('busy')\n"
        "        open('trace', 'a').write(self.key + r.getValue('A') + r.getValue('none') + '\\n')\n"
    )
    Path("src/post.py").write_text(body)
    Path("ran").write_text("{}")
    spec = json.dumps({"case": "a", "module": "src.post", "values": {"A": "1"}, "copies": {}, "file": ""})
    command = [sys.executable, str(SCRIPTS / "processors.py"), "post", spec, "ran"]
    env = {**os.environ, "HARBOR_SWEEP_KEY": "key"}
    runs = [subprocess.Popen([*command, f"done{i}", f"log{i}"], env=env) for i in range(4)]
    assert [run.wait(30) for run in runs] == [0] * 4
    assert Path("trace").read_text() == "key1N\n" * 4
