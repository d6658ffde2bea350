"""Snakemake's benchmark files, written from measurements of the node."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def is_wanted(job: Any) -> bool:
    """Return True if the job has a benchmark file and harbor writes it.

    Snakemake writes no benchmark for `run:`, notebooks and CWL tools here, because the Snakemake on the node does so.
    """
    return bool(job.benchmark) and not (job.is_run or job.is_notebook or job.is_cwl)


def repeats(job: Any) -> int | None:
    """Return how often a job with a benchmark file is run, or None for a job without one."""
    return (job.benchmark_repeats or 1) if job.benchmark else None


def complete(workflow: Any, jobs: Iterable[Any]) -> None:
    """Write the benchmark files of jobs of a group. The node has left there what it has measured.

    A Snakemake that has run the group has written the files themselves.
    """
    for job in jobs:
        if job.benchmark and (steps := _measured(Path(str(job.benchmark)))) is not None:
            write(workflow, job, steps)


def _measured(path: Path) -> list[dict[str, Any]] | None:
    """What the program in agent/group.py has written."""
    text = path.read_text("utf-8", "replace")
    return json.loads(text)["harbor"] if text.startswith('{"harbor"') else None


def write(workflow: Any, job: Any, steps: Iterable[Mapping[str, Any]]) -> None:
    """Write the rule's benchmark file with one line per repeat.

    Each step holds what the node's kernel counted (wait4) for one repeat. If the agent has not started the job itself,
    the step holds only the duration.
    """
    from snakemake.benchmark import BenchmarkRecord, write_benchmark_records

    records = []
    for step in steps:
        seconds = max(1e-4, float(step.get("end", 0)) - float(step.get("start", 0)))
        cpu = float(step.get("cpu_s") or 0.0)
        record = BenchmarkRecord(
            running_time=seconds,
            max_rss=step.get("max_rss_mb"),
            # The kernel does not keep these peaks for a process that has ended.
            max_vms="NA",
            max_uss="NA",
            max_pss="NA",
            io_in=step.get("in_mb"),
            io_out=step.get("out_mb"),
            cpu_usage=100 * cpu,
            cpu_time=cpu,
        )
        record.jobid, record.rule_name = job.jobid, job.rule.name
        record.wildcards, record.params = job.wildcards, job.params
        record.resources, record.input, record.threads = job.resources, job.input, job.threads
        record.data_collected = "cpu_s" in step
        record.process_gone = True  # Snakemake then writes NA without a warning.
        records.append(record)
    write_benchmark_records(records, str(job.benchmark), workflow.output_settings.benchmark_extended)
