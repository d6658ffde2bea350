"""The workflow from a repository, as Snakemake's workflow catalog deploys it: `module: snakefile: github(...)`."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.snakemake.harness import Workdir

ROOT = Path(__file__).parents[2]
STARTED_BY_PEOPLE = {"scripts/show_table.py"}
SNAKEFILE = """
configfile: "config/config.yaml"

module harbor:
    snakefile: github("harbor-hpc/snakemake-executor-plugin-harbor", path="workflow/Snakefile", branch="main")
    config: config

use rule * from harbor
"""


def test_every_file_that_the_workflow_reads_is_fetched():
    named = set(re.findall(r'"((?:schemas|scripts)/.*)"', (ROOT / "workflow/rules/configuration.smk").read_text()))
    there = {str(path.relative_to(ROOT / "workflow")) for path in (ROOT / "workflow/scripts").glob("*.py")}
    assert named == there - STARTED_BY_PEOPLE | {"schemas/config.schema.yaml"}, "see FILES in configuration.smk"


def test_as_a_module_from_github(tmp_path):
    """Git takes a repository of this machine for the one on GitHub."""
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "workflow", repository / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True, timeout=30)
    home = tmp_path / "home"
    home.mkdir()
    address = "https://github.com/harbor-hpc/snakemake-executor-plugin-harbor"
    (home / ".gitconfig").write_text(f'[url "{repository}"]\n\tinsteadOf = {address}\n')
    work = Workdir(tmp_path / "work", SNAKEFILE)
    for name in ("config", "template", "scripts"):
        shutil.copytree(ROOT / "examples/start" / name, work.directory / name)
    options = ("--executor", "local", "--cores", "2", "--dry-run")
    run = work.run(*options, env={"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}).expect(0)
    assert re.search(r"throw_run +6\n", run.text) and not work.files("results/*")


def test_what_the_catalog_shows_is_there():
    """Its conditions are workflow/Snakefile, config/README.md and this file."""
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    for name in re.findall(r"profiles/\w+", str(usage)):
        assert (ROOT / name / "config.yaml").exists()
    assert (ROOT / "workflow/Snakefile").exists() and (ROOT / "config/README.md").exists()
