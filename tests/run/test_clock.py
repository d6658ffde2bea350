"""The clock that stands still while the process is suspended."""

from snakemake_executor_plugin_harbor.run.clock import LONGEST_S, AwakeClock


def test_a_suspend_does_not_count():
    real = [100.0]
    clock = AwakeClock(lambda: real[0])
    real[0] += 1
    assert clock.now() == 1
    real[0] += 8 * 3600
    assert clock.now() == 1 + LONGEST_S
    real[0] += 2
    assert clock.now() == 3 + LONGEST_S
