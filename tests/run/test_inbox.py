"""The inbox: what comes in together goes out in order, and a flood makes the nodes wait."""

import threading
import time

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.run import inbox as module
from snakemake_executor_plugin_harbor.run.inbox import Inbox, JobDescription, OutputRequest
from tests.sshd import wait_until


def tick(hour):
    return ev.Tick(hour)


def test_items_are_sorted_by_kind_and_keep_their_order():
    inbox = Inbox()
    job = JobDescription("run/1", "1", "rule", {}, 1)
    inbox.describe(job)
    inbox.post(tick(1), tick(2))
    inbox.request_output(OutputRequest("run/1", 7))
    inbox.post(tick(3))
    inbox.send_later("ada", {"t": "forget"})
    barrier = inbox.barrier()
    batch = inbox.take(0)
    assert batch.events == [tick(1), tick(2), tick(3)] and batch.jobs == [job]
    assert batch.output_requests == [OutputRequest("run/1", 7)]
    assert [(item.node, item.message) for item in batch.messages] == [("ada", {"t": "forget"})]
    assert batch.barriers == [barrier] and not barrier.is_set() and not batch.last
    assert inbox.take(0) == module.Batch(), "each item is taken once"


def test_an_event_of_a_replaced_connection_does_not_count():
    inbox = Inbox()
    inbox.post_from_link(tick(1), lambda: False)
    inbox.post_from_link(tick(2), lambda: True)
    assert inbox.take(0).events == [tick(2)]


def test_a_batch_is_bounded_and_everything_before_the_end_is_taken():
    inbox = Inbox()
    for i in range(module.BATCH_MAX + 10):
        inbox.post(tick(i))
    inbox.close()
    first, second = inbox.take(0), inbox.take(0)
    assert len(first.events) == module.BATCH_MAX and not first.last
    assert len(second.events) == 10 and second.last


def test_a_wait_ends_with_the_first_item_or_in_time():
    inbox = Inbox()
    started = time.monotonic()
    assert inbox.take(0.05).events == [] and time.monotonic() - started >= 0.04
    threading.Timer(0.05, inbox.post, [tick(1)]).start()
    assert inbox.take(30).events == [tick(1)]


def test_a_flood_makes_links_wait_until_the_dispatcher_takes(monkeypatch):
    monkeypatch.setattr(module, "BACKLOG_MAX", 10)
    inbox, sent = Inbox(), []

    def flood():
        for i in range(30):
            inbox.post_from_link(tick(i), lambda: True)
            sent.append(i)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    wait_until(lambda: len(sent) == 11, 10, "the full backlog")
    assert thread.is_alive()
    found = []
    wait_until(lambda: found.extend(inbox.take(0.1).events) or len(found) == 30, 20, "all events")
    assert found == [tick(i) for i in range(30)]
    thread.join(10)


def test_a_link_does_not_wait_for_a_dispatcher_that_has_failed(monkeypatch):
    monkeypatch.setattr(module, "BACKLOG_MAX", 0)
    inbox = Inbox()
    inbox.post(tick(0))
    inbox.unblock_links()
    inbox.post_from_link(tick(1), lambda: True)
    assert inbox.take(0).events == [tick(0), tick(1)]
