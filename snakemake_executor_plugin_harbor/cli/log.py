"""Show a job's output, which is stdout and stderr of its latest attempt.

If a case has several steps, the output is that of the step that has begun last.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.job_names import full_name
from ..errors import HarborError
from ..store.control_socket import ask
from ..store.journal_reader import ENDED, JOBS, JournalReader
from ..views.find_jobs import cases_called, find_case, latest_step, named
from .harmless import harmless
from .run_option import add_run_option, chosen_run

PIECE = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_option(parser)
    parser.add_argument("job", metavar="JOB", help="a job's number or rule, a case, or RULE:CASE")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")


def run(arguments: argparse.Namespace) -> int:
    reader = chosen_run(arguments)
    job = latest_step(find_case(reader, arguments.job, "harbor log"))
    if case := [name for name in cases_called(reader, arguments.job) if name != full_name(named(job))]:
        print(f"harbor: {arguments.job} is the number of a job. The case: harbor log {case[-1]}", file=sys.stderr)
    if arguments.json:
        text = b"".join(_file(job, 0)) if job["state"] in ENDED else _live(reader, job, 0)
        shown = {"id": job["jobid"], "attempt": job["attempt"], "node": job["node"], "log": job["log"]}
        print(json.dumps({**shown, "output": (text or b"").decode("utf-8", "replace")}))
        return 0
    seen = 0
    while True:
        # An adopted job gets another id, and a retried one another row.
        (job,) = reader.rows(f"{JOBS} WHERE jobid = ? ORDER BY submitted DESC LIMIT 1", job["jobid"])
        if job["state"] in ENDED:
            for piece in _file(job, seen):
                _write(piece)
            return 0
        text = _live(reader, job, seen)
        if text is None and not arguments.follow:
            raise HarborError(
                f"job {job['jobid']} is {job['state']}: it has no output yet.", "harbor explain " + job["jobid"]
            )
        _write(text or b"")
        seen += len(text or b"")
        if not text and not arguments.follow:
            return 0
        if not text:
            time.sleep(0.3)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(harmless(data) if sys.stdout.isatty() else data)
    sys.stdout.buffer.flush()


def _file(job: dict[str, Any], offset: int) -> Iterator[bytes]:
    """Yield the log of a job that has ended in pieces, from the byte `offset` on."""
    if not job["log"]:
        return
    try:
        with Path(job["log"]).open("rb") as file:
            file.seek(offset)
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise HarborError(f"the log of job {job['jobid']} cannot be read: {error}.") from error


def _live(reader: JournalReader, job: dict[str, Any], offset: int) -> bytes | None:
    """Return a running job's output from the byte `offset` on, or None if the job does not run.

    The running controller reads it on the node, through its own connection.
    """
    if job["state"] not in ("running", "cancelling"):
        return None
    answer = ask(reader.path.parent, {"op": "read", "job": job["id"], "offset": offset})
    return bytes.fromhex(answer["data"]) if answer.get("data") is not None else None
