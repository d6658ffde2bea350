"""The invariants of the pool hold under any order of events."""

from hypothesis import settings

from tests.core.pool_machine import AnyOrder

TestAnyOrder = AnyOrder.TestCase


TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
