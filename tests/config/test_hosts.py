"""Each form of the host list gives its nodes, and each mistake gives an error that names its place."""

import os
import re
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.config.host import parse_host, with_unique_names
from snakemake_executor_plugin_harbor.config.hostfile import parse_hosts, read_hostfile
from snakemake_executor_plugin_harbor.config.pool_config import host_list
from snakemake_executor_plugin_harbor.config.settings import ExecutorSettings
from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.core.protocol import MAX_CORES
from snakemake_executor_plugin_harbor.errors import HarborError


def spec(host: str, **keys: object) -> NodeSpec:
    return NodeSpec(**{"name": host, "host": host, **keys})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ada", spec("ada")),
        ("8/ada", spec("ada", slots=8)),
        ("carol@grace:2222", spec("grace", user="carol", port=2222)),
        ("4/dom\\carol@10.0.0.7", spec("10.0.0.7", user="dom\\carol", slots=4)),
        ("[fe80::1%eth0]:22", spec("fe80::1%eth0", port=22)),
        ("::1", spec("::1")),
        ("localhost", spec("localhost", local=True)),
        ("2/localhost", spec("localhost", local=True, slots=2)),
        ("me@localhost", spec("localhost", user="me")),
        ("localhost:2222", spec("localhost", port=2222)),
        (f"{MAX_CORES}/ada", spec("ada", slots=MAX_CORES)),
    ],
)
def test_a_host(text, wanted):
    assert parse_host(text, "here") == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0/ada", "SLOTS"),
        (f"{MAX_CORES + 1}/ada", f"from 1 to {MAX_CORES}"),
        ("9" * 5000 + "/ada", "SLOTS"),
        ("\u0663/ada", "SLOTS"),
        ("ada:65536", "PORT"),
        ("ada:" + "9" * 5000, "PORT"),
        ("ada:\u0662\u0662", "PORT"),
        ("-oProxyCommand=x", "host name"),
        ("-l@ada", "user name"),
        ("a" * 300, "host name"),
        ("", "no host name"),
        ("ada bob", "host name"),
        ("[::1]x", "only :PORT"),
    ],
)
def test_what_is_no_host(text, why):
    with pytest.raises(HarborError, match=why) as caught:
        parse_host(text, "hosts:7")
    assert str(caught.value).startswith("hosts:7: ") and len(str(caught.value)) < 400


def test_blanks_and_commas_separate():
    assert [node.name for node in parse_hosts(["a,b", "c d ,e"])] == list("abcde")


def test_pbs(monkeypatch, tmp_path):
    nodes = tmp_path / "nodes"
    nodes.write_text("ada.cluster\nada.cluster\ngrace.cluster\n10.0.0.7\n")
    monkeypatch.setenv("PBS_NODEFILE", str(nodes))
    assert parse_hosts(["pbs"]) == [spec("ada", slots=2), spec("grace", slots=1), spec("10.0.0.7", slots=1)]
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path))
    with pytest.raises(HarborError, match="cannot be read"):
        parse_hosts(["pbs"])
    monkeypatch.delenv("PBS_NODEFILE")
    with pytest.raises(HarborError, match="not inside a PBS job"):
        parse_hosts(["pbs"])


def test_slurm(monkeypatch, tmp_path):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames n[1-3]" ] && printf "n1\\nn2\\nn3\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-3]")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "8(x2),4")
    assert parse_hosts(["slurm"]) == [spec("n1", slots=8), spec("n2", slots=8), spec("n3", slots=4)]
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "8(x2")
    assert parse_hosts(["slurm"]) == [spec("n1"), spec("n2"), spec("n3")]
    monkeypatch.setenv("SLURM_JOB_NODELIST", "other")
    with pytest.raises(HarborError, match="scontrol"):
        parse_hosts(["slurm"])


