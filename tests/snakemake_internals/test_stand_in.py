"""The stand-in for Snakemake in a script behaves as Snakemake's own classes and functions."""

import base64
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import snakemake_executor_plugin_harbor.snakemake_internals.node_python as node_python
from tests.agent.conftest import pythons

FOLDER = Path(node_python.__file__).parent / "stand_in"
CLASSES = ("InputFiles", "OutputFiles", "Wildcards", "Params", "ResourceList", "Log", "Namedlist")
NAMES = st.sampled_from(["a", "b", "sort", "index", "long_name"])
ITEMS = st.dictionaries(NAMES, st.one_of(st.text(), st.integers(), st.lists(st.text(), max_size=3)), max_size=4)


def module(name: str) -> types.ModuleType:
    """Return a file of the stand-in as a module."""
    made = types.ModuleType(name)
    exec(compile((FOLDER / f"{name}.py").read_text(), name, "exec"), made.__dict__)
    return made


CONTAINERS, FORMATTING = module("containers"), module("formatting")


def seen(value, names):
    """Return what a script can see of a named list."""
    return (
        *(type(value).__name__, list(value), list(value.items()), list(value.keys()), str(value), len(value)),
        *(value[1:], value[::-1], hash(str(value)), [value.get(name, 5) for name in ("a", "sort", "none")]),
        *([value[name] for name in names], [getattr(value, name) for name in names]),
    )


@given(st.sampled_from(CLASSES), st.lists(st.text(), max_size=3), ITEMS)
def test_a_named_list_is_as_snakemakes(name, unnamed, named):
    from snakemake import iocontainers

    lists = []
    for classes in (iocontainers, CONTAINERS):
        made = getattr(classes, name)(toclone=unnamed)
        made.update(named)
        if unnamed:
            made._set_name("slice", 0, len(unnamed))
        lists.append(made)
    theirs, ours = ([*seen(made, named), type(made)(toclone=made).get("slice")] for made in lists)
    assert ours == theirs
    with (
        pytest.raises(ValueError, match="already exists") if named else pytest.raises(AttributeError, match="reserved")
    ):
        lists[1].update(named or {"keys": 1})


@pytest.mark.parametrize(
    "text",
    [
        "{a}",
        "{a:q}",
        "{b:q} {b}",
        "{c} {c:q}",
        "{d[k]}",
        "{e.real}",
        "{empty:q}|",
        "{{x}}",
        "{0} {0:q}",
        "{e:>5}",
        "{w}",
    ],
)
def test_text_is_formatted_as_by_snakemake(text):
    from snakemake.iocontainers import Wildcards
    from snakemake.utils import format as theirs

    values = {"a": "it's", "b": ["x y", "z"], "c": {"one"}, "d": {"k": [1, "2 3"]}, "e": 4, "empty": ""}
    FORMATTING.Wildcards = Wildcards
    values["w"] = Wildcards(fromdict={"x": "1", "b": "2"})
    for quote_all in (False, True):
        assert FORMATTING.format(text, "p q", _quote_all=quote_all, **values) == theirs(
            text, "p q", _quote_all=quote_all, **values
        )


def test_the_variables_of_the_caller_are_known_and_others_are_an_error():
    word = "a b"
    assert FORMATTING.format("{word:q} {pickle.__name__}") == f"'{word}' pickle"
    with pytest.raises(NameError, match="The name 'unknown' is unknown in this context"):
        FORMATTING.format("{unknown}")


@pytest.fixture(params=pythons(), ids=lambda path: Path(path).resolve().name)
def run(request, tmp_path):
    """Run a program after the stand-in, in the oldest and the newest Python of this machine, without its packages."""

    def run(code: str, **more: bytes) -> str:
        file = tmp_path / "script.py"
        file.write_text(node_python.with_stand_in("# start\n") + "\n" + code)
        argv = [request.param, "-I", "-S", str(file)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
        return done.stdout

    return run


def test_modules_of_snakemake_that_are_there_and_that_are_not(run):
    found = run(
        "import snakemake\n"
        "from snakemake.logging import logger\n"
        "from snakemake.iocontainers import Snakemake\n"
        "from snakemake.utils import format, makedirs\n"
        "from snakemake import shell\n"
        "import snakemake.shell as module_or_function\n"
        "from snakemake.shell import shell as same\n"
        "snakemake_module = snakemake\n"
        "snakemake = 5\n"
        "from snakemake.script import snakemake as imported\n"
        "assert shell is same is module_or_function is snakemake_module.shell\n"
        "print(imported, snakemake_module.__version__, logger.name, shell('echo {imported}', read=True).strip())\n"
        "try:\n    from snakemake.dag import DAG\nexcept ImportError as error:\n    print(error)\n"
    )
    import snakemake

    first, second = found.splitlines()
    assert first == f"5 {snakemake.__version__} snakemake.logging 5"
    assert second.startswith("No module named 'snakemake.dag'. This Python (") and "has no Snakemake" in second


@pytest.mark.parametrize(
    ("module", "name", "stands"), [("pathlib._local", "PurePosixPath", True), ("zlib9", "Odd", False)]
)
def test_classes_that_another_version_names_differently_and_classes_that_are_missing(run, module, name, stands):
    """Python 3.13 writes `pathlib._local` into pickles."""
    data = f"c{module}\n{name}\n(Va\ntR.".encode()
    found = run(
        f"import pickle\nprint(pickle.loads(harbor_stand_in.checked({data!r}, {[(module, name, 'params.p')]})))"
    )
    if stands:
        assert found == "a\n"
    else:
        assert found.startswith("harbor: params.p is an object of the class zlib9.Odd, which this Python (")


def test_params_that_snakemake_converts_need_their_package(run):
    from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, ResourceList, Snakemake, Wildcards

    params = Params(fromdict={"plain": 1, "table": [[1]]})
    made = Snakemake(
        InputFiles(), OutputFiles(), params, Wildcards(), 1, ResourceList(), Log(), {"c": {1: "d"}}, "r", None, "/s"
    )
    made._params_types = {1: "np.ndarray"}
    found = run(
        f"import pickle\nsnakemake = pickle.loads({node_python.pickled(made, [])})\n"
        "print(snakemake.config, snakemake.rule)\nsnakemake.params\n"
    )
    assert found.startswith("{'c': {1: 'd'}} r\n")
    assert "harbor: params.table is an object of the class np.ndarray, which this Python (" in found


def test_file_names_with_flags_become_texts():
    from snakemake.io import temp

    value = temp("a b")
    assert type(value) is not str and type(pickle.loads(node_python._classes([value])[0])[0]) is str


def test_directories_of_the_workflow_stay_on_the_search_path_and_those_of_this_python_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packages = sorted(path for path in node_python._PATH_AT_START if path)
    mine = ["/workflow/elsewhere", str(tmp_path), str(tmp_path / "lib")]
    environment = [str(tmp_path / ".venv/lib/python3.11/site-packages"), str(Path(sys.executable).parent)]
    assert node_python.workflow_paths([*packages, *environment, *mine]) == mine


def test_the_stand_in_is_on_one_line_without_the_end_of_a_bracket_string_of_hy():
    line = node_python._stand_in()
    assert "\n" not in line and "]]" not in line
    (code,) = re.findall(r"a2b_base64\('([^']+)'\)", line)
    assert "class Namedlist" in base64.b64decode(code).decode()
