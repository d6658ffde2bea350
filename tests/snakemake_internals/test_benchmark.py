"""Benchmark files from the measurements of a node."""

from snakemake_executor_plugin_harbor.snakemake_internals import benchmark

RULES = """
    rule one:
        output: "one"
        benchmark: repeat("bench.tsv", 2)
        shell: "touch {output}"

    rule run:
        output: "run"
        benchmark: "run.tsv"
        run: pass

    rule none:
        output: "none"
        shell: "touch {output}"

    rule all:
        default_target: True
        input: "one", "run", "none"
"""


def test_one_line_per_repeat(load, tmp_path, monkeypatch):
    workflow = load(RULES)
    monkeypatch.chdir(tmp_path / "work")
    jobs = {job.rule.name: job for job in workflow.dag.jobs}
    assert [benchmark.repeats(jobs[name]) for name in ("one", "run", "none")] == [2, 1, None]
    assert [benchmark.is_wanted(jobs[name]) for name in ("one", "run", "none")] == [True, False, False]
    measured = {"start": 10.0, "end": 12.5, "cpu_s": 1.25, "max_rss_mb": 7.0, "in_mb": 1.0, "out_mb": 2.0}
    benchmark.write(workflow, jobs["one"], [measured, {"start": 10.0, "end": 11.0}])
    header, first, second = [line.split("\t") for line in (tmp_path / "work/bench.tsv").read_text().splitlines()]
    row = dict(zip(header, first, strict=True))
    assert float(row["s"]) == 2.5 and float(row["cpu_time"]) == 1.25 and float(row["max_rss"]) == 7
    assert float(row["mean_load"]) == 50 and (float(row["io_in"]), float(row["io_out"])) == (1, 2)
    row = dict(zip(header, second, strict=True))
    assert float(row["s"]) == 1 and row["max_rss"] in ("NA", "-"), "the agent knows only how long this one took"
