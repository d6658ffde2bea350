"""The protocol: any bytes and any JSON, in any order, become valid events or nothing."""

import dataclasses
import json
import math
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.job import reservation_of
from snakemake_executor_plugin_harbor.core.lifecycle import HOLDING, ON_NODE
from snakemake_executor_plugin_harbor.core.model import JobState, Outcome, Reservation
from snakemake_executor_plugin_harbor.core.protocol import checkup_of, event_of, facts_of, load_of, printable, record_of
from snakemake_executor_plugin_harbor.jobs.failure import failure_text
from tests.core.messages import ESCAPES, ODD, messages, patient, wire
from tests.core.pool_machine import AnyOrder
from tests.core.pools import make_pool, outcome, run_one

# --- messages ---------------------------------------------------------------------------------------------


def numbers_in(value):
    """Return every number in an event, at any depth."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def assert_shown(*given):
    for text in given:
        assert len(text) <= 4096 and text == printable(text)
        text.encode()  # A database and a terminal can encode it.
        assert not any(c != "\n" and c != "\t" and (c < " " or "\x7f" <= c < "\xa0") for c in text)


@patient
@given(message=messages())
@example({"t": "load", "mem_available_mb": 10**400, "busy": 10**400})
@example({"t": "exited", "job": "run/1", "attempt": 1, "code": 0, "start": 10**400, "end": 1.5})
@example({"t": "exited", "job": "run/1", "attempt": True})
def test_any_message_becomes_a_sane_event_or_none(message):
    event = event_of("a", message)
    for number in numbers_in(event):
        assert math.isfinite(number) and abs(number) <= 1e15
    if event is None:
        return
    assert event.node == "a"
    pairs = event.attempts if isinstance(event, ev.AttemptsActive) else ()
    if hasattr(event, "attempt"):
        pairs = [(event.job, event.attempt)]
    for job, attempt in pairs:
        assert type(attempt) is int and 1 <= attempt <= 999_999
        assert 0 < len(job) <= 200
        assert_shown(job)
    match event:
        case ev.Refused():
            assert_shown(event.kind, event.reason, event.path or "")
        case ev.Progressed():
            assert event.done >= 0 and event.total > 0
        case ev.Exited():
            assert type(event.code) is int and -256 < event.code < 256
            assert_shown(event.reason or "")
            assert len(event.message["tail"]) <= 4096
            outcome = Outcome(event.job, event.attempt, JobState.FAILED, "a", "why", event.message)
            assert_shown(failure_text(outcome, None))
        case ev.LoadMeasured():
            assert_shown(*event.load.users)
            assert event.load.busy >= 0 and event.load.foreign >= 0


@patient
@given(message=messages())
@example({"t": "hello", "cores": 2**63, "mem_mb": 10**30, "host": ESCAPES, "tmpdir": ESCAPES})
def test_any_hello_is_a_node_of_sane_size(message):
    facts = facts_of(message)
    assert 1 <= facts.cores <= 65_536 and 0 <= facts.mem_mb <= 2**40
    assert len(facts.gpus) == len(set(facts.gpus)) <= 4096 and all(0 <= gpu < 65_536 for gpu in facts.gpus)
    assert math.isfinite(facts.time)
    assert_shown(facts.host, facts.user, facts.python, facts.scratch, facts.tmpdir, facts.boot_id, *facts.warnings)
    assert facts.tmpdir
    load_of(message)


@patient
@given(message=messages(["checkup"]))
@example({"t": "checkup", "workdir": {"state": ESCAPES, "inodes": 10**30}, "scratch": [], "missing": [ESCAPES, 1]})
def test_any_answer_of_a_checkup_can_be_shown(message):
    answer = checkup_of(message)
    assert_shown(answer.charmap, answer.state, answer.made, answer.snakemake, answer.logout, *answer.missing)
    assert all(disk.inodes is None or 0 <= disk.inodes <= 2**40 for disk in (answer.workdir, answer.scratch))


@patient
@given(message=messages(["known"]))
@example({"t": "known", "job": "a/1", "attempt": 1, "exit": {"start": 10**400, "end": 0.5, "code": 10**400}})
def test_any_record_is_known_within_bounds_or_not_at_all(message):
    known = record_of(message)
    if known is None:
        return
    assert type(known.attempt) is int and 1 <= known.attempt < 100_000
    assert_shown(known.job, known.hash)
    reservation = reservation_of(known.meta)
    assert len(reservation.slots) == len(set(reservation.slots)) and all(
        0 <= slot < 65_536 for slot in reservation.slots
    )
    assert not any(isinstance(value, dict) for value in known.meta.values())
    for number in numbers_in(known.exit):
        assert math.isfinite(number) and abs(number) <= 1e15


@pytest.mark.parametrize("attempt", [True, 0, -1, 1_000_000, 2**63, 1.0, "1", None])
@pytest.mark.parametrize("kind", ["started", "refused", "exited", "gone", "known"])
def test_what_is_no_attempt_is_dropped(kind, attempt):
    message = {"t": kind, "job": "run/1", "attempt": attempt}
    assert (record_of if kind == "known" else lambda m: event_of("a", m))(message) is None
    assert event_of("a", {"t": "alive", "jobs": [["run/1", attempt], ["run/2", 7]]}).attempts == (("run/2", 7),)


@pytest.mark.parametrize("job", ["", "x" * 201, "run/\x1b[1m", "run/\ud800", 1, None, ["run/1"]])
def test_what_is_no_job_is_dropped(job):
    assert event_of("a", {"t": "started", "job": job, "attempt": 1}) is None
    assert record_of({"t": "known", "job": job, "attempt": 1}) is None


def test_text_of_nodes_has_no_terminal_escapes():
    assert printable("a\tb\nc") == "a\tb\nc"
    assert printable("grün ☃ \U0001f600") == "grün ☃ \U0001f600"
    assert printable(ESCAPES) == "\ufffd]0;owned\ufffd\ufffd[31m\ufffd31m\ufffd\ufffd\ufffd\ufffd"
    assert printable("x" * 50, 7) == "x" * 7
    shown = failure_text(Outcome("run/1", 1, JobState.FAILED, "a", "why", {"tail": "10%\r20%\r\n" + ESCAPES}), None)
    assert_shown(shown)
    assert "    10%\n    20%\n" in shown


# --- the reactor ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ODD)
@pytest.mark.parametrize("start", ODD)
def test_a_job_ends_whatever_its_node_says_of_the_time(start, end):
    pool = make_pool("a")
    launch = run_one(pool)
    said = {"t": "exited", "job": launch.job, "attempt": 1, "code": 0, "reason": None, "start": start, "end": end}
    assert outcome(pool.handle([event_of("a", wire(said))], 2.0)).state == JobState.SUCCEEDED
    assert 0 <= pool.durations.expected("r") < 1e9


class Garbage(AnyOrder):
    """Invented messages of nodes between real events. Nothing raises, and the pool stays consistent."""

    @rule(node=st.sampled_from("abcx"), given=st.lists(messages(), min_size=1, max_size=4))
    def garbage(self, node, given):
        heard = [event for message in given if (line := wire(message)) and (event := event_of(node, line))]
        self.do(*heard)

    @rule(data=st.data(), code=st.sampled_from([0, 1]), times=st.tuples(*[st.sampled_from(ODD)] * 2))
    def lie(self, data, code, times):
        """A message about a job that the node has got."""
        held = [job for job in self.pool.jobs.values() if job.state in ON_NODE]
        if held:
            job = data.draw(st.sampled_from(held))
            message = data.draw(messages(["exited", "exited", "refused", "progress", "started", "gone"]))
            message |= {"job": job.spec.id, "attempt": job.attempt, "code": code, "reason": None}
            line = wire(message | {"start": times[0], "end": times[1]})
            event = event_of(job.node, line) if line else None
            self.do(*([event] if event else []))

    @rule(node=st.sampled_from("abc"), hello=messages(["hello"]), given=st.lists(messages(["known"]), max_size=4))
    def made_up(self, node, hello, given):
        known = [record for message in given if (line := wire(message)) and (record := record_of(line))]
        self.do(ev.NodeUp(node, facts_of(wire(hello) or hello), tuple(known)))

    @rule(node=st.sampled_from("abc"), message=messages(["known"]))
    def adopted(self, node, message):
        """A node has invented the end of a job of an earlier run."""
        record = record_of(wire(message) or message)
        waiting = [id for id, job in self.pool.jobs.items() if job.state == JobState.QUEUED and job.spec.earlier_ids]
        slot = self.free_slot(node)
        if record is not None and waiting and slot is not None:
            job = self.pool.jobs[waiting[0]].spec
            event = ev.Adopted(
                job.earlier_ids[0], record.attempt, node, Reservation((slot,)), record.exit, submitted_as=job.id
            )
            self.do(event)

    @invariant()
    def whole(self):
        """The same as for honest nodes, but a node may lie about its own slots."""
        holders = {job.key: job for job in self.pool.jobs.values() if job.state in HOLDING}
        for name, node in self.pool.nodes.items():
            ours = {key for key, job in holders.items() if job.node == name}
            assert ours <= set(node.reservations), "a holder has a reservation"
            assert (set(holders) - ours) & set(node.reservations) == set(), "on one node only"
            slots = [slot for key in ours for slot in node.reservations[key][1].slots]
            assert len(slots) == len(set(slots)), "no slot twice"
        for job in self.pool.jobs.values():
            assert job.spec.id not in self.settled, "terminal states stay"
            json.dumps(job.progress and dataclasses.asdict(job.progress), allow_nan=False)


TestGarbage = Garbage.TestCase
TestGarbage.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
