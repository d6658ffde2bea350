"""Writes the journal of a run: an SQLite file on the controller's local disk, which the `harbor` command reads.

Only the dispatcher writes it. In WAL mode, others can read it at any moment. WAL mode does not work on NFS, where
working directories and homes often are. So the journal lies under `/var/tmp/harbor-UID/runs/RUN/`, and the working
directory contains a pointer to it (`.snakemake/harbor/run.json`).

What is committed survives the end of this process. With `synchronous=NORMAL` a power cut may undo the last commits, but
it never leaves a damaged file. Nothing depends on these commits, because adoption does not need the journal. If the
journal cannot be written, the run goes on without it.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.lifecycle import TERMINAL
from ..core.model import JobState
from ..core.node import NodeView
from ..errors import HarborError
from .run_directories import JOURNAL, private_directory, runs_directory, write_summary

VERSION = 5
BUSY_S = 0.2
"""A commit waits at most this long for another process that has locked the database. The nodes wait as well."""
RETRY_S = 1.0
"""Pause after a commit that has failed."""
CHANGED = ("id", "attempt", "state", "node", "reason", "log", "started", "ended", "code", "cpu_s", "peak_mb")
"""The columns of a job that a change of its state writes."""

SCHEMA = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, jobid TEXT, others TEXT, rule TEXT, wildcards TEXT, log TEXT, threads INTEGER, state TEXT,
  node TEXT, attempt INTEGER, done REAL, total REAL, submitted REAL, started REAL, ended REAL, reason TEXT,
  waits INTEGER, code INTEGER, cpu_s REAL, peak_mb REAL
) WITHOUT ROWID;
CREATE INDEX jobs_by_state ON jobs (state);
CREATE TABLE reasons (number INTEGER PRIMARY KEY, reason TEXT);
CREATE TABLE nodes (
  name TEXT PRIMARY KEY, state TEXT, reason TEXT, facts TEXT, load TEXT, running INTEGER, updated REAL
) WITHOUT ROWID;
CREATE TABLE events (at REAL, job TEXT, attempt INTEGER, node TEXT, what TEXT, detail TEXT);
CREATE INDEX events_by_job ON events (job);
"""


