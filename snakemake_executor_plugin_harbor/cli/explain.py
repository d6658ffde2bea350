"""Explain why a job is where it is, or why it waits, from the events in the journal.

If a case has several steps, all of them are explained.
"""

import argparse
import json
import time
from typing import Any

from ..core.model import JobState
from ..store.journal_reader import JournalReader, reason_of
from ..views.find_jobs import find_case, latest_step, named
from ..views.status import status, transfer_text
from .run_option import add_run_option, chosen_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_option(parser)
    parser.add_argument("job", metavar="JOB", help="a job's number or rule, a case, or RULE:CASE")


def run(arguments: argparse.Namespace) -> int:
    reader = chosen_run(arguments)
    jobs = find_case(reader, arguments.job, "harbor explain")
    stories = [_story(reader, job) for job in jobs]
    if arguments.json:
        facts = [_facts(job, story) for job, story in zip(jobs, stories, strict=True)]
        print(json.dumps({**facts[jobs.index(latest_step(jobs))], "steps": facts}))
        return 0
    for job, story in zip(jobs, stories, strict=True):
        _explain(reader, job, story)
    return 0


def _story(reader: JournalReader, job: dict[str, Any]) -> list[dict[str, Any]]:
    return reader.rows("SELECT at, attempt, what, node, detail FROM events WHERE job = ? ORDER BY rowid", job["id"])


def _facts(job: dict[str, Any], story: list[dict[str, Any]]) -> dict[str, Any]:
    shown = {"id": job["jobid"], "rule": job["rule"], "wildcards": json.loads(job["wildcards"] or "{}")}
    return {**shown, "state": job["state"], "reason": reason_of(job), "node": job["node"], "events": story}


def _explain(reader: JournalReader, job: dict[str, Any], story: list[dict[str, Any]]) -> None:
    wildcards = " ".join(f"{name}={value}" for name, value in named(job).wildcards.items())
    print(f"job {job['jobid']}: rule {job['rule']} {wildcards}".rstrip())
    for event in story:
        at = time.strftime("%H:%M:%S", time.localtime(event["at"]))
        where = f" on {event['node']}" if event["node"] else ""
        why = f": {event['detail']}" if event["detail"] else ""
        print(f"  {at}  attempt {event['attempt']}  {event['what']}{where}{why}")
    for transfer in _transfers(reader, job):
        print(f"  {time.strftime('%H:%M:%S')}  attempt {transfer['attempt']}  {transfer_text(transfer)}")
    if job["state"] == JobState.QUEUED and job["waiting"]:
        print("it waits because:")
        for reason in job["waiting"].split("; "):
            print(f"  {reason}")
    if job["state"] == JobState.UNREACHABLE:
        print(_silent(reader, job["node"], story[-1]["at"]))


def _transfers(reader: JournalReader, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the transfers of the job's files that are under way."""
    now = status(reader, whole=False)
    return [one for node in now["nodes"] for one in node["transfers"] if one["job"] == job["jobid"]]


def _silent(reader: JournalReader, node: str, since: float) -> str:
    """Return how long a job waits for its node, which does not answer, and how to end the wait."""
    facts = reader.facts()
    lost_after, fence_wait = facts.get("lost_after", 0), facts.get("fence_wait", 0)
    left = max(0.0, since + lost_after + fence_wait - time.time())
    return (
        f"{node} does not answer, and the job may still run there. It starts elsewhere in {left:.0f} s at the latest\n"
        f"(--harbor-lost-after {lost_after:g}, then --harbor-fence-wait {fence_wait:g}), if another node answers.\n"
        f"If {node} is dead, it starts at once with:  harbor forget {node}"
    )
