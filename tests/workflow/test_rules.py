"""The rules in special cases: updates of the workflow, modules, names with braces, no matplotlib."""

import re
import shutil
from pathlib import Path

import pytest

from tests.snakemake.harness import Workdir

ROOT = Path(__file__).parents[2]
LOCAL = ["--executor", "local", "--cores", "4", "--scheduler", "greedy"]
CONFIG = """
sweeps:
  my-sweep.1:
    template: template
    grid: {x: [1, 2]}
    run: "echo {x} >> ../../../../trace; cat 'a{b}'; echo '[{\\"y\\": {x}.50, \\"x\\": {x}}, {\\"y\\": 0.10}]' > r.json"
    result: r.json
    runtime: 2h
    progress: '(\\d{1,3})[/](\\d+) \\(x\\) {case}'
    plot: {x: x, y: y}
"""


@pytest.fixture
def project(tmp_path):
    work = Workdir(tmp_path / "project", "")
    (work.directory / "config").mkdir()
    (work.directory / "config/config.yaml").write_text(CONFIG)
    (work.directory / "template").mkdir()
    (work.directory / "template/a{b}").write_text("brace\n")
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    return work


def ran(work):
    trace = work.directory / "trace"
    lines = sorted(trace.read_text().split()) if trace.exists() else []
    trace.unlink(missing_ok=True)
    return lines


def test_an_update_of_the_workflow_runs_no_case_again_and_hides_no_change(project, tmp_path):
    here = project.directory
    snakefile = tmp_path / "workflow/Snakefile"

    def again(*options):
        run = project.run("-s", str(snakefile), *LOCAL, *options).expect(0)
        return ran(project), run.text

    lines, text = again("--config", "another=key")
    assert lines == ["1", "2"] and "progress=(\\d{1,3})[/](\\d+) \\(x\\) {case}" in text and "runtime=120" in text
    table = (here / "results/my-sweep.1/results.csv").read_bytes()
    assert table == b"case,x,y\nx=1,1,1.50\nx=1,1,0.10\nx=2,2,2.50\nx=2,2,0.10\n"
    shutil.move(tmp_path / "workflow", tmp_path / "moved")
    snakefile = tmp_path / "moved/Snakefile"
    with (tmp_path / "moved/scripts/step.py").open("a") as f:
        f.write("# a new version\n")
    config = here / "config/config.yaml"
    config.write_text(config.read_text().replace("[1, 2]", "[1, 3]"))
    assert again()[0] == ["3"]
    (here / "template/a{b}").write_text("changed\n")
    assert again()[0] == ["1", "3"]
    assert (here / "results/my-sweep.1/cases/x=1/stdout").read_text() == "changed\n"
    assert "Nothing to be done" in again()[1]


def test_as_a_module_of_another_workflow(project):
    (project.directory / "Snakefile").write_text(
        f"""
configfile: "config/config.yaml"
module harbor:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: config
use rule * from harbor as harbor_*
rule mine:
    default_target: True
    input: "results/my-sweep.1/results.csv"
    output: "copy"
    shell: "cp {{input}} {{output}}"
"""
    )
    text = project.run(*LOCAL).expect(0).text
    shown = r"rule harbor_my-sweep.1_collect:\n    input: [^ ]+/x=1, [^ ]+/x=1, [^ ]+/x=2, \.\.\. \(5 more\)\n"
    assert re.search(shown, text), "the log does not list all cases"
    assert ran(project) == ["1", "2"] and (project.directory / "copy").read_text().startswith("case,x,y\n")


