"""Measures the real core with a virtual clock: the speed of its decisions, and how it changes with the size of the
pool.

    python benchmarks/simulate.py --nodes 10000 --jobs 1000000 --requests 50

Only `core` is imported, so there are no sockets, no threads and no waiting. Each node has 4 to 16 cores and sends load
samples, and other people use a part of it. Jobs take about a minute. At most twice the pool's slots of jobs are handed
over at any time, as the scheduler plugin does it. Times are CPU times of the core's one thread, so other load on the
machine hardly changes them.
"""

import argparse
import heapq
import json
import random
import statistics
import time
from collections.abc import Iterator
from typing import Any

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, JobState, Load, NodeFacts, NodeSpec, Request
from snakemake_executor_plugin_harbor.core.pool import Pool

SIZES = (100, 1_000, 10_000)
TIMED = 100
"""The number of events of each type that are timed for one size."""
MEM_MB = 64_000


class Simulation:
    """A pool, simulated nodes, and a clock that jumps from event to event."""

    def __init__(self, nodes: int, jobs: int, requests: int, sample_every: float = 10.0, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.jobs, self.submitted, self.ended, self.placed = jobs, 0, 0, 0
        self.failed: list[str] = []
        self.sample_every = sample_every
        self.requests = [self._request(i) for i in range(requests)]
        self.pool = Pool([NodeSpec(f"n{i}", f"n{i}") for i in range(nodes)])
        self.costs: dict[str, list[float]] = {}
        self._future: list[tuple[float, int, ev.Event]] = []
        self._count = 0
        self._tick_at = 0.0
        self.pool.connect_all()
        up = [ev.NodeUp(name, self._facts(name)) for name in self.pool.nodes]
        self.pool.handle(up, self.now)
        self.pool.handle([ev.LoadMeasured(name, self._load(name)) for name in self.pool.nodes], self.now)
        for name in self.pool.nodes:
            self._later(self.random.uniform(0, sample_every), ev.LoadMeasured(name, Load()))

    def _request(self, index: int) -> Request:
        return Request(cores=1 + index % 4, mem_mb=500 + 7 * index)

    def _facts(self, name: str) -> NodeFacts:
        return NodeFacts(cores=self.random.choice((4, 8, 16)), mem_mb=MEM_MB, boot_id=name)

    def _load(self, name: str) -> Load:
        """Return the node's load sample. Our jobs use what they asked for, and other people use up to one core."""
        node = self.pool.nodes[name]
        ours = {key: float(request.cores) for key, (request, _) in node.reservations.items()}
        busy = sum(ours.values()) + self.random.random()
        free = MEM_MB - 2_000 - node.reservations.mem_mb
        return Load(busy, ours, mem_available_mb=max(0, free), disk_free_mb=90_000, workdir_free_mb=900_000)

    def _later(self, seconds: float, event: ev.Event) -> None:
        self._count += 1
        heapq.heappush(self._future, (self.now + seconds, self._count, event))

    def handle(self, *events: ev.Event) -> None:
        """Give events to the pool, measure the time, and carry out the actions."""
        started = time.thread_time()
        actions = self.pool.handle(events, self.now)
        self.costs.setdefault(type(events[0]).__name__, []).append(time.thread_time() - started)
        for action in actions:
            match action:
                case act.Prepare(job, attempt):
                    self.placed += 1
                    self._later(0.01, ev.Prepared(job, attempt))
                case act.SendStart(job, attempt, node):
                    self._later(0.02, ev.Started(node, job, attempt))
                    self._later(self.random.expovariate(1 / 60) + 0.1, ev.Exited(node, job, attempt, 0, None))
                case act.JobEnded(outcome):
                    self.ended += 1
                    if outcome.state != JobState.SUCCEEDED:
                        self.failed.append(outcome.reason)

    def submit(self, count: int) -> None:
        """Submit this number of jobs, or as many as are left."""
        count = min(count, self.jobs - self.submitted)
        if count <= 0:
            return
        specs = []
        for _ in range(count):
            self.submitted += 1
            request = self.random.choice(self.requests)
            specs.append(JobSpec(f"run/{self.submitted}", request, rule=f"r{self.submitted % 10}"))
        self.handle(ev.Submitted(tuple(specs)))

    def fill(self) -> None:
        """Submit twice the pool's slots of jobs. One half runs, the other half waits."""
        self.submit(2 * self.pool.slots())

    def start_all(self) -> None:
        """Start all jobs that were placed, in few calls."""
        while soon := [event for _, _, event in self._future if isinstance(event, (ev.Prepared, ev.Started))]:
            self._future = [item for item in self._future if not isinstance(item[2], (ev.Prepared, ev.Started))]
            heapq.heapify(self._future)
            self.handle(*soon)

    def step(self) -> None:
        """Apply the next event."""
        self.now, _, event = heapq.heappop(self._future)
        if self.now >= self._tick_at:
            self._tick_at = self.now + 1.0
            self.handle(ev.Tick(12))
        if isinstance(event, ev.LoadMeasured):
            self._later(self.sample_every, event)
            event = ev.LoadMeasured(event.node, self._load(event.node))
        self.handle(event)
        if isinstance(event, ev.Exited):
            self.submit(1)

    def run(self) -> None:
        """Run until every job has ended."""
        self.fill()
        while self.ended < self.jobs:
            self.step()


def summary(costs: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return the milliseconds per event, by type of event."""
    shown = {}
    for kind, seconds in sorted(costs.items()):
        ordered = sorted(seconds)
        shown[kind] = {
            "events": len(ordered),
            "median_ms": round(1e3 * statistics.median(ordered), 4),
            "p99_ms": round(1e3 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 4),
            "max_ms": round(1e3 * ordered[-1], 4),
        }
    return shown


def simulate(nodes: int, jobs: int, requests: int, sample_every: float = 10.0) -> dict[str, Any]:
    """Simulate one whole run."""
    simulation = Simulation(nodes, jobs, requests, sample_every)
    simulation.run()
    cpu = sum(sum(seconds) for seconds in simulation.costs.values())
    return {
        "nodes": nodes,
        "jobs": jobs,
        "requests": requests,
        "done": simulation.ended,
        "failed": len(simulation.failed),
        "virtual_s": round(simulation.now, 1),
        "cpu_s": round(cpu, 2),
        "decisions_per_s": round(simulation.placed / cpu) if cpu else None,
        "events": summary(simulation.costs),
    }


def growth(requests: int, sizes: tuple[int, ...] = SIZES) -> Iterator[dict[str, Any]]:
    """Return the cost of single events for pools of these sizes, with all slots taken and as many jobs waiting. `asked`
    is the number of questions per event whether a node can take a job.
    """
    for nodes in sizes:
        simulation = Simulation(nodes, 10**9, requests)
        simulation.fill()
        simulation.start_all()
        simulation.costs.clear()
        before = simulation.pool.waiting.asked
        while min(len(simulation.costs.get(kind, ())) for kind in ("LoadMeasured", "Exited", "Submitted")) < TIMED:
            simulation.step()
        count = sum(len(seconds) for seconds in simulation.costs.values())
        asked = (simulation.pool.waiting.asked - before) / count
        yield {
            "nodes": nodes,
            "waiting": len(simulation.pool.queue()),
            "asked": round(asked, 1),
            "events": summary(simulation.costs),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=50, help="number of different requests of the jobs")
    parser.add_argument("--sample-every", type=float, default=10.0, help="virtual seconds between samples of a node")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = simulate(arguments.nodes, arguments.jobs, arguments.requests, arguments.sample_every)
    found["growth"] = list(growth(arguments.requests))
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{found['done']} jobs on {found['nodes']} nodes, {found['requests']} different requests:")
    print(
        f"  {found['decisions_per_s']} decisions per second; {found['cpu_s']} s of CPU, {found['virtual_s']} virtual s"
    )
    _show(found["events"])
    for size in found["growth"]:
        print(f"{size['nodes']} nodes, all busy, {size['waiting']} jobs wait; {size['asked']} questions per event:")
        _show(size["events"])


def _show(events: dict[str, dict[str, float]]) -> None:
    for kind, cost in events.items():
        print(
            f"  {kind:12} {cost['events']:9.0f} events, ms: median {cost['median_ms']:8.3f}, p99 {cost['p99_ms']:8.3f}"
        )


if __name__ == "__main__":
    main()
