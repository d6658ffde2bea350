"""A node has one connection and one agent at a time, however often the link connects."""

import time
from dataclasses import replace
from pathlib import Path

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.remote.connection_end import LOGIN_PAUSE_S
from tests.dead import dead_hosts
from tests.remote.link_rig import NODE, LinkRig
from tests.sshd import wait_until


def test_connect_ends_an_earlier_connection_first(rig: LinkRig) -> None:
    link = rig.link()
    assert isinstance(rig.connect(link), ev.NodeUp)
    (first,) = rig.agents()
    assert isinstance(rig.connect(link), ev.NodeUp), "the end of the first connection is not reported"
    wait_until(lambda: len(rig.agents()) == 1, 10, "one agent")
    assert rig.agents() != [first]
    wait_until(lambda: len(rig.agents("harbor-guardian")) == 1, 10, "one guardian")
    rig.next_event(ev.LoadMeasured)


def test_quick_connects_leave_one_agent(rig: LinkRig) -> None:
    for _ in range(6):
        rig.links.connect(NODE)
        time.sleep(0.1)
    assert isinstance(rig.next_event(ev.NodeUp, ev.NodeDown), ev.NodeUp)
    wait_until(lambda: len(rig.agents()) == 1, 15, "one agent")
    rig.next_event(ev.LoadMeasured)
    assert len(rig.agents()) == len(rig.agents("harbor-guardian")) == 1


def test_a_node_that_leaves_and_joins_with_another_setup_has_one_agent(rig: LinkRig) -> None:
    rig.links.connect(NODE)
    rig.next_event(ev.NodeUp)
    most = 0
    for number in range(4):
        rig.links.disconnect("node1")
        rig.links.connect(replace(NODE, setup=f": {number}"))
        event = rig.next_event(ev.NodeUp, ev.NodeDown)
        assert isinstance(event, ev.NodeUp)
        most = max(most, len(rig.agents()))
    assert most == 1
    rig.links.close()
    wait_until(lambda: not rig.agents() and not rig.agents("harbor-guardian"), 10, "the end of all agents")


def test_an_edit_of_slots_or_tags_keeps_the_link(rig: LinkRig) -> None:
    """The link remembers what worked before. So a refused login does not reject the node."""
    rig.links.connect(NODE)
    rig.next_event(ev.NodeUp)
    rig.links.abort("node1")
    rig.next_event(ev.NodeDown)
    rig.pool.authorized.write_text("")
    rig.links.connect(replace(NODE, slots=3, tags=frozenset({"big"})))
    down = rig.next_event(ev.NodeUp, ev.NodeDown)
    assert (down.permanent, down.pause) == (False, LOGIN_PAUSE_S), down


def test_a_rejected_node_has_no_connection(rig: LinkRig) -> None:
    rig.links.connect(NODE)
    rig.next_event(ev.NodeUp)
    rig.links.reject("node1")
    wait_until(lambda: not rig.agents() and not rig.agents("harbor-guardian"), 10, "the end of the agent")
    rig.links.connect(NODE)
    assert isinstance(rig.next_event(ev.NodeUp, ev.NodeDown), ev.NodeUp)
    assert len(rig.agents()) == 1


def test_a_dial_that_hangs_does_not_delay_the_next_one(rig: LinkRig, tmp_path: Path) -> None:
    """An edit that corrects the address does not wait for the timeout of the first dial."""
    good = rig.pool.ssh_config.read_text()
    with dead_hosts(1, rig.pool.ssh_config, rig.pool.known_hosts) as dead:
        rig.pool.ssh_config.write_text(rig.pool.ssh_config.read_text().replace(f"Host {dead[0]}", "Host node1", 1))
        # ssh takes the first value that it finds.
        text = rig.pool.ssh_config.read_text()
        rig.pool.ssh_config.write_text(text[text.rindex("Host node1") :] + "\n" + good)
        rig.links.connect(NODE)
        time.sleep(1)
        rig.pool.ssh_config.write_text(good)
        begun = time.monotonic()
        rig.links.connect(NODE)
        assert isinstance(rig.next_event(ev.NodeUp, ev.NodeDown), ev.NodeUp)
        assert time.monotonic() - begun < 8
