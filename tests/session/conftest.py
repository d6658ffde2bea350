"""A dispatcher with real nodes and a real working directory, without Snakemake."""

from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.config.pool_config import pool_config
from snakemake_executor_plugin_harbor.config.settings import ExecutorSettings
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.jobs.in_flight import InFlight
from snakemake_executor_plugin_harbor.run.client import Client
from snakemake_executor_plugin_harbor.run.dispatcher import Dispatcher
from snakemake_executor_plugin_harbor.session.notices import Notices
from snakemake_executor_plugin_harbor.session.welcome import Welcome
from snakemake_executor_plugin_harbor.store import journal_writer
from snakemake_executor_plugin_harbor.store.journal_writer import Journal
from snakemake_executor_plugin_harbor.store.workdir import Workdir, boot_id, new_run
from tests.workflows import jobs, load

__all__ = ["jobs", "load"]


class Run:
    """What a session builds, as far as no job takes part in it."""

    def __init__(self, directory, settings):
        self.config = pool_config(settings)
        self.lines = []
        self.errors = []
        self.workdir = Workdir(directory, new_run(), self.lines.append)
        self.workdir.acquire()
        journal = Journal(self.workdir.run, self.lines.append)
        self.dispatcher = Dispatcher(
            Pool(self.config.nodes, self.config.policy, self.config.timeouts, boot_id()), journal, self.workdir
        )
        self.welcome = Welcome(self.config, settings, "secret", self.workdir, self.lines.append)
        logger = SimpleNamespace(info=self.lines.append, warning=self.lines.append)
        notices = Notices(logger, InFlight(), lambda: self.dispatcher.snapshot.nodes)
        no_jobs = SimpleNamespace(
            adopt_waiting=lambda jobs: [], capacity_grown=lambda: None, report=lambda outcome: True, batch_reported=int
        )
        self.dispatcher.start(Client(self.welcome, no_jobs, no_jobs, no_jobs, notices, self.errors.append))

    def close(self):
        self.dispatcher.close("ended")
        self.workdir.release()
        assert not self.errors


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a run with these hosts. Host `localhost` is a real node; port 1 of 127.0.0.1 refuses connections."""
    monkeypatch.setattr(journal_writer, "runs_directory", lambda: tmp_path / "runs")
    runs = []

    def run(*hosts, **settings):
        directory = tmp_path / f"work{len(runs)}"
        directory.mkdir()
        settings = {"hosts": list(hosts), "scratch": str(tmp_path / "scratch"), **settings}
        runs.append(Run(directory, ExecutorSettings(**settings)))
        return runs[-1]

    yield run
    for one in runs:
        one.close()
