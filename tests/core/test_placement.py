"""The placement formula: which node gets the next job, and why another node does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_harbor.core.feasibility import Refusal
from snakemake_executor_plugin_harbor.core.free_resources import STARVATION_S, cores_left, within_hours
from snakemake_executor_plugin_harbor.core.machine import machine_of, peers_by_boot_id
from snakemake_executor_plugin_harbor.core.model import Load, NodeFacts, NodeSpec, NodeState, Request, Reservation
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.core.placement import Placement, place
from snakemake_executor_plugin_harbor.core.policy import Policy


def node(name, cores=4, busy=0.0, ours=None, reservations=None, mem=16000, available=16000, **spec):
    view = NodeView(NodeSpec(name=name, host=name, **spec), NodeState.READY)
    view.facts = NodeFacts(cores=cores, mem_mb=mem, boot_id=f"boot-{name}", gpus=(0, 1))
    view.load = Load(busy=busy, ours=ours or {}, mem_available_mb=available, disk_free_mb=10_000)
    for index, (key, request) in enumerate((reservations or {}).items()):
        view.reservations[key] = (
            request,
            Reservation(tuple(range(index * request.cores, (index + 1) * request.cores))),
        )
    return view


def pool(*nodes):
    return {n.spec.name: n for n in nodes}


def chosen(answer):
    assert isinstance(answer, Placement), answer
    return answer.node


CASES = [
    ("idle beats busy", pool(node("a", busy=2.0), node("b")), Request(), "b"),
    (
        "relative to size: 7 of 8 free beats 3 of 4",
        pool(node("a", busy=1.0), node("b", cores=8, busy=1.0)), Request(), "b",
    ),
    (
        "a reservation counts before the load shows it",
        pool(node("a", reservations={"r/1#1": Request(3)}), node("b", busy=2.0)), Request(), "b",
    ),
    (
        "our load is not counted twice",
        pool(node("a", busy=1.0, ours={"r/1#1": 1.0}, reservations={"r/1#1": Request()}), node("b", busy=1.5)),
        Request(), "a",
    ),
    (
        "a job that has ended since the sample leaves its cores",
        pool(node("a", cores=2, busy=2.0, ours={"r/1#1": 2.0}), node("b", cores=2, busy=1.0)), Request(), "a",
    ),
    ("memory breaks the tie", pool(node("a", available=8000), node("b", available=9000)), Request(), "b"),
    ("then the name", pool(node("b"), node("a")), Request(), "a"),
    ("a pin", pool(node("a"), node("b", busy=3.0)), Request(node="b"), "b"),
    ("a constraint", pool(node("a"), node("b", tags=frozenset({"big"}))), Request(constraint=frozenset({"big"})), "b"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "request_", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_choice(nodes, request_, expected):
    assert chosen(place(request_, nodes, Policy(), now=0.0)) == expected


REFUSALS = [
    ("no slot", node("a", cores=1, reservations={"r/1#1": Request()}), Request(), "has 0 of 1 slots free", False),
    ("other people", node("a", cores=2, busy=2.0), Request(), "other people use 2.0", False),
    ("memory now", node("a", available=1000), Request(mem_mb=800), "512 stay free", False),
    ("memory ever", node("a", mem=1000), Request(mem_mb=2000), "has 1000 MiB of memory", True),
    ("cores ever", node("a"), Request(cores=9), "has 4 slots, the job needs 9", True),
    ("gpus ever", node("a"), Request(gpus=3), "has 2 GPUs", True),
    ("tags", node("a"), Request(constraint=frozenset({"big"})), "lacks the tag big", True),
    ("disk", node("a"), Request(disk_mb=20_000), "MiB of scratch free", False),
]


@pytest.mark.parametrize(
    ("view", "request_", "text", "forever"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_refusal_says_why(view, request_, text, forever):
    answer = place(request_, pool(view), Policy(), now=0.0)
    assert isinstance(answer, Refusal)
    assert text in answer.reasons["a"]
    assert answer.permanent is forever


def test_nobody_starves_but_a_visitor_is_left_alone():
    busy = node("a", cores=2, busy=2.0)
    assert isinstance(place(Request(), pool(busy), Policy(), now=STARVATION_S - 1), Refusal)
    placed = place(Request(), pool(busy), Policy(), now=STARVATION_S)
    assert chosen(placed) == "a" and placed.why.startswith(
        "it ran none of our jobs for 30 s, so it takes one though 0.0 "
    )
    busy.load = Load(busy=2.0, users=("somebody",))
    assert isinstance(place(Request(), pool(busy), Policy(), now=1e6), Refusal)


def test_slots_above_the_cores_are_the_users_choice_and_below_a_cap():
    many = node("a", cores=2, busy=1.5, slots=8)
    assert isinstance(place(Request(cores=5), pool(many), Policy(), now=0.0), Placement)
    few = node("b", cores=16, busy=10.0, slots=2)
    assert isinstance(place(Request(cores=2), pool(few), Policy(), now=0.0), Placement)
    assert isinstance(place(Request(cores=3), pool(few), Policy(), now=0.0), Refusal)


def test_two_names_of_one_machine_share_its_load():
    one, two = node("a", cores=4), node("b", cores=4)
    two.facts = one.facts
    one.reservations["r/1#1"] = (Request(4), Reservation((0, 1, 2, 3)))
    assert isinstance(place(Request(), pool(one, two), Policy(), now=0.0), Refusal)


def test_two_jobs_never_share_a_slot_or_a_gpu():
    view = node("a", cores=4)
    taken = set()
    for index in range(2):
        answer = place(Request(cores=2, gpus=1), pool(view), Policy(), now=0.0)
        assert isinstance(answer, Placement)
        for what in (*answer.reservation.slots, *(f"gpu{g}" for g in answer.reservation.gpus)):
            assert what not in taken
            taken.add(what)
        view.reservations[f"r/{index}#1"] = (Request(cores=2, gpus=1), answer.reservation)


@pytest.mark.parametrize(
    ("hours", "hour", "inside"),
    [
        ((18, 8), 20, True),
        ((18, 8), 7, True),
        ((18, 8), 12, False),
        ((9, 17), 9, True),
        ((9, 17), 17, False),
        (None, 3, True),
    ],
)
def test_hours(hours, hour, inside):
    assert within_hours(hours, hour) is inside


@given(
    busy=st.lists(st.floats(0, 8), min_size=1, max_size=6),
    cores=st.integers(1, 8),
    max_load=st.floats(0.2, 2.0),
    jobs=st.lists(st.integers(1, 3), max_size=30),
)
def test_placements_respect_the_limit_and_follow_the_load(busy, cores, max_load, jobs):
    """No placement brings a node above its limit by more than the tolerance, and the emptiest node is chosen."""
    nodes = pool(*(node(f"n{i}", cores=cores, busy=min(b, cores)) for i, b in enumerate(busy)))
    policy = Policy(max_load=max_load)
    for index, want in enumerate(jobs):
        answer = place(Request(cores=want), nodes, policy, now=0.0)
        if isinstance(answer, Refusal):
            assert set(answer.reasons) == set(nodes)
            continue
        view = nodes[answer.node]
        peers = peers_by_boot_id(nodes.values())
        mine = cores_left(view, machine_of(view, peers), policy)
        assert mine + 0.5 >= want
        for other in nodes.values():
            fits = len(other.reservations.slots) + want <= other.slots
            if fits and cores_left(other, machine_of(other, peers), policy) > mine + 1e-9:
                pytest.fail(f"{other.spec.name} had more left than {answer.node}")
        view.reservations[f"r/{index}#1"] = (Request(cores=want), answer.reservation)
        assert len(view.reservations.slots) == sum(r.cores for r, _ in view.reservations.values()) <= view.slots


def test_a_reason_does_not_repeat_the_name_of_the_node():
    nodes = {"a": NodeView(NodeSpec("a", "a"), NodeState.BACKOFF, why="node a: no route")}
    assert place(Request(), nodes, Policy(), 0.0).reasons == {"a": "is backoff: no route"}
    nodes["a"].state = NodeState.REJECTED
    assert place(Request(), nodes, Policy(), 0.0).reasons == {"a": "cannot be used: no route"}
