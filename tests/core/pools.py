"""Pools of ready nodes, and steps that most tests of the core need."""

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import (
    JobSpec,
    Load,
    NodeFacts,
    NodeSpec,
    Request,
)
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.timeouts import Timeouts

IDLE = Load(mem_available_mb=8000)
FACTS = NodeFacts(cores=2, mem_mb=8000, boot_id="b", shared=True)


def make_pool(*names, cores=2, **timeouts):
    pool = Pool([NodeSpec(name=n, host=n) for n in names], timeouts=Timeouts(100, 10, **timeouts))
    pool.connect_all()
    events = []
    for n in names:
        facts = NodeFacts(cores=cores, mem_mb=8000, boot_id=f"boot-{n}")
        events += [ev.NodeUp(n, facts), ev.LoadMeasured(n, Load(mem_available_mb=8000))]
    pool.handle(events, 0.0)
    return pool


def spec(id, **request):
    return JobSpec(f"run/{id}", Request(**request), rule="r")


def of(kind, actions):
    """Return the actions of this type."""
    return [a for a in actions if isinstance(a, kind)]


def run_one(pool, id="1", now=1.0):
    """Submit a job and bring it to `running`. Return its Prepare action."""
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((spec(id),))], now))
    pool.handle([ev.Prepared(launch.job, launch.attempt)], now)
    pool.handle([ev.Started(launch.node, launch.job, launch.attempt)], now)
    return launch


def outcome(actions):
    (settled,) = of(act.JobEnded, actions)
    return settled.outcome


def launched(actions):
    """Return the only Prepare action."""
    (launch,) = of(act.Prepare, actions)
    return launch
