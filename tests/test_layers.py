"""Layers point down only, importing stays cheap, and the core is pure."""

import ast
import subprocess
import sys
from pathlib import Path

import snakemake_executor_plugin_harbor as harbor

ROOT = Path(harbor.__file__).parent
LOWER = {"core": {"core"}, "remote": {"core", "remote"}, "run": {"core", "remote", "run"}}
IMPURE = {"os", "time", "threading", "socket", "subprocess", "logging", "pathlib", "random", "queue", "sqlite3"}


def imports(path):
    """(absolute names, names within the package) that a file imports."""
    outside, inside = set(), set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            outside.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            first = (*base, *(node.module or "").split("."))[0] if base or node.module else ""
            inside |= {first} if first else {alias.name for alias in node.names}
    return outside, inside


def test_layers_point_down():
    for layer, allowed in LOWER.items():
        for path in (ROOT / layer).rglob("*.py"):
            _, inside = imports(path)
            above = inside & {"core", "remote", "run", "cli", "executor", "session", "command"} - allowed
            assert not above, f"{path.name} of {layer} imports {above}"


def test_the_core_is_pure():
    for path in (ROOT / "core").glob("*.py"):
        outside, _ = imports(path)
        assert not outside & IMPURE, path.name


def test_the_agent_imports_nothing_of_ours():
    for path in (ROOT / "agent").glob("*.py"):
        outside, inside = imports(path)
        assert not inside and "snakemake_executor_plugin_harbor" not in outside, path.name


def test_importing_the_plugins_is_cheap():
    code = "import sys, snakemake_executor_plugin_harbor, snakemake_scheduler_plugin_harbor; print(*sys.modules)"
    found = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not found & {"paramiko", "psutil", "yaml", "rich", "sqlite3", "snakemake"}
