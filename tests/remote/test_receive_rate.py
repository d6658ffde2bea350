"""A node may send a burst. A node that sends more has to wait."""

import pytest

from snakemake_executor_plugin_harbor.remote.receive_rate import BURST_S, BYTES_PER_S, ReceiveRate


def test_the_rate_allows_a_burst_and_then_delays() -> None:
    rate = ReceiveRate()
    burst = bytes(int(BYTES_PER_S * BURST_S))
    assert rate.delay(burst, 100.0) == 0
    assert rate.delay(burst, 100.0) == pytest.approx(BURST_S)
    assert rate.delay(b"", 200.0) == 0
    assert rate.delay(b"\n" * 10_000, 200.0) > 0, "a line counts as more than its bytes"
