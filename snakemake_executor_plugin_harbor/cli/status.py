"""Show jobs by state, running jobs with node and progress, the nodes, and the time left.

With names of jobs, show these jobs instead, also if they have ended.
"""

import argparse
import json
import time
from typing import Any

from ..core.job_names import job_title
from ..core.model import without_name
from ..views.status import status, transfer_text
from .noted_table import NotedTable
from .run_option import add_run_option, chosen_run

ORDER = ("running", "starting", "placed", "queued", "unreachable", "cancelling", "succeeded", "failed", "cancelled")
SHOWN = 30
TRANSFERS = 3
"""So many transfers of a node are shown."""
"""The table shows at most this many running jobs, because a pool of hundreds of slots does not fit a screen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_option(parser)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="a job's number or rule, a case, or RULE:CASE")
    parser.add_argument("--watch", action="store_true", help="repeat until the run ends; Ctrl-C stops watching")
    parser.add_argument("--every", type=float, default=1.0, metavar="S", help="seconds between refreshes (default 1)")


def run(arguments: argparse.Namespace) -> int:
    reader = chosen_run(arguments)
    if arguments.json:
        print(json.dumps(status(reader, names=arguments.jobs)))
        return 0
    from rich.console import Console

    console = Console()

    def draw(now: dict[str, Any]) -> Any:
        return named_jobs(now, time.time()) if arguments.jobs else picture(now, time.time())

    if not arguments.watch:
        console.print(draw(status(reader, whole=False, names=arguments.jobs)))
        return 0
    from rich.live import Live

    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            now = status(reader, whole=False, names=arguments.jobs)
            live.update(draw(now), refresh=True)
            if now["state"] != "running":
                break
            time.sleep(arguments.every)
    console.print(draw(status(reader, whole=False, names=arguments.jobs)))
    return 0


def picture(now: dict[str, Any], at: float) -> Any:
    """Return the screen: a head line, the nodes, the running jobs and the failed jobs."""
    from rich.console import Group

    parts = [_head(now, at), _nodes(now)]
    running = [j for j in now["jobs"] if j["state"] in ("running", "starting", "unreachable", "cancelling")]
    if running:
        parts.append(_running(running, at))
    failed = [j for j in now["jobs"] if j["state"] in ("failed", "cancelled")]
    if failed:
        parts.append(_failed(failed))
    return Group(*parts)


def named_jobs(now: dict[str, Any], at: float) -> Any:
    """Return the screen for jobs that the user has named: a head line, and each job with its state and its reason."""
    from rich.console import Group
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("job", "rule", "wildcards", "state", "node"):
        table.add_column(name)
    table.add_column("for", justify="right")
    table.add_column("progress")
    shown = NotedTable(table, "wildcards")
    for job in now["jobs"]:
        wildcards = " ".join(f"{name}={value}" for name, value in job["wildcards"].items())
        took = clock((job["ended"] or at) - job["started"]) if job["started"] else "-"
        progress = job["progress"]
        done = f"{progress['done']:g}/{progress['total']:g}" if progress else "-"
        reason = (job["reason"].splitlines() or [""])[0]
        cells = (job["id"], job["rule"], wildcards, job["state"], job["node"] or "-", took, done)
        shown.add_row(*cells, note=reason)
    return Group(_head(now, at), shown)


def _head(now: dict[str, Any], at: float) -> Any:
    from rich.text import Text

    counts = now["counts"]
    words = [f"{counts[state]} {state}" for state in ORDER if counts.get(state)]
    head = Text(f"harbor run {now['run']}: {now['state']}", style="bold")
    if now["started"]:
        head.append(f", {clock((now['ended'] or at) - now['started'])}", style="not bold")
    if now["total"]:
        head.append(f"   {counts.get('succeeded', 0)} of {now['total']} jobs done", style="not bold")
    head.append("\n" + (", ".join(words) or "no job yet"), style="not bold")
    if now["eta_s"] is not None and now["state"] == "running":
        head.append(f"   about {clock(now['eta_s'])} left", style="not bold")
    return head


def _nodes(now: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("node", no_wrap=True)
    table.add_column("state")
    for name in ("jobs", "slots", "cores", "busy", "others"):
        table.add_column(name, justify="right")
    table.add_column("memory free", justify="right")
    shown = NotedTable(table, "node")
    for node in now["nodes"]:
        style = "" if node["state"] == "ready" else "red" if node["state"] == "rejected" else "yellow"
        busy, ours = node["busy"], node["ours"]
        others = None if busy is None else max(0.0, busy - (ours or 0.0))
        shown.add_row(
            node["name"],
            node["state"],
            str(node["running"]),
            _or_dash(node["slots"]),
            _or_dash(node["cores"]),
            "-" if busy is None else f"{busy:.1f}",
            "-" if others is None else f"{others:.1f}",
            memory(node["mem_available_mb"]),
            note=first_line(node) or _transfers(node),
            style=style,
        )
    return shown


def first_line(node: dict[str, Any]) -> str:
    """Return the first line of a node's reason without the node's name, which stands before it already."""
    lines: list[str] = node["reason"].splitlines()
    return without_name(node["name"], lines[0]) if lines else ""


def _transfers(node: dict[str, Any]) -> str:
    """Return the transfers of files to and from a node in one line."""
    texts = [f"job {one['job']}: {transfer_text(one)}" for one in node["transfers"]]
    return "; ".join(texts[:TRANSFERS]) + f"; {len(texts) - TRANSFERS} more" * (len(texts) > TRANSFERS)


def _running(jobs: list[dict[str, Any]], at: float) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("job", "rule", "wildcards", "node"):
        table.add_column(name, no_wrap=True)
    table.add_column("for", justify="right")
    table.add_column("progress", width=22)
    table.add_column("")
    shown = NotedTable(table, "wildcards")
    for job in jobs[:SHOWN]:
        progress = job["progress"]
        bar = ProgressBar(progress["total"], progress["done"], width=20) if progress else "-"
        done = f"{progress['done']:g}/{progress['total']:g}" if progress else ""
        state = "" if job["state"] == "running" else job["state"]
        since = clock(at - job["started"]) if job["started"] else "-"
        attempt = f".{job['attempt']}" if job["attempt"] > 1 else ""
        wildcards = " ".join(f"{k}={v}" for k, v in job["wildcards"].items())[:40]
        cells = (f"{job['id']}{attempt}", job["rule"], wildcards, job["node"], since, bar, f"{done} {state}".strip())
        stalled = f"stalled: {job['reason']}" if job["stalled"] else ""
        shown.add_row(*cells, note=stalled, style="yellow" if stalled else "")
    if len(jobs) > SHOWN:
        shown.add_row("", f"... {len(jobs) - SHOWN} more")
    return shown


def _failed(jobs: list[dict[str, Any]]) -> Any:
    from rich.text import Text

    text = Text()
    for job in jobs[-5:]:
        title = job_title(job["rule"], job["wildcards"])
        text.append(f"{job['state']}: job {job['id']} ({title}) on {job['node'] or 'no node'}: ", style="red")
        text.append(f"{job['reason'].splitlines()[0] if job['reason'] else ''}\n")
    last = jobs[-1]["id"]
    text.append(f"harbor log {last}   # its output      harbor explain {last}   # its events", style="dim")
    return text


def clock(seconds: float) -> str:
    """Format seconds as `1:02:03`, or as `2:03` below an hour."""
    whole = max(0, int(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def memory(mb: int | None) -> str:
    """Format MiB as GiB with one decimal."""
    return "-" if mb is None else f"{mb / 1024:.1f} GiB"


def _or_dash(value: Any) -> str:
    return "-" if value is None else str(value)
