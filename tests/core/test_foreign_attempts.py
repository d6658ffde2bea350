"""Attempts that the directory has started under another id, before its .snakemake was deleted."""

from dataclasses import replace

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import (
    JobSpec,
    Request,
)
from tests.core.test_earlier_attempts import FENCE_WAIT, LOST_AFTER, RUNS, cancels, make_pool, of, up, why

STRANGER = replace(RUNS, job="lost/1", foreign=True)


def test_nothing_starts_before_jobs_of_a_deleted_snakemake_have_ended():
    pool = make_pool("ab")
    pool.handle([ev.NodeDown("a", "closed")], 1.0)
    pool.handle([ev.Tick()], 3.0)
    assert cancels(pool.handle(up("a", STRANGER), 4.0)) == [("a", "lost/1")]
    assert not of(act.Prepare, pool.handle([ev.Submitted((JobSpec("run/1", Request()),))], 5.0))
    assert ".snakemake was deleted" in why(pool)["a"]
    actions = pool.handle([ev.Exited("a", "lost/1", 1, -15, "cancelled")], 6.0)
    assert of(act.Prepare, actions) and act.SendMessage("a", {"t": "forget", "job": "lost/1", "attempt": 1}) in actions


def test_jobs_of_a_deleted_snakemake_on_a_node_that_goes_away_are_not_waited_for_without_end():
    pool = make_pool("ab", known=[STRANGER])
    pool.handle([ev.Submitted((JobSpec("run/1", Request()),)), ev.NodeDown("a", "closed")], 1.0)
    assert not of(act.Prepare, pool.handle([ev.Tick()], 1.0 + LOST_AFTER))
    assert of(act.Prepare, pool.handle([ev.Tick()], 1.0 + LOST_AFTER + FENCE_WAIT))
