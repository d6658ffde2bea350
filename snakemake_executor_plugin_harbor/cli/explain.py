"""Explain why a job is where it is, or why it waits, from the events in the journal."""

import argparse
import json
import time
from pathlib import Path

from ..store.journal_reader import find_job, open_run, reason_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="a job's number, as in `harbor status`")


def run(arguments: argparse.Namespace) -> int:
    reader = open_run(Path.cwd())
    job = find_job(reader, arguments.job)
    story = reader.rows("SELECT at, attempt, what, node, detail FROM events WHERE job = ? ORDER BY rowid", job["id"])
    if arguments.json:
        shown = {"id": job["jobid"], "rule": job["rule"], "state": job["state"], "reason": reason_of(job)}
        print(json.dumps({**shown, "node": job["node"], "events": story}))
        return 0
    wildcards = " ".join(f"{k}={v}" for k, v in json.loads(job["wildcards"] or "{}").items())
    print(f"job {job['jobid']}: rule {job['rule']} {wildcards}".rstrip())
    for event in story:
        at = time.strftime("%H:%M:%S", time.localtime(event["at"]))
        where = f" on {event['node']}" if event["node"] else ""
        why = f": {event['detail']}" if event["detail"] else ""
        print(f"  {at}  attempt {event['attempt']}  {event['what']}{where}{why}")
    if job["state"] == "queued" and job["waiting"]:
        print("it waits because:")
        for reason in job["waiting"].split("; "):
            print(f"  {reason}")
    return 0
