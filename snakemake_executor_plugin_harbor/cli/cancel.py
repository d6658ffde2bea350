"""End jobs, also those that have not started yet. They fail as "cancelled by the user", and are not retried.

A case is cancelled with all of its steps. Jobs that need the results are not started. The next run of Snakemake starts
cancelled jobs again.
"""

import argparse
import json
from pathlib import Path

from ..core.job_names import job_title
from ..errors import HarborError
from ..store.control_socket import ask
from ..store.journal_reader import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="a job's number or rule, a case, or RULE:CASE")
    parser.add_argument("--rule", action="append", default=[], metavar="NAME", help="all jobs of this rule; repeatable")


def run(arguments: argparse.Namespace) -> int:
    if not arguments.jobs and not arguments.rule:
        raise HarborError("no job is named.", "harbor cancel JOB   # or harbor cancel --rule NAME")
    request = {"op": "cancel", "names": arguments.jobs, "rules": arguments.rule}
    answer = ask(open_run(Path.cwd()).path.parent, request)
    if arguments.json:
        print(json.dumps(answer))
        return 0
    for job in answer["jobs"]:
        print(f"job {job['id']} ({job_title(job['rule'], job['wildcards'])}) is cancelled")
    if not answer["keep_going"]:
        print("A cancelled job counts as failed, and the run has no --keep-going. So no other job is started.")
    return 0
