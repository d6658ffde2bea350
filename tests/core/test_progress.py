"""The progress of a job, the time that is left, and the expected durations of rules."""

import math

import pytest

from snakemake_executor_plugin_harbor.core.progress import Progress, RuleDurations, progress_of


def test_the_time_that_is_left_follows_from_the_pace_so_far():
    assert Progress(1, 4).eta(10.0) == 30.0
    assert Progress(4, 4).eta(10.0) == 0.0
    assert Progress(0, 4).eta(10.0) is None


@pytest.mark.parametrize("pair", [None, [1], [1, 2, 3], [True, 2], ["1", 2], [1, 0], [math.nan, 2], [1, math.inf]])
def test_what_is_no_progress_is_ignored(pair):
    assert progress_of(pair) is None


def test_recent_jobs_count_more():
    durations = RuleDurations()
    assert durations.expected("rule") == 0.0
    for _ in range(10):
        durations.add("rule", 10.0)
    for _ in range(10):
        durations.add("rule", 100.0)
    assert 80.0 < durations.expected("rule") < 100.0
