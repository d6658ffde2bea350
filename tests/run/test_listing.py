"""Records of attempts: what nodes list, and the notices that they left."""

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.run.node_records import NodeRecords


def known(job, code=None):
    return ev.NodeRecord(job, 1, running=code is None, exit=None if code is None else {"code": code})


def test_a_notice_outlasts_the_hello_of_its_node():
    """Found by the soak: the node's next agent lists only what its older one has not put into a notice."""
    listing = NodeRecords()
    listing.add("a", known("old/1", code=0))
    listing.take("a", [known("old/2")])
    assert {record.job for _, record in listing.all()} == {"old/1", "old/2"}
    assert listing.exit("a", "old/1", 1) == {"code": 0}
    assert listing.exit("b", "old/1", 1) is None
    listing.drop("a")
    assert [record.job for _, record in listing.all()] == ["old/1"], "the node has left, the notice counts"


def test_what_a_node_lists_comes_before_a_notice_of_it():
    listing = NodeRecords()
    listing.add("a", known("old/1", code=0))
    listing.take("a", [known("old/1")])
    assert listing.all() == [("a", known("old/1"))]


def test_each_change_gives_another_version():
    listing = NodeRecords()
    seen = {listing.version}
    for change in (
        lambda: listing.take("a", [known("old/1")]),
        lambda: listing.end("a", "old/1", 1, {"code": 2}),
        lambda: listing.add("a", known("old/2", code=0)),
        lambda: listing.drop("a"),
    ):
        change()
        seen.add(listing.version)
    assert len(seen) == 5
