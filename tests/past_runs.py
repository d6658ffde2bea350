"""Runs that are over, as the journal's own writer leaves them."""

import os
import time
from pathlib import Path

import psutil
import pytest

from snakemake_executor_plugin_harbor.store import journal_writer, run_directories
from snakemake_executor_plugin_harbor.store.journal_writer import Journal
from snakemake_executor_plugin_harbor.store.workdir import Workdir

FIRST = float(int(time.time()) - 86400)
"""The time at which the first run began, yesterday."""


def dead() -> dict[str, object]:
    """Return the owner of a lock whose process has ended. Its pid is this one's, with another time of birth."""
    workdir = Workdir(Path("/nowhere"), "run")
    return workdir.owner.__dict__ | {"born": psutil.Process(os.getpid()).create_time() - 1000}


class Past:
    """Writes runs of several working directories. `runs` contains the journals."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = tmp_path
        self.runs = tmp_path / "runs"
        self.runs.mkdir()
        for module in (journal_writer, run_directories):
            monkeypatch.setattr(module, "runs_directory", lambda: self.runs)
        self._count = 0

    def directory(self, name: str) -> Path:
        return self._root / name

    def write(
        self,
        project: str,
        *,
        began: float | None = None,
        end: str | None = "ended",
        owner: dict[str, object] | None = None,
        at: float | None = None,
        complete: bool = True,
        settings: dict[str, object] | None = None,
        log_dir: str = ".snakemake/harbor_logs",
        **jobs: int,
    ) -> "Written":
        """Write a run with so many jobs in each state. `end` None: the run goes on, or its controller was killed.

        The jobs have entered their states at `at`, and the run took a minute.
        """
        began = FIRST + self._count if began is None else began
        name = time.strftime("%y%m%d-%H%M%S-", time.localtime(began)) + f"{0xABC000 + self._count:06x}"
        self._count += 1
        place = self.directory(project)
        place.mkdir(exist_ok=True)
        workdir = Workdir(place, name)
        workdir.acquire()
        journal = Journal(name)
        workdir.write_pointer(journal.path, complete=complete and end == "ended")
        facts = {"run": name, "workdir": str(place), "resolved": os.path.realpath(place), "id": workdir.id}
        owner = workdir.owner.__dict__ if owner is None else owner
        journal.set_facts(
            **facts,
            owner=owner,
            state="running",
            log_dir=log_dir,
            settings=settings or {},
            started=began,
            total=sum(jobs.values()),
        )
        journal.describe_run()
        states = [state for state, number in jobs.items() for _ in range(number)]
        for number, state in enumerate(states, 1):
            id, log = f"{name}/{number}", f"{place}/{log_dir}/case/{number}.1.log"
            journal.add_job(id, str(number), "case", {"case": f"c{number}"}, 1, began + 1)
            journal.add_change(id, 1, "running", "ada", "", began + 3, log)
            if state != "running":
                code = int(state == "failed")
                journal.add_change(id, 1, state, "ada", "exit code 1" * code, at or began + 13.5, log)
                journal.add_exit(id, {"code": code, "steps": [{"cpu_s": 4.25, "max_rss_mb": 96.0}, {"cpu_s": 1.0}]})
            elif at is not None:
                journal.add_change(id, 1, state, "ada", "it is silent", at, log)
        if end is None:
            journal.commit()
        else:
            journal.set_facts(state=end, ended=began + 60)
            journal.close()
        workdir.release()
        return Written(name, journal)


class Written:
    """A run that was written, and its journal, which is closed if the run has ended."""

    def __init__(self, run: str, journal: Journal) -> None:
        self.run = run
        self.directory = journal.directory
        self.set_facts, self.close = journal.set_facts, journal.close