def test_slurm_memory(monkeypatch, tmp_path):
    """The allocation's memory is the node's, whether it was asked for per node or per core."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\nprintf "n1\\nn2\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "8,4")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1000")
    assert [node.mem_mb for node in parse_hosts(["slurm"])] == [8000, 4000]
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "3000")
    assert [node.mem_mb for node in parse_hosts(["slurm"])] == [3000, 3000]
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "?")
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    assert [(node.slots, node.mem_mb) for node in parse_hosts(["slurm"])] == [(None, None), (None, None)]


def test_a_file_of_lines(tmp_path):
    path = tmp_path / "hosts"
    path.write_bytes("\ufeff# ours\r\n8/ada # big\r\n\r\nbob: carol@10.0.0.7:2222\r\n".encode())
    assert read_hostfile(path) == [
        spec("ada", slots=8),
        NodeSpec(name="bob", host="10.0.0.7", user="carol", port=2222),
    ]


def test_every_yaml_key_reaches_the_node(tmp_path):
    path = tmp_path / "hosts.yaml"
    path.write_text(
        "ada: {slots: 8, mem_mb: 64000, gpus: 2, tags: [big, fast], scratch: /local/tmp, python: /opt/python3, "
        "setup: module load tools, max_load: 1, hours: 18-8}\n"
        "grace: {host: 'carol@10.0.0.7:2222', tags: big}\n"
        "8/bob:\n"
        "me@eve:2222: {slots: 3}\n"
        "ivy: 4/10.0.0.8\n"
        "1234: {hours: 0-24}\n"
    )
    assert read_hostfile(path) == [
        spec(
            "ada",
            slots=8,
            mem_mb=64000,
            gpus=2,
            tags=frozenset({"big", "fast"}),
            scratch="/local/tmp",
            python="/opt/python3",
            setup="module load tools",
            max_load=1.0,
            hours=(18, 8),
        ),
        NodeSpec(name="grace", host="10.0.0.7", user="carol", port=2222, tags=frozenset({"big"})),
        spec("bob", slots=8),
        spec("eve", user="me", port=2222, slots=3),
        NodeSpec(name="ivy", host="10.0.0.8", slots=4),
        spec("1234", hours=(0, 24)),
    ]


def test_an_alias_stands_for_what_it_names(tmp_path):
    path = tmp_path / "hosts.yaml"
    path.write_text("ada: &big {slots: 8, tags: [big]}\ngrace: *big\n")
    ada, grace = read_hostfile(path)
    assert (ada.slots, ada.tags) == (grace.slots, grace.tags) == (8, frozenset({"big"}))


BOMB = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi"))  # noqa: B905
BAD = [
    ("? [host1, host2]\n: {slots: 1}", "a sequence cannot be a name"),
    ("? {a: b}\n: {slots: 1}", "a mapping cannot be a name"),
    ("ada: {[a]: 1}", "a sequence cannot be a name"),
    ("- ada\n- bob", "got a sequence"),
    ("ada", "got a scalar"),
    ("ada: [1, 2]", "got a sequence"),
    ("ada: 5", "expected str, got 5"),
    ("~: {slots: 1}", "'~' is not a host"),
    ("? \n: {slots: 1}", "there is no host name"),
    ("ada: {slots: true}", "expected int, got True"),
    ("ada: {slots: 1.5}", "expected int, got 1.5"),
    ("ada: {slots: 0}", "at least 1"),
    (f"ada: {{slots: {MAX_CORES + 1}}}", f"from 1 to {MAX_CORES}"),
    ("ada: {slots: " + "9" * 5000 + "}", "cannot be read as int"),
    ("ada: {slots: 0o9}", "expected int"),
    ("ada: {mem_mb: -1}", "at least 1"),
    ("ada: {max_load: .nan}", "from 0.01"),
    ("ada: {max_load: .inf}", "from 0.01"),
    ("ada: {max_load: " + "9" * 400 + "}", "max_load"),
    ("ada: {hours: 2026-13-45}", "cannot be read as timestamp"),
    ("ada: {hours: 25-3}", "FROM-TO"),
    ("ada: {tags: {a: b}}", "got a mapping"),
    ("ada: {tags: [[a]]}", "got a sequence"),
    ("ada: {tags: [1]}", "list of words"),
    ("ada: {scratch: tmp}", "absolute path"),
    ('ada: {setup: "a\\nb"}', "one line"),
    ("ada: {python: !!python/object:os.system x}", "cannot be read"),
    ("ada: {python: !!binary \u00e4}", "cannot be read"),
    ("a b: {host: ada}", "is not a node name"),
    ("ada: {slots: 1}\nada: {slots: 2}", "'ada' is there twice"),
    ("ada: {slots: 1, slots: 2}", "'slots' is there twice"),
    ("ada: {slot: 1}", "Did you mean slots"),
    ("ada: {<<: {slots: 1}}", "unknown key"),
    ("ada: &a {x: *a}", "unknown key"),
    ("x: &x\n  ? *x\n  : 1", "cannot be a name"),
    ("ada: *nobody", "undefined alias"),
    ("ada: {slots: 1", "expected"),
    ("ada:\n\tslots: 1", "cannot start any token"),
    ("---\na: b\n---\nc: d", "expected a single document"),
    ("a: " + "[" * 5000, "nested too deeply"),
    (BOMB, "got a sequence"),
    ("\x01", "not YAML"),
    ("\x00", "not a text file"),
]


@pytest.mark.parametrize(("text", "why"), BAD, ids=range(len(BAD)))
def test_a_bad_yaml_file_is_a_short_error_with_its_name(tmp_path, text, why):
    path = tmp_path / "hosts.yaml"
    path.write_text(text)
    with pytest.raises(HarborError) as caught:
        read_hostfile(path)
    said = str(caught.value)
    assert str(path) in said and why in said and len(said) < 500 + 2 * len(str(path)), said
    assert f"Try: {'file' if 'text file' in why else 'harbor nodes --hostfile'} {path}" in said


@pytest.mark.parametrize("name", ["hosts", "hosts.yaml"])
def test_a_file_that_cannot_be_read(tmp_path, name):
    path = tmp_path / name
    for make, why, command in (
        (lambda: None, "No such file", "ls -l"),
        (path.mkdir, "Is a directory", "ls -l"),
        (lambda: (path.rmdir(), path.write_bytes(b"\xff\xfe")), "not a text file", "file"),
        (lambda: path.write_bytes(b"#" * (5 << 20)), "larger than", "ls -l"),
    ):
        make()
        with pytest.raises(HarborError, match=why) as caught:
            read_hostfile(path)
        assert str(path) in str(caught.value) and f"Try: {command} {path}" in str(caught.value)


def test_distinct_names():
    assert [n.name for n in with_unique_names([spec("a", port=1), spec("a", port=2), spec("b")])] == ["a:1", "a:2", "b"]
    with pytest.raises(HarborError, match="node a is in the host list twice"):
        with_unique_names([spec("a"), spec("a", slots=3)])


def settings(path: Path | None, *hosts: str, **others: object) -> ExecutorSettings:
    return ExecutorSettings(hostfile=path, hosts=list(hosts), **others)  # type: ignore[arg-type]


def test_hosts_are_added_to_the_host_files(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("ada\nbob\n")
    assert [n.name for n in host_list(settings(path, "eve"))] == ["ada", "bob", "eve"]
    assert [n.name for n in host_list(settings(path, "eve", nnodes=2))] == ["ada", "bob"]
    assert host_list(settings(None)) == (spec("localhost", local=True),)
    with pytest.raises(HarborError) as caught:
        host_list(settings(path, "4/ada"))
    assert f"--harbor-hosts adds to the hosts of {path}" in str(caught.value)
    assert "--harbor-hosts 4/ada   # without --harbor-hostfile" in str(caught.value)
    path.write_text("ada\nada\n")
    with pytest.raises(HarborError, match="twice") as caught:
        host_list(settings(path, "eve"))
    assert "adds to" not in str(caught.value)


MISTAKES = [
    ("0/ada", "SLOTS must be a whole number from 1"),
    ("x/ada", "SLOTS must be a whole number from 1"),
    (",", "the host list is empty"),
    ("ada,ada", "node ada is in the host list twice"),
    ("ada:0", "PORT must be a number"),
    ("a!b@ada", "is not a user name"),
    ("slurm", "SLURM_JOB_NODELIST is not set"),
]


@pytest.mark.parametrize(("hosts", "text"), MISTAKES, ids=[h for h, _ in MISTAKES])
def test_a_mistake_in_the_host_list(monkeypatch, hosts, text):
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    with pytest.raises(HarborError, match=re.escape(text)):
        host_list(ExecutorSettings(hosts=[hosts]))


FILES = [
    ("missing", None, "cannot be read: No such file"),
    ("binary", b"\x00\xff\x00", "is not a text file"),
    ("line", b"ada\n# fine\nb/ad/host\n", "hosts:3: 'b/ad/host' is not a host"),
    ("empty", b"# nobody\n", "the host list is empty"),
    ("key.yaml", b"ada: {slot: 3}\n", "unknown key. Did you mean slots?"),
    ("workdir.yaml", b"ada: {workdir: /data}\n", "workdir: there is no such key any more. It had no effect"),
    ("type.yaml", b"ada: {slots: many}\n", "slots: expected int, got 'many'"),
    ("twice.yaml", b"ada: {slots: 3}\nada: {slots: 4}\n", "'ada' is there twice"),
    ("pair.yaml", b"? [ada, bob]\n: {slots: 3}\n", "a sequence cannot be a name"),
]


@pytest.mark.parametrize(("name", "data", "text"), FILES, ids=[f[0] for f in FILES])
def test_a_mistake_in_a_host_file(tmp_path, name, data, text):
    path = tmp_path / (name if "." in name else "hosts")
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(HarborError, match=re.escape(text)) as caught:
        host_list(ExecutorSettings(hostfile=path))
    assert path.name in str(caught.value)