class Journal:
    """The methods gather rows, and `commit` writes them together.

    If rows cannot be written now (no space, an I/O error, a lock), a later commit writes them.
    """

    def __init__(self, run: str, warn: Callable[[str], None] = lambda text: None) -> None:
        self._warn = warn
        self._failed_at: float | None = None
        self._transfers: Mapping[str, list[dict[str, Any]]] = {}
        self.directory = private_directory(runs_directory() / run)
        self.path = self.directory / JOURNAL
        try:
            self._db = self._open()
        except sqlite3.Error as error:
            raise HarborError(
                f"the journal {self.path} cannot be written: {error}.", f"df -h {self.directory}"
            ) from error
        self._changes: list[tuple[Any, ...]] = []
        self._jobs: list[tuple[Any, ...]] = []
        self._exits: dict[str, tuple[int | None, float | None, float | None]] = {}
        self._renamed: list[tuple[str, str]] = []
        self._nodes: dict[str, tuple[Any, ...] | None] = {}
        self._progress: dict[str, tuple[float, float]] = {}
        self._starts: dict[str, float] = {}
        self._run: dict[str, Any] = {}
        self._waiting: dict[str, int] = {}
        self._reasons: dict[int, str | None] = {}

    def _open(self) -> sqlite3.Connection:
        # Snakemake's main thread opens it and the dispatcher's thread writes it, but never at the same time.
        db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.executescript(SCHEMA)
        db.execute(f"PRAGMA user_version={VERSION}")
        return db

    def set_facts(self, **values: Any) -> None:
        """Record facts of the run, such as pid, workdir and state."""
        self._run.update(values)

    def add_job(
        self,
        id: str,
        jobid: str,
        rule: str,
        wildcards: Mapping[str, str],
        threads: int,
        at: float,
        others: Sequence[str] = (),
    ) -> None:
        """Record a job that was handed over. `others` are the numbers of the other jobs of a group."""
        numbers = json.dumps(others) if others else None
        self._jobs.append((id, jobid, numbers, rule, json.dumps(dict(wildcards)), threads, at))

    def add_change(
        self, id: str, attempt: int, state: str, node: str | None, reason: str, at: float, log: str | None
    ) -> None:
        """Record that a job has changed its state."""
        self._changes.append((id, attempt, state, node, _text(reason), at, log))

    def add_exit(self, id: str, exit: Mapping[str, Any]) -> None:
        """Record what a job that has ended has used. `exit` is the agent's message. The end itself is a change."""
        steps = exit.get("steps") or ()
        used = [step["cpu_s"] for step in steps if "cpu_s" in step]
        peaks = [step["max_rss_mb"] for step in steps if "max_rss_mb" in step]
        self._exits[id] = (exit.get("code"), sum(used) if used else None, max(peaks, default=None))

    def rename_job(self, id: str, submitted_as: str) -> None:
        """Record that a job goes on under another id."""
        self._renamed.append((id, submitted_as))

    def set_progress(self, id: str, done: float, total: float) -> None:
        """Record the progress of a job."""
        self._progress[id] = (done, total)

    def set_start(self, id: str, at: float) -> None:
        """Record when a job was started that an earlier controller has started."""
        self._starts[id] = at

    def set_waiting(self, id: str, number: int) -> None:
        """Record that a queued job waits for the reasons with this number."""
        self._waiting[id] = number

    def set_reasons(self, number: int, text: str | None) -> None:
        """Record the reasons with this number. None: no job waits for them any more."""
        self._reasons[number] = None if text is None else _text(text)

    def note_transfers(self, transfers: Mapping[str, list[dict[str, Any]]]) -> None:
        """Note the transfers of files that are under way, by node. The rows of nodes contain them from now on."""
        self._transfers = transfers

    def set_node(self, node: NodeView, at: float) -> None:
        """Record a node's state, its facts and its last load."""
        facts: dict[str, Any] | None = None
        if node.facts is not None:
            facts = {"cores": node.facts.cores, "mem_mb": node.facts.mem_mb, "gpus": node.facts.gpus}
            facts |= {"slots": node.slots, "host": node.facts.host, "python": node.facts.python}
        load: dict[str, Any] | None = None
        if node.load is not None:
            ours = sum(node.load.ours.values()) + node.load.ended
            load = {"busy": node.load.busy, "ours": ours, "load1": node.load.load1}
            load |= {"mem_available_mb": node.load.mem_available_mb, "disk_free_mb": node.load.disk_free_mb}
            load |= {"users": node.load.users, "transfers": self._transfers.get(node.spec.name, [])}
        state, reason = shown_state(node)
        running = len(node.reservations)
        row = (node.spec.name, state, _text(reason), json.dumps(facts), json.dumps(load), running, at)
        self._nodes[node.spec.name] = row

    def remove_node(self, name: str) -> None:
        """Record that a node has left the pool."""
        self._nodes[name] = None

    def commit(self) -> None:
        """Write the gathered rows in one transaction. If that fails, a later commit tries again."""
        gathered = (self._changes, self._jobs, self._nodes, self._progress, self._starts)
        if not any((*gathered, self._run, self._waiting, self._reasons)):
            return
        if self._failed_at is not None and time.monotonic() - self._failed_at < RETRY_S:
            return
        try:
            self._write()
        except sqlite3.Error as error:
            if self._failed_at is None:
                self._warn(
                    f"the journal {self.path} cannot be written ({error}). The run goes on without `harbor status`; "
                    "it is tried again each second"
                )
            self._failed_at = time.monotonic()
            self._roll_back()
            return
        self._failed_at = None
        self._changes, self._jobs, self._renamed, self._exits = [], [], [], {}
        self._nodes, self._progress, self._run, self._waiting, self._reasons = {}, {}, {}, {}, {}
        self._starts = {}

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            # SQLite has already rolled back.
            pass

    def _write(self) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        if self._run:
            rows = [(key, json.dumps(value)) for key, value in self._run.items()]
            db.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", rows)
        if self._jobs:
            db.executemany(
                "INSERT OR REPLACE INTO jobs (id, jobid, others, rule, wildcards, threads, submitted, state, attempt) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', 1)",
                self._jobs,
            )
        if self._renamed:
            db.executemany("UPDATE jobs SET id = ? WHERE id = ?", self._renamed)
            db.executemany("UPDATE events SET job = ? WHERE job = ?", self._renamed)
        if self._changes:
            self._write_changes()
        if self._starts:
            db.executemany("UPDATE jobs SET started = ? WHERE id = ?", [(at, id) for id, at in self._starts.items()])
        if self._progress:
            rows_ = [(done, total, id) for id, (done, total) in self._progress.items()]
            db.executemany("UPDATE jobs SET done = ?, total = ? WHERE id = ?", rows_)
        if self._waiting:
            db.executemany("UPDATE jobs SET waits = ? WHERE id = ?", [(n, id) for id, n in self._waiting.items()])
        if self._reasons:
            shown = [(number, text) for number, text in self._reasons.items() if text is not None]
            db.executemany("INSERT OR REPLACE INTO reasons VALUES (?, ?)", shown)
            over = [(number,) for number, text in self._reasons.items() if text is None]
            db.executemany("DELETE FROM reasons WHERE number = ?", over)
        if self._nodes:
            there = [row for row in self._nodes.values() if row is not None]
            db.executemany("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?)", there)
            gone = [(name,) for name, row in self._nodes.items() if row is None]
            db.executemany("DELETE FROM nodes WHERE name = ?", gone)
        db.execute("COMMIT")

    def _write_changes(self) -> None:
        """Write the changes with one statement per table, because each step of SQLite releases Python's lock."""
        ends = {state.value for state in TERMINAL}
        last: dict[str, list[Any]] = {}
        for id, attempt, state, node, reason, at, log in self._changes:
            _, attempt_before, _, _, _, log_before, started, _ = last.get(id, [None] * 8)
            started = started if attempt == attempt_before else None
            started = at if state == JobState.RUNNING else started
            ended = at if state in ends else None
            last[id] = [id, attempt, state, node, reason, log or log_before, started, ended]
        rows = [[*row, *self._exits.get(id, (None, None, None))] for id, row in last.items()]
        self._db.execute(
            f"UPDATE jobs SET attempt = c.attempt, state = c.state, node = c.node, reason = c.reason, "
            f"log = coalesce(c.log, jobs.log), ended = c.ended, code = c.code, cpu_s = c.cpu_s, peak_mb = c.peak_mb, "
            f"started = CASE "
            # A job that runs may get another reason, such as that it has stalled, or its node may come back.
            f"WHEN jobs.attempt = c.attempt THEN coalesce(jobs.started, c.started) ELSE c.started END "
            f"FROM ({_columns(*CHANGED)}) c WHERE jobs.id = c.id",
            [json.dumps(rows)],
        )
        events = [(at, id, attempt, node, state, reason) for id, attempt, state, node, reason, at, _ in self._changes]
        self._db.execute(
            f"INSERT INTO events {_columns('at', 'job', 'attempt', 'node', 'what', 'detail')}", [json.dumps(events)]
        )

    def describe_run(self) -> None:
        """Write the gathered rows, and the summary that `harbor history` reads. Without it, the journal is read."""
        self.commit()
        try:
            facts = {key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM run")}
            counts = dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
            write_summary(self.directory, facts, counts)
        except (OSError, sqlite3.Error):
            pass

    def close(self) -> None:
        """Commit and close. The file stays for `harbor status`."""
        self._failed_at = None if self._failed_at is None else 0.0  # try again immediately
        self.describe_run()
        try:
            self._db.close()
        except sqlite3.Error:
            # The last checkpoint failed, but the rows are in the write-ahead log.
            pass


def shown_state(node: NodeView) -> tuple[str, str]:
    """Return a node's state and reason as users see them.

    The state of a closed node is "draining" or "drained", as in Slurm, whatever the state of its connection is.
    """
    if node.closed:
        return "draining" if node.reservations else "drained", node.drain or "taken out of the host list"
    if node.forgotten:
        return node.state.value, f"given up by the user; {node.why}"
    return node.state.value, node.why


def _text(text: str) -> str:
    """Return a text that SQLite accepts. Names that are not valid Unicode contain lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _columns(*names: str) -> str:
    """Return a query that makes rows from a JSON array of arrays."""
    values = (f"json_extract(value, '$[{i}]') AS {name}" for i, name in enumerate(names))
    return f"SELECT {', '.join(values)} FROM json_each(?)"
