"""Imports between the folders of the package: a closed table, no circles, a cheap import and a pure core."""

import ast
import subprocess
import sys
from pathlib import Path

import snakemake_executor_plugin_harbor as harbor

ROOT = Path(harbor.__file__).parent
MAY_IMPORT = {
    "__init__": {"plugin"},
    "plugin": {"executor", "config"},
    "executor": {"session", "jobs", "config", "snakemake_internals", "core"},
    "session": {"jobs", "run", "staging", "remote", "store", "config", "snakemake_internals", "core"},
    "jobs": {"run", "staging", "store", "config", "snakemake_internals", "core"},
    "run": {"remote", "store", "core"},
    "staging": {"remote", "core"},
    "remote": {"core"},
    "store": {"core"},
    "views": {"store", "core"},
    "cli": {"views", "store", "remote", "config", "snakemake_internals", "core"},
    "config": {"core"},
    "core": set(),
    "snakemake_internals": set(),
    "agent": set(),
    "errors": set(),
}
"""Each folder and each loose file of the package, and what it may import besides itself and `errors`."""
IMPURE = {"os", "time", "threading", "socket", "subprocess", "logging", "pathlib", "random", "queue", "sqlite3"}
DATA = ROOT / "data"
"""The wheel holds the workflow and the examples there. They are no part of the package."""
FILES = {path.relative_to(ROOT).with_suffix("").parts: path for path in ROOT.rglob("*.py") if DATA not in path.parents}


def imports(path):
    """(names of outside modules, files of the package) that a file imports, at any place in it."""
    outside, inside = set(), set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            outside.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            base = tuple(part for part in base if part)
            for alias in node.names:
                inside.add(next(name for name in ((*base, alias.name), base, (*base, "__init__")) if name in FILES))
    return outside, inside


def test_every_folder_and_file_is_listed():
    assert {name[0] for name in FILES} == set(MAY_IMPORT)


def test_imports_follow_the_table():
    wrong = [
        f"{'/'.join(name)} imports {'/'.join(other)}"
        for name, path in FILES.items()
        for other in imports(path)[1]
        if other[0] not in MAY_IMPORT[name[0]] | {name[0], "errors"}
    ]
    assert not wrong


def test_no_files_import_each_other_in_a_circle():
    graph = {name: imports(path)[1] for name, path in FILES.items()}
    while free := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in free}
    used = set().union(*graph.values()) if graph else set()
    assert not {"/".join(name) for name in graph.keys() & used}


def test_the_core_is_pure():
    for name, path in FILES.items():
        if name[0] == "core":
            assert not imports(path)[0] & IMPURE, path.name


def test_the_agent_imports_nothing_of_ours():
    for name, path in FILES.items():
        if name[0] == "agent":
            assert "snakemake_executor_plugin_harbor" not in imports(path)[0], path.name


def test_importing_the_plugins_is_cheap():
    code = "import sys, snakemake_executor_plugin_harbor.plugin, snakemake_scheduler_plugin_harbor; print(*sys.modules)"
    found = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not found & {"paramiko", "psutil", "yaml", "rich", "sqlite3", "snakemake"}


def test_a_command_imports_no_interface_of_snakemake_and_no_other_command():
    code = "import sys\nfrom snakemake_executor_plugin_harbor.cli import main\n"
    code += "try: main(['history', '--help'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.splitlines()[-1].split())
    assert not found & {"paramiko", "yaml", "rich", "asyncio", "snakemake_interface_executor_plugins"}
