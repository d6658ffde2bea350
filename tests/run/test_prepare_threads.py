"""PrepareThreads with real threads."""

import threading
import time
from collections import Counter

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import Reservation
from snakemake_executor_plugin_harbor.run import prepare_threads as module
from snakemake_executor_plugin_harbor.run.prepare_threads import PrepareThreads
from tests.sshd import wait_until


class Jobs:
    """Prepares jobs named RULE-NUMBER: those of a rule in `gates` wait for its gate."""

    def __init__(self):
        self.gates = {}
        self.at_work = Counter()
        self.most = Counter()
        self.prepared = []
        self.threads = set()
        self.reported = []
        self.expected = False
        self.lock = threading.Lock()

    def rule_of(self, job):
        return job.partition("-")[0]

    def prepare(self, task):
        rule = self.rule_of(task.job)
        with self.lock:
            assert task.job not in self.at_work, "one job is prepared twice at once"
            self.at_work[task.job] = 1
            self.threads.add(threading.get_ident())
            now = sum(1 for job in self.at_work if self.rule_of(job) == rule)
            self.most[rule] = max(self.most[rule], now)
        if rule in self.gates:
            self.gates[rule].wait(20)
        with self.lock:
            del self.at_work[task.job]
            self.prepared.append(task.job)
        if rule == "bad":
            return ev.PrepareFailed(task.job, task.attempt, "unprepared", "bad")
        if rule == "bug":
            raise ValueError("a bug")
        return {"t": "start", "job": task.job}

    def report_slow(self, task, seconds):
        self.reported.append((task.job, seconds))

    def more_jobs_expected(self):
        return self.expected


class Rig:
    def __init__(self):
        self.jobs = Jobs()
        self.answers = []
        self.broken = []
        self.threads = PrepareThreads(self.jobs, lambda *events: self.answers.extend(events), self.guard)
        self.thread = threading.Thread(target=self.threads.run, daemon=True)
        self.thread.start()

    def guard(self, target):
        try:
            target()
        except BaseException as error:
            self.broken.append(error)

    def put(self, *jobs, attempt=1):
        self.threads.put([act.Prepare(job, attempt, "a", Reservation((0,)), "") for job in jobs])

    def ready(self):
        return [answer.job for answer in self.answers if isinstance(answer, ev.Prepared)]

    def gate(self, rule):
        self.jobs.gates[rule] = threading.Event()
        return self.jobs.gates[rule]


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    for gate in rig.jobs.gates.values():
        gate.set()
    rig.threads.stop()
    rig.thread.join(10)
    assert not rig.thread.is_alive()


def fast(count):
    return [f"fast-{i}" for i in range(count)]


def test_what_is_put_is_prepared_in_order_by_one_thread(rig):
    rig.put(*fast(200))
    wait_until(lambda: len(rig.ready()) == 200, 20, "the answers")
    assert rig.ready() == fast(200) and len(rig.jobs.threads) == 1
    assert rig.threads.message("fast-7", 1) == {"t": "start", "job": "fast-7"}
    rig.threads.drop("fast-7", 1)
    with pytest.raises(KeyError):
        rig.threads.message("fast-7", 1)


def test_a_job_that_cannot_be_prepared_is_answered_for(rig):
    rig.put("bad-1", "fast-1")
    wait_until(lambda: len(rig.answers) == 2, 10, "the answers")
    assert rig.answers[0] == ev.PrepareFailed("bad-1", 1, "unprepared", "bad")


def test_a_bug_reaches_the_guard(rig):
    rig.put("bug-1")
    wait_until(lambda: rig.broken, 10, "the error")
    assert isinstance(rig.broken[0], ValueError)


def test_a_slow_job_is_left_to_its_thread(rig):
    gate = rig.gate("slow")
    rig.put("fast-0", "slow-1", *fast(50)[1:])
    wait_until(lambda: len(rig.ready()) == 50, 10, "the fast jobs")
    rig.put("fast-50")
    wait_until(lambda: len(rig.ready()) == 51, 10, "one more")
    assert rig.threads.at_work() and "slow-1" not in rig.ready()
    gate.set()
    wait_until(lambda: "slow-1" in rig.ready(), 10, "the slow job")
    assert not rig.threads.at_work()


def test_a_job_before_a_slow_one_is_answered_for_at_once(rig):
    rig.gate("slow")
    rig.put("fast-0", "slow-1")
    wait_until(lambda: rig.ready() == ["fast-0"], 10, "the first answer")


def test_slow_jobs_of_one_rule_do_not_take_all_threads(rig):
    gate = rig.gate("slow")
    rig.put(*(f"slow-{i}" for i in range(100)), *fast(20))
    wait_until(lambda: len(rig.ready()) == 20, 20, "the fast jobs")
    wait_until(lambda: len(rig.threads.at_work()) == module.RULE_THREADS, 20, "the slow ones' threads")
    gate.set()
    wait_until(lambda: len(rig.ready()) == 120, 20, "all jobs")
    assert rig.jobs.most["slow"] <= module.RULE_THREADS and len(rig.jobs.threads) <= module.THREADS


