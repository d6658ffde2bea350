"""`harbor cancel`: a job ends in each of its states, for the reason that the user has cancelled it."""

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import BY_USER, JobState
from tests.core.pools import launched, make_pool, of, outcome, run_one, spec

CANCEL = ev.CancelJob("run/1")


def test_a_job_that_waits_never_starts():
    pool = make_pool("a")
    actions = pool.handle([ev.Submitted((spec("1"),)), CANCEL], 1.0)
    ended = outcome(actions)
    assert (ended.state, ended.reason, ended.node) == (JobState.CANCELLED, BY_USER, None)
    assert not of(act.Prepare, actions) and not pool.jobs


@pytest.mark.parametrize("node_is_there", [True, False])
def test_a_job_that_is_prepared_is_not_sent(node_is_there):
    pool = make_pool("a")
    launch = launched(pool.handle([ev.Submitted((spec("1"),))], 1.0))
    assert not of(act.JobEnded, pool.handle([CANCEL], 2.0))
    if not node_is_there:
        pool.handle([ev.NodeDown("a", "gone")], 2.0)
    actions = pool.handle([ev.Prepared("run/1", launch.attempt)], 3.0)
    assert (outcome(actions).state, outcome(actions).reason) == (JobState.CANCELLED, BY_USER)
    assert not of(act.SendStart, actions) and not pool.nodes["a"].reservations


@pytest.mark.parametrize(("code", "reason"), [(-15, "cancelled"), (143, None), (0, None), (-9, "lost")])
def test_a_job_that_runs_is_ended_whatever_its_node_says_then(code, reason):
    pool = make_pool("a", "b")
    launch = run_one(pool)
    (message,) = of(act.SendMessage, pool.handle([CANCEL], 2.0))
    assert (message.node, message.message["t"], message.message["grace"]) == (launch.node, "cancel", 5.0)
    actions = pool.handle([ev.Exited(launch.node, "run/1", 1, code, reason)], 3.0)
    ended = outcome(actions)
    assert (ended.state, ended.reason, ended.node) == (JobState.CANCELLED, BY_USER, launch.node)
    assert not of(act.Prepare, actions), "it is not tried again"


def test_a_job_on_a_silent_node_is_fenced():
    pool = make_pool("a", "b")
    launch = run_one(pool)
    pool.handle([ev.NodeDown(launch.node, "gone")], 2.0)
    actions = pool.handle([CANCEL], 3.0)
    assert of(act.Fence, actions) == [act.Fence("run/1", 1)] and outcome(actions).reason == BY_USER


def test_a_second_cancel_changes_nothing():
    pool = make_pool("a")
    launch = run_one(pool)
    pool.handle([CANCEL], 2.0)
    assert not pool.handle([CANCEL, ev.CancelAll(3.0)], 2.5)
    assert outcome(pool.handle([ev.Exited(launch.node, "run/1", 1, -15, "cancelled")], 3.0)).reason == BY_USER
    assert not pool.handle([CANCEL], 4.0)
