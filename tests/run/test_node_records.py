"""Records of attempts: those that nodes list, and exit notices."""

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.run.node_records import NodeRecords


def known(job, code=None):
    return ev.NodeRecord(job, 1, running=code is None, exit=None if code is None else {"code": code})


def test_a_notice_outlasts_the_hello_of_its_node():
    """A soak found it: a node's next agent lists only the attempts that its older agent has not put into a notice."""
    records = NodeRecords()
    records.add_exit_notice("a", known("old/1", code=0))
    records.node_listed("a", [known("old/2")])
    assert {record.job for _, record in records.all()} == {"old/1", "old/2"}
    assert records.exit_of("a", "old/1", 1) == {"code": 0}
    assert records.exit_of("b", "old/1", 1) is None
    records.remove_node("a")
    assert [record.job for _, record in records.all()] == ["old/1"], "the node has left, the notice counts"


def test_what_a_node_lists_comes_before_a_notice_of_it():
    records = NodeRecords()
    records.add_exit_notice("a", known("old/1", code=0))
    records.node_listed("a", [known("old/1")])
    assert records.all() == [("a", known("old/1"))]


def test_each_change_gives_another_version():
    records = NodeRecords()
    seen = {records.version}
    for change in (
        lambda: records.node_listed("a", [known("old/1")]),
        lambda: records.attempt_ended("a", "old/1", 1, {"code": 2}),
        lambda: records.add_exit_notice("a", known("old/2", code=0)),
        lambda: records.remove_node("a"),
    ):
        change()
        seen.add(records.version)
    assert len(seen) == 5