def test_several_slow_rules(rig):
    gates = [rig.gate(f"slow{i}") for i in range(10)]
    rig.put(*(f"slow{i}-1" for i in range(10)), *fast(20))
    wait_until(lambda: len(rig.ready()) == 20, 30, "the fast jobs")
    for gate in gates:
        gate.set()
    wait_until(lambda: len(rig.ready()) == 30, 20, "all jobs")


def test_threads_that_had_slow_jobs_are_used_again(rig):
    for round in range(3):
        gate = rig.gate("slow")
        rig.put(f"slow-{round}", f"fast-{round}")
        wait_until(lambda round=round: f"fast-{round}" in rig.ready(), 10, "the fast job")
        gate.set()
        wait_until(lambda round=round: f"slow-{round}" in rig.ready(), 10, "the slow job")
    assert len(rig.jobs.threads) <= 2


def test_the_next_attempt_of_a_job_waits_for_the_one_that_is_in_preparation(rig):
    gate = rig.gate("slow")
    rig.put("slow-1")
    rig.put("slow-1", attempt=2)
    rig.put("fast-1")
    wait_until(lambda: rig.ready() == ["fast-1"], 10, "the fast job")
    gate.set()
    wait_until(lambda: rig.answers[-1] == ev.Prepared("slow-1", 2), 10, "the second attempt")


def test_snakemake_s_thread_waits_for_fast_jobs(rig):
    rig.jobs.expected = True
    began = time.monotonic()
    rig.put(*fast(20))
    rig.threads.drain()
    assert rig.ready() == fast(20) and time.monotonic() - began < module.YIELD_S


def test_without_snakemake_s_thread_they_are_prepared_all_the_same(rig):
    rig.jobs.expected = True
    rig.put(*fast(20))
    wait_until(lambda: len(rig.ready()) == 20, 10, "the answers")


def test_snakemake_s_thread_does_not_wait_for_a_slow_one(rig):
    rig.gate("slow")
    rig.put("slow-1", "fast-1")
    for _ in range(3):
        began = time.monotonic()
        rig.threads.drain()
        assert time.monotonic() - began < 2
    wait_until(lambda: rig.ready() == ["fast-1"], 10, "the fast job")
    rig.put("fast-2")
    rig.threads.drain()
    wait_until(lambda: rig.ready() == ["fast-1", "fast-2"], 10, "the next one")


def test_drain_without_work_returns_at_once(rig):
    began = time.monotonic()
    rig.threads.drain()
    assert time.monotonic() - began < module.DRAIN_S


def test_a_slow_job_is_reported_and_reported_again(rig, monkeypatch):
    monkeypatch.setattr(module, "REPORT_SLOW_S", 1.0)
    monkeypatch.setattr(module, "REPORT_AGAIN_S", 0.5)
    gate = rig.gate("slow")
    rig.put("slow-1", "fast-1")
    wait_until(lambda: len(rig.jobs.reported) >= 3, 20, "three reports")
    assert {job for job, _ in rig.jobs.reported} == {"slow-1"} and rig.jobs.reported[0][1] >= 1.0
    gate.set()
    wait_until(lambda: "slow-1" in rig.ready(), 10, "the slow job")


def test_what_is_abandoned_is_withdrawn_once_and_nothing_of_it_is_sent(rig):
    gate = rig.gate("slow")
    rig.put(*(f"slow-{i}" for i in range(20)), "fast-1")
    wait_until(lambda: rig.ready() == ["fast-1"], 20, "the fast job")
    rig.threads.abandon()
    rig.threads.abandon()
    withdrawn = [answer for answer in rig.answers if isinstance(answer, ev.PrepareFailed)]
    assert sorted(a.job for a in withdrawn) == sorted(f"slow-{i}" for i in range(20))
    assert {a.trigger for a in withdrawn} == {"withdraw"}
    gate.set()
    wait_until(lambda: not rig.threads.at_work(), 10, "the threads")
    rig.put("fast-2")
    wait_until(lambda: rig.ready() == ["fast-1", "fast-2"], 10, "the next job")


def test_the_end_does_not_wait_for_a_slow_one(rig):
    gate = rig.gate("slow")
    rig.put("slow-1", "slow-2", "fast-1")
    wait_until(lambda: rig.ready() == ["fast-1"], 10, "the fast job")
    began = time.monotonic()
    rig.threads.stop()
    rig.threads.drain()
    rig.thread.join(10)
    assert time.monotonic() - began < 5 and not rig.thread.is_alive()
    gate.set()
    wait_until(lambda: not rig.threads.at_work(), 10, "the threads")
    assert rig.ready() == ["fast-1"]