def test_without_matplotlib_there_is_a_table_and_a_word(project):
    (project.directory / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    config = project.directory / "config/config.yaml"
    config.write_text(config.read_text().replace("cat 'a{b}'", "echo {xx}"))
    run = project.run("-s", str(ROOT / "workflow/Snakefile"), *LOCAL, env={"PYTHONPATH": str(project.directory)})
    assert "No plots will be made" in run.expect(0).text and "-m pip install matplotlib" in run.text
    assert '{xx} is no parameter and stays as it is; did you mean "x"?' in run.text
    assert project.files("results/my-sweep.1/results.csv") and not project.files("results/my-sweep.1/plot.*")


def test_a_result_that_is_missing_or_nonsense_says_so_and_runs_no_case_again(project):
    config = project.directory / "config/config.yaml"
    good = config.read_text()
    for result, text in (
        ("none.json", "case x=1 left no none.json"),
        ("stdout.json", "its stdout.json cannot be read"),
    ):
        config.write_text(
            good.replace("result: r.json", f"result: {result}").replace("; cat", "; echo > stdout.json; cat")
        )
        assert text in project.run("-s", str(ROOT / "workflow/Snakefile"), *LOCAL).expect(1).text
    assert ran(project) == ["1", "2"]


def test_columns_of_plots_are_checked_at_the_first_case_that_ends_and_each_plot_is_drawn(project):
    """The first case of the list starts first and is checked before the others have run."""
    pytest.importorskip("matplotlib", reason="the plots need it: pip install matplotlib")
    config, snakefile = project.directory / "config/config.yaml", str(ROOT / "workflow/Snakefile")
    good = CONFIG.replace("x: [1, 2]", "x: [5, 4, 3, 2, 1]").replace(
        "plot: {x: x, y: y}", "plot: [{x: x, y: y}, {x: x, y: x, color: y, kind: heatmap}]"
    )
    config.write_text(good.replace("color: y", "color: yy"))
    one = ["--executor", "local", "--cores", "1", "--scheduler", "greedy"]
    run = project.run("-s", snakefile, *one).expect(1)
    assert "sweeps.my-sweep.1.plot[1].color: there is no column 'yy'; did you mean \"y\"?" in run.text
    assert re.search(r"The columns are case, x, y \(cases that have ended: [12] of 5\)", run.text)
    # Snakemake may have started one more case before it knew that the check has failed.
    first = ran(project)
    assert "5" in first and len(first) <= 2 and not project.files("results/my-sweep.1/results.csv")
    config.write_text(good)
    assert "Traceback" not in project.run("-s", snakefile, *LOCAL).expect(0).text
    assert sorted(first + ran(project)) == ["1", "2", "3", "4", "5"]
    pictures = [f"plot-{number}.{kind}" for number in (1, 2) for kind in ("png", "svg")]
    assert project.files("results/my-sweep.1/plot*") == pictures
    config.write_text(good.replace("color: y", "color: x"))
    text = project.run("-s", snakefile, *LOCAL, "--dry-run").expect(0).text
    assert "my-sweep.1_plot-2" in text and "my-sweep.1_plot-1" not in text


def test_tables_of_any_size_and_cases_that_are_left_over(project):
    """Three cases have more values than one argument can hold. Two of them are removed again."""
    (project.directory / "config/config.yaml").write_text(
        "sweeps: {s: {template: template, cases: cases.csv, run: \"printf 'y\\n1\\n' > r.csv\", result: r.csv}}"
    )
    rows = [f"{name},{letter * 70_000}\n" for name, letter in (("a", "x"), ("b", "y"), ("c", "z"))]
    for count in (3, 1):
        (project.directory / "cases.csv").write_text("".join(["case,v\n", *rows[:count]]))
        run = project.run("-s", str(ROOT / "workflow/Snakefile"), *LOCAL).expect(0)
        want = ["case,v,y\n", *(row.replace("\n", ",1\n") for row in rows[:count])]
        assert (project.directory / "results/s/results.csv").read_text() == "".join(want)
        left = "results/s/cases still holds 2 cases that the configuration no longer has: b, c"
        assert (left in run.text) == (count == 1)
        if count == 3:
            assert re.search(r"reason: Missing .*results.csv; Input files updated .*, \.\.\. \(3 more\)\n", run.text)


def test_a_result_that_only_the_template_has_is_no_result(project):
    config = project.directory / "config/config.yaml"
    config.write_text(
        "sweeps: {s: {template: template, grid: {x: [1, 2]}, run: 'test {x} = 1 || cp r r.json', result: r.json}}"
    )
    for name in ("r", "r.json"):
        (project.directory / "template" / name).write_text('{"y": 99}')
    run = project.run("-s", str(ROOT / "workflow/Snakefile"), *LOCAL).expect(1)
    assert "case x=1 left no r.json: it is older than the case" in run.text and "case x=2" not in run.text
    assert '"parameters"' not in run.text, "the command that Snakemake shows does not hide the reason"
    config.write_text(config.read_text().replace("test {x} = 1 || ", ""))
    project.run("-s", str(ROOT / "workflow/Snakefile"), *LOCAL).expect(0)
    table = (project.directory / "results/s/results.csv").read_text()
    assert table == "case,x,y\nx=1,1,99\nx=2,2,99\n"
