"""A user's mistake is a clear error before any job runs, with exit code 1 and without a traceback."""

import os
import re
import socket
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.session.startup import BOOTING_S
from tests.snakemake.harness import on, setting
from tests.sshd import hosts, keygen, wait_until

SNAKEFILE = 'rule all:\n    output: "x"\n    shell: "touch {output}"\n'


@pytest.fixture
def refused(project, pool):
    """Run with options, and check that the run is refused with every text."""

    def check(options: list[str], *texts: str, snakefile: str = SNAKEFILE, env: dict[str, str] | None = None) -> str:
        work = project(snakefile)
        base = ["--executor", "harbor", "--jobs", "9", "--harbor-ssh-config", str(pool.ssh_config)]
        run = work.run(*base, *options, env=env).expect(1)
        for text in texts:
            assert text in run.text, f"{text!r} is not in:\n{run.text}"
        assert "Traceback" not in run.text and '  File "' not in run.text, run.text
        assert not (work.directory / "x").exists()
        assert not work.files(".snakemake/harbor/lock")
        return run.text

    return check


def test_a_host_list_and_a_host_file(refused, tmp_path):
    """(All that can be wrong with them: tests/config/test_hosts.py.)"""
    refused(["--harbor-hosts", "0/ada"], "SLOTS must be a whole number from 1")
    path = tmp_path / "key.yaml"
    path.write_text("ada: {slot: 3}\n")
    refused(["--harbor-hostfile", str(path)], "unknown key. Did you mean slots?", path.name)


def test_immediate_submit(refused):
    """Without the refusal, a job starts before its inputs exist, and Snakemake ends with "BUG: Out of jobs"."""
    refused(
        ["--immediate-submit", "--notemp"], "--immediate-submit is for batch systems", "Try: the same command without"
    )


def test_unknown_host_name(refused):
    refused(["--harbor-hosts", "no-such-host.invalid"], "no-such-host.invalid", "no node of the pool can be used")


