"""The codec: any bytes, in any chunks, become messages or nothing."""

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_harbor.core.codec import Decoder, encode
from tests.core.messages import messages, patient

LIMIT = 60


lines = st.one_of(
    st.binary(max_size=2 * LIMIT),
    st.sampled_from(
        [b'{"t":"a"}', b"{}", b"[1]", b'{"t":1}', b'{"t":"' + b"x" * (LIMIT - 8) + b'"}', b"\xff\xfe", b""]
    ),
    st.sampled_from(
        [b'{"t":"' + b"x" * (LIMIT - 7) + b'"}', b"[" * 50, b'{"t":"b","n":NaN}', b'{"t":"\\ud800"}', b"{"]
    ),
    messages().map(lambda message: encode(message)[:-1]),
)


def decoded(chunks, limit=LIMIT):
    decoder = Decoder(limit)
    found = [repr(message) for chunk in chunks for message in decoder.feed(chunk)]
    return found, decoder.dropped


@patient
@given(lines=st.lists(lines, max_size=8), cuts=st.lists(st.integers(0, 500), max_size=12), end=st.booleans())
def test_messages_do_not_depend_on_where_chunks_end(lines, cuts, end):
    data = b"\n".join(lines) + (b"\n" if end else b"")
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole = decoded([data])
    assert decoded([data[a:b] for a, b in itertools.pairwise(borders)]) == whole
    assert decoded([data[i : i + 1] for i in range(len(data))]) == whole


@patient
@given(lines=st.lists(lines, max_size=8))
def test_every_whole_line_is_a_message_or_dropped_and_long_ones_are_dropped(lines):
    data = b"".join(line + b"\n" for line in lines)
    found, dropped = decoded([data])
    assert len(found) + dropped == data.count(b"\n")
    assert len(found) <= sum(len(line) <= LIMIT for line in data.split(b"\n"))
    assert decoded([data, b'{"t":"fine"}\n'])[0] == [*found, "{'t': 'fine'}"], "it goes on"


def test_a_line_of_exactly_the_limit_passes():
    line = b'{"t":"' + b"x" * (LIMIT - 8) + b'"}'
    assert len(line) == LIMIT
    assert decoded([line + b"\n"])[1] == 0
    assert decoded([b" " + line + b"\n"]) == ([], 1)


@pytest.mark.parametrize("piece", [b"x" * 65536, b"\n" * 65536, b"[" * 65535 + b"\n"], ids=["endless", "empty", "deep"])
def test_a_decoder_holds_no_more_than_its_limit(piece):
    decoder = Decoder(1 << 20)
    tracemalloc.start()
    try:
        for _ in range(40):
            assert not list(decoder.feed(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The limit twice, and the 65,536 lines of one chunk, each with 33 bytes and a pointer.
    assert peak < 6 << 20, f"{peak >> 10} KiB"
