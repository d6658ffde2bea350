"""Every name of Snakemake that harbor uses without a promise is there, and a missing one is reported."""

import ast
import importlib
import inspect
import sys
import time
import tomllib
from pathlib import Path

import pytest

import snakemake_executor_plugin_harbor as harbor
from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.snakemake_internals import capture, verify
from snakemake_executor_plugin_harbor.snakemake_internals.contract import NAMES, NEWEST, OLDEST, Feature, Kind, Name
from tests.snakemake_internals.releases import supported

PACKAGE = Path(harbor.__file__).parent
CODE_NAMES = [name for name in NAMES if name.kind is not Kind.TEXT]
RULE = 'rule one:\n    output: "one"\n    shell: "touch {output}"\n'


def owner_of(name: Name) -> object:
    """The class or module, which is imported if need be."""
    module, _, owner = name.owner.partition(":")
    importlib.import_module(module)
    return getattr(sys.modules[module], owner) if owner else sys.modules[module]


def shown(names: list[Name]) -> list[str]:
    return [name.shown for name in names]


@pytest.fixture(autouse=True)
def nothing_is_switched_off():
    before = set(verify._missing)
    yield
    verify._missing.clear()
    verify._missing.update(before)


@pytest.mark.parametrize("name", CODE_NAMES, ids=lambda name: name.shown)
def test_the_name_is_there(name):
    owner_of(name)
    missing = [one for one in verify.missing_names(verify.imported_owner, []) if one == name]
    assert not missing


@pytest.mark.parametrize("name", [name for name in NAMES if name.kind is Kind.TEXT], ids=lambda name: name.name)
def test_the_text_is_in_the_source(name):
    assert name.name in inspect.getsource(owner_of(name))


@pytest.mark.parametrize("name", CODE_NAMES, ids=lambda name: name.shown)
def test_a_missing_name_is_found(name):
    stand_in = type("StandIn", (), {})
    found = verify.missing_names(lambda wanted: stand_in if wanted == name.owner else verify.NOT_IMPORTED, [])
    assert name.shown in shown(list(found))


@pytest.mark.parametrize(
    "name", [name for name in CODE_NAMES if name.kind is Kind.METHOD and name.parameters], ids=lambda name: name.shown
)
def test_a_method_with_other_parameters_is_found(name):
    stand_in = type("StandIn", (), {name.name: lambda something, else_: None})
    found = verify.missing_names(lambda wanted: stand_in if wanted == name.owner else verify.NOT_IMPORTED, [])
    assert name.shown in shown(list(found))


def test_the_oldest_release_is_the_one_that_pip_accepts():
    requirements = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"snakemake>={OLDEST[0]}.{OLDEST[1]},<10" in requirements
    assert supported()[0] == f"{OLDEST[0]}.{OLDEST[1]}" and supported()[-1] == f"{NEWEST[0]}.{NEWEST[1]}"


def test_a_class_or_module_that_is_gone_is_found():
    assert verify.imported_owner("snakemake.jobs:Gone") is None
    assert verify.imported_owner("snakemake.gone") is None and verify.imported_owner("snakemake.gone.too:X") is None


def test_the_installed_snakemake_has_everything_and_the_check_is_cheap(load):
    workflow = load(RULE)
    warnings = []
    verify.verify(workflow, warnings.append)
    verify._names_in_code.cache_clear()
    begun = time.process_time()
    verify.verify(workflow, warnings.append)
    assert time.process_time() - begun < 0.005 and warnings == []
    assert all(verify.has(feature) for feature in Feature)


def test_without_a_name_that_every_run_needs_the_run_ends(load, monkeypatch):
    from snakemake.scheduling.job_scheduler import JobScheduler

    workflow = load(RULE)
    monkeypatch.delattr(JobScheduler, "_free_resources")
    with pytest.raises(HarborError) as error:
        verify.verify(workflow, print)
    text = str(error.value)
    assert "has no JobScheduler._free_resources(job), which harbor needs to give jobs back" in text
    assert "Harbor was tested with Snakemake 9." in text and "pip install 'snakemake>=9." in text


def test_an_attribute_that_a_live_object_lacks_is_found(load, monkeypatch):
    workflow = load(RULE)
    monkeypatch.delattr(workflow, "_onerror")
    with pytest.raises(HarborError, match=r"no Workflow\._onerror, which harbor needs to end"):
        verify.verify(workflow, print)


def test_without_a_name_that_only_speed_needs_one_line_is_logged(load, monkeypatch):
    import snakemake.jobs
    import snakemake.shell  # noqa: F401

    workflow = load(RULE)
    job = next(iter(workflow.dag.jobs))
    assert capture.obstacle(job) is None
    monkeypatch.delattr(sys.modules["snakemake.shell"], "sp")
    monkeypatch.delattr(sys.modules["snakemake.shell"], "os")
    warnings = []
    verify.verify(workflow, warnings.append)
    verify.verify(workflow, warnings.append)
    assert len(warnings) == 1 and "so a Snakemake on the node runs each job" in warnings[0]
    assert not verify.has(Feature.DIRECT) and verify.has(Feature.SHADOW)
    assert "this version of Snakemake lacks" in capture.obstacle(job)


def attributes(path: Path) -> set[str]:
    """The attributes that a file reads or sets, except the functions of modules of `snakemake_internals`."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules = {
        alias.asname or alias.name for node in imports if node.module == "snakemake_internals" for alias in node.names
    }
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in modules)
    }


def defined(path: Path) -> set[str]:
    """The names that a file gives to its own functions, classes, attributes and modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    return found


HOLDERS = ("snakemake_internals", "stand_in", "agent")
"""Folders that may use names of Snakemake, or that run on nodes."""


def others() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.parent.name not in HOLDERS]


def test_no_other_file_imports_snakemake():
    for path in others():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            assert not [name for name in names if name.split(".")[0] == "snakemake"], path


def test_no_other_file_uses_a_name_of_the_table():
    """Names that harbor defines itself, or that the plugin interfaces promise as well, cannot be told apart here."""
    own = {name for path in others() for name in defined(path)}
    # The interfaces promise these of jobs and executors. Enums have "value", nodes of `ast` have "targets", and "os" is
    # the module.
    promised = {"attempt", "resources", "output", "envvars", "logger", "value", "targets", "os"}
    table = {name.name for name in CODE_NAMES} - own - promised
    assert {"_free_resources", "_open_jobs", "params", "wildcards_dict", "run_func"} <= table
    for path in others():
        used = attributes(path) & table
        assert not used, path.relative_to(PACKAGE)


def test_every_internal_name_with_an_underscore_is_in_the_table():
    """What the folder reads of Snakemake's private names has a row."""
    own = {name for path in (PACKAGE / "snakemake_internals").glob("*.py") for name in defined(path)}
    modules = {name for path in (PACKAGE / "snakemake_internals").glob("*.py") for name in attributes(path)}
    private = {name for name in modules if name.startswith("_") and not name.startswith("__")} - own
    assert private <= {name.name for name in NAMES}