def test_refused_port(refused):
    """The run waits for the node, because the machine may be booting."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        begun = time.monotonic()
        refused(["--harbor-hosts", f"127.0.0.1:{port}"], "127.0.0.1", "refused")
    assert BOOTING_S < time.monotonic() - begun < 2 * BOOTING_S


def test_wrong_key_and_changed_host_key_and_unknown_one(refused, tmp_path):
    with hosts(3, tmp_path / "pool") as pool:
        other = keygen(tmp_path / "other")
        changed = tmp_path / "changed"
        key = other.with_name("other.pub").read_text().split()[1]
        changed.write_text(f"{pool['node3'].known_name} ssh-ed25519 {key}\n")
        lines = {
            "node1": f"IdentityFile {other}",
            "node2": f"UserKnownHostsFile {tmp_path / 'none'}",
            "node3": f"UserKnownHostsFile {changed}",
        }
        blocks = [f"Host {name}\n  {line}\n  IdentitiesOnly yes\n" for name, line in lines.items()]
        config = tmp_path / "config"
        config.write_text("\n".join([*blocks, pool.ssh_config.read_text().replace(f"IdentityFile {pool.key}", "", 1)]))
        said = refused(["--harbor-ssh-config", str(config), "--harbor-hosts", ",".join(lines)], "Try: ")
    reasons = re.split("node (node[123])", said.lower())
    for name, word in (("node1", "ssh-copy-id"), ("node2", "known"), ("node3", "changed")):
        assert any(word in text for at, text in zip(reasons[1::2], reasons[2::2], strict=True) if at == name), said


def test_no_python_there(refused, tmp_path):
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("node1: {python: /no/such/python3}\n")
    refused(["--harbor-hostfile", str(hosts)], "node1", "/no/such/python3 was found", "PATH is", "python:")


def test_python_too_old_there(refused, tmp_path):
    old = tmp_path / "python3"
    # The loader reads sys.version_info, which shows Python 3.5 here.
    old.write_text('#!/bin/sh\nfor last; do :; done\nexec /usr/bin/env python3 -c "import sys,binascii; '
                   'sys.version_info=(3,5); exec(binascii.unhexlify(sys.argv[1]))" "$last"\n')  # fmt: skip
    old.chmod(0o755)
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(f"node1: {{python: {old}}}\n")
    refused(["--harbor-hostfile", str(hosts)], "node1", "is Python 3.5", "3.6 or newer")


def test_scratch_that_cannot_be_used(refused, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    cases = {
        "node1": (tmp_path / "link", "is a link"),
        "node2": (tmp_path / "file" / "x", "cannot be used"),
        "node3": (Path("/proc/x"), "cannot be used"),
    }
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("".join(f"{name}: {{scratch: {path}}}\n" for name, (path, _) in cases.items()))
    said = refused(["--harbor-hostfile", str(hosts)], *cases)
    for path, text in cases.values():
        assert any(str(path) in line and text in line for line in said.splitlines()), said


def test_settings_out_of_range(refused):
    """(All of them: tests/config/test_settings.py.)"""
    refused(["--harbor-nnodes", "3", "--harbor-hosts", "node1,node2"], "the host list has only 2, so 1 is missing")


def test_command_factory_that_does_not_import(refused, tmp_path):
    """(All that can be wrong with one: tests/test_launch.py.)"""
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module\n")
    refused(["--harbor-command-factory", f"{broken}:f"], "does not import", "no_such_module")


def test_progress_expression(refused):
    """(All that can be wrong with one: tests/dispatch/test_jobspec.py.)"""
    progress = "    resources: progress=lambda w: r'step (\\d+)'\n    shell"
    refused([], "has 1 groups; it needs two", snakefile=SNAKEFILE.replace("    shell", progress))


def test_one_bad_node_among_good_ones_is_a_warning(project, pool):
    """The hosts that are typed replace the host file of the profile."""
    work = project(SNAKEFILE)
    (work.directory / "profile").mkdir()
    (work.directory / "profile/hosts").write_text("of-the-profile.invalid\n")
    (work.directory / "profile/config.yaml").write_text("harbor-hostfile: hosts\n")
    run = work.run("--profile", "profile", *on(pool, "node1", "no-such-host.invalid")).expect(0)
    assert "node no-such-host.invalid is not used" in run.text and (work.directory / "x").exists()
    assert re.search("--harbor-hosts of the command line replaces harbor-hostfile of the profile .*/hosts", run.text)
    assert "1 of 2 nodes ready" in run.text and "node of-the-profile" not in run.text


def test_paths_of_a_profile_are_found_from_another_directory(project, pool):
    """With `--profile REL --directory DIR`, the host file's path is relative to the directory of the start."""
    work = project(SNAKEFILE)
    (work.directory / "profile").mkdir()
    (work.directory / "profile/hosts").write_text("node1\n")
    (work.directory / "profile/config.yaml").write_text(
        "executor: harbor\njobs: 9\nharbor-hostfile: hosts\nharbor-max-load: 50\n"
    )
    options = ["--profile", "profile", "--directory", "elsewhere", "--harbor-ssh-config", str(pool.ssh_config)]
    work.run(*options).expect(0)
    assert (work.directory / "elsewhere/x").exists()


def test_a_working_directory_that_nodes_do_not_have(project, pool, tmp_path):
    """The node looks for the probe under the controller's path. A node without it is refused if files are not sent."""
    if os.getuid() != 0:
        pytest.skip("needs root for a mount namespace of its own")
    work = project(SNAKEFILE)
    hosts = tmp_path / "hosts.yaml"
    hidden = f"mount -t tmpfs none {work.directory}"
    wrapper = tmp_path / "python3"
    wrapper.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{hidden}; exec python3 "$@"\' sh "$@"\n')
    wrapper.chmod(0o755)
    hosts.write_text(f"node1: {{python: {wrapper}}}\n")
    options = ["--executor", "harbor", "--jobs", "9", "--harbor-ssh-config", str(pool.ssh_config)]
    sooner = setting("session.startup.BOOTING_S", 3.0)
    never = ("--harbor-staging", "never")
    run = work.run(*options, *never, "--harbor-hostfile", str(hosts), before=sooner).expect(1)
    assert "node1" in run.text and "is not there, or is another one" in run.text
    wait_until(lambda: not work.files(".snakemake/harbor/lock"), 5, "the lock was given back")
