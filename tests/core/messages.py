"""Strategies for any message that a node may send."""

import math

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from snakemake_executor_plugin_harbor.core.codec import Decoder, encode

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # The machine may be busy.


ESCAPES = "\x1b]0;owned\x07\x1b[31m\x9b31m\x7f\r\x00\ud800"


KINDS = ("hello", "known", "ready", "load", "alive", "started", "refused", "progress", "exited", "gone", "output")


ODD = (1, 2.5, 10**400, -(10**400), math.inf, math.nan, -1, "x", True, None, [1], {})


NAMES = (
    *("job", "attempt", "state", "hash", "meta", "exit", "code", "reason", "steps", "tail", "log", "progress", "start"),
    *("end", "done", "total", "message", "path", "jobs", "busy", "ours", "ended", "load1", "mem_available_mb", "users"),
    *("disk_free_mb", "cores", "mem_mb", "gpus", "boot_id", "host", "user", "python", "scratch", "tmpdir", "time"),
    *("shared", "same", "warnings", "index", "slots", "cpu_s", "max_rss_mb", "litter", "shadow_dir"),
)


def nest(depth):
    value = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 2**63, -1, 0, 1, 999_999, 1_000_000, math.nan, math.inf, -math.inf, 1e308]),
)


texts = st.one_of(
    st.text(st.one_of(st.characters(), st.characters(categories=["Cs", "Cc"])), max_size=30),
    st.sampled_from([ESCAPES, "x" * 5000, "run/1", "lost", "running", "disk", "missing"]),
)


leaves = st.one_of(st.none(), st.booleans(), numbers, texts, st.sampled_from([40, 300]).map(nest))


values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), texts), inner, max_size=5),
    ),
    max_leaves=12,
)


jobs = st.one_of(st.sampled_from(["run/1", "run/2", "run/3", "old/1", "x/1"]), values)


attempts = st.one_of(st.integers(1, 3), values)


fields = dict.fromkeys(NAMES, values) | {
    "job": jobs,
    "attempt": attempts,
    "jobs": st.one_of(st.lists(st.tuples(jobs, attempts).map(list), max_size=5), values),
    "gpus": st.one_of(st.lists(st.fixed_dictionaries({"index": numbers})), values),
}


@st.composite
def messages(draw, kinds=KINDS):
    """Return any JSON object with a string "t". Most of them have a kind and fields of the protocol."""
    names = draw(st.sets(st.sampled_from(NAMES), max_size=12))
    kind = draw(st.one_of(st.sampled_from(kinds), texts) if kinds is KINDS else st.sampled_from(kinds))
    # Without a job and an attempt, nearly no message would pass the first check.
    return {name: draw(fields[name]) for name in sorted({"job", "attempt", *names})} | {"t": kind}


def wire(message):
    """Return the message as the decoder at the other end returns it, or None if it is dropped."""
    return next(Decoder().feed(encode(message)), None)
