"""What a node gets when it connects, and which nodes are accepted."""

import os
import sys
from dataclasses import replace

import pytest

from snakemake_executor_plugin_harbor.core.model import NodeFacts, NodeSpec
from snakemake_executor_plugin_harbor.store.workdir import typed_workdir


def test_the_message_has_what_jobs_need_and_no_secret(start):
    run = start("1/localhost")
    (node,) = run.config.nodes
    before = os.umask(0o027)
    try:
        message = run.welcome.welcome(node)
    finally:
        os.umask(before)
    assert (message["run"], message["node"], message["umask"]) == (run.workdir.run, "localhost", 0o027)
    assert (message["workdir"], message["owner"]) == (str(run.workdir.workdir), run.workdir.id)
    assert "secret" not in repr(message)


def test_a_node_without_the_working_directory_gets_files_if_that_is_allowed(start):
    run = start("1/localhost")
    node = NodeSpec("ada", "ada")
    alone, together = (NodeFacts(cores=1, mem_mb=1, boot_id="x", shared=shared) for shared in (False, True))
    assert run.welcome.is_staged(node, alone) and not run.welcome.is_staged(run.config.nodes[0], alone)
    assert run.welcome.is_staged(replace(node, staging="always"), together)
    assert not run.welcome.is_staged(replace(node, staging="never"), alone)
    assert not run.welcome.is_staged(node, together)
    assert not run.welcome.is_staged(node, alone), "it has lost its mount"
    assert run.welcome.why_unusable(node, NodeFacts(cores=1, mem_mb=1, boot_id="x", shared=True)) is None
    why = run.welcome.why_unusable(node, NodeFacts(cores=1, mem_mb=1, boot_id="x", shared=False))
    assert str(run.workdir.workdir) in why and "Mount it" in why


def test_an_edited_host_file_is_read_again_and_a_bad_edit_gives_a_warning(start, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("1/localhost\n")
    run = start(hostfile=hosts)
    assert run.welcome.changed_host_list() is None

    def edit(text):
        hosts.write_text(text)
        os.utime(hosts, ns=(len(text), len(text)))
        return [run.welcome.changed_host_list() for _ in range(3)]

    changed = [found for found in edit("1/localhost\n2/ada\n") if found is not None]
    assert len(changed) == 1 and [node.name for node in changed[0]] == ["localhost", "ada"]
    assert edit("two words too many in a line\n") == [None, None, None]
    assert sum("the edited host list is not used" in line for line in run.lines) == 1


@pytest.mark.parametrize("typed", ["link", "elsewhere", "gone", "relative"])
def test_the_working_directory_is_as_typed_if_it_is_the_same(tmp_path, monkeypatch, typed):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(real)
    monkeypatch.setenv("PWD", "real" if typed == "relative" else str(tmp_path / typed))
    assert typed_workdir() == (str(tmp_path / "link") if typed == "link" else str(real))


def test_scripts_run_in_the_python_of_the_host_file_or_else_in_ours_if_the_node_has_it(start, tmp_path):
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("ada: {python: /opt/python3}\neve: {}\n")
    run = start(hostfile=hosts)
    messages = {node.name: run.welcome.welcome(node) for node in run.config.nodes}
    assert messages["ada"]["python"] is None and messages["eve"]["python"] == sys.executable
