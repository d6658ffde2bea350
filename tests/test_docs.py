"""What the docs say is what the code says."""

import ast
import re
import runpy
from dataclasses import fields
from functools import cache
from pathlib import Path

from snakemake_executor_plugin_harbor.cli import COMMANDS
from snakemake_executor_plugin_harbor.config.settings import ExecutorSettings

DOCS = Path(__file__).parents[1] / "docs"


def test_the_diagrams_are_those_of_the_tables():
    drawn = runpy.run_path(str(DOCS / "draw_states.py"))["page"]()
    assert (DOCS / "states.md").read_text() == drawn + "\n", "type: python docs/draw_states.py > docs/states.md"


def test_the_list_of_options_is_that_of_the_settings():
    listed = runpy.run_path(str(DOCS / "list_options.py"))["page"]()
    assert (DOCS / "options.md").read_text() == listed + "\n", "type: python docs/list_options.py > docs/options.md"


def test_every_command_is_documented():
    text = (DOCS / "further.md").read_text()
    for name in COMMANDS:
        assert f"`harbor {name}" in text, name


def test_commands_and_options_that_the_docs_name_exist():
    options = {"--harbor-" + field.name.replace("_", "-") for field in fields(ExecutorSettings)}
    for page in (DOCS.parent / "README.md", DOCS.parent / "config/README.md", *DOCS.glob("*.md")):
        text = page.read_text()
        named = set(re.findall(r"`harbor ([a-z]+)", text)) | set(re.findall(r"--harbor-[a-z-]*[a-z]", text))
        assert named <= {*COMMANDS} | options, f"{page.name}: {named - {*COMMANDS} - options}"


def test_every_setting_has_a_help_text():
    assert all(field.metadata["help"] for field in fields(ExecutorSettings))


def test_the_help_of_every_setting_shows_its_choices_and_its_default():
    for field in fields(ExecutorSettings):
        told = " ".join((field.metadata["help"], field.metadata.get("metavar", "")))
        assert all(choice in told for choice in field.metadata.get("choices", ())), field.name
        shown = field.name == "password" or "Default: " in told
        assert shown, field.name
        if isinstance(field.default, (int, float, str, Path)):
            assert f"Default: {field.default}." in told, field.name


def test_files_that_the_docs_name_exist():
    root = DOCS.parent
    package = root / "snakemake_executor_plugin_harbor"
    for page in (root / "CONTRIBUTING.md", DOCS / "architecture.md", DOCS / "further.md", DOCS / "clusters.md"):
        for name in re.findall(r"`([\w/.]+(?:\.(?:py|md|yaml|yml)|/))`", page.read_text()):
            found = name.startswith(".snakemake/") or any((place / name).exists() for place in (root, package))
            assert found, f"{page.name}: {name}"


def test_every_statement_of_a_tool_that_harbor_replaces_has_a_test_that_exists():
    page = (DOCS / "replaces.md").read_text()
    tables = re.split(r"^\| statement[^|]*\| here \| test \|\n\|[-|]+\|\n", page, flags=re.MULTILINE)[1:]
    rows = [row for table in tables for row in table.split("\n\n")[0].splitlines()]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([\w/.]+\.py)::(test_\w+)`", row.rpartition(" | ")[2])
        assert named, f"docs/replaces.md: no test: {row}"
        for file, name in named:
            assert name in functions(DOCS.parent / file), f"docs/replaces.md: there is no {file}::{name}"


@cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text() if path.exists() else "")
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
