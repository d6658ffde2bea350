"""A job's output: stdout and stderr of its latest attempt."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import HarborError
from ..run.control import ask
from ..run.status import ENDED, Reader, find_job, open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="a job's number, as in `harbor status`")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")


def run(arguments: argparse.Namespace) -> int:
    reader = open_run(Path.cwd())
    job = find_job(reader, arguments.job)
    if arguments.json:
        text = _file(job) if job["state"] in ENDED else _live(reader, job, 0)
        shown = {"id": job["jobid"], "attempt": job["attempt"], "node": job["node"], "log": job["log"]}
        print(json.dumps({**shown, "output": (text or b"").decode("utf-8", "replace")}))
        return 0
    seen = 0
    while True:
        job = find_job(reader, job["id"])
        ended = job["state"] in ENDED
        text = _file(job) if ended else _live(reader, job, seen)
        if text is None and not arguments.follow:
            raise HarborError(
                f"job {job['jobid']} is {job['state']}: it has no output yet.", "harbor explain " + job["jobid"]
            )
        fresh = (text or b"")[seen:] if ended else (text or b"")
        seen += len(fresh)
        sys.stdout.buffer.write(fresh)
        sys.stdout.buffer.flush()
        if ended or (not arguments.follow and not fresh):
            return 0
        if not fresh:
            time.sleep(0.3)


def _file(job: dict[str, Any]) -> bytes | None:
    try:
        return Path(job["log"]).read_bytes() if job["log"] else None
    except OSError as error:
        raise HarborError(f"the log of job {job['jobid']} cannot be read: {error}.") from error


def _live(reader: Reader, job: dict[str, Any], offset: int) -> bytes | None:
    """The output so far from `offset` on, read on the node through the running controller's connection."""
    if job["state"] not in ("running", "cancelling"):
        return None
    answer = ask(reader.path.parent, {"op": "read", "job": job["id"], "offset": offset})
    return bytes.fromhex(answer["data"]) if answer.get("data") is not None else None
