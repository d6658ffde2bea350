"""A user's mistake is a clear error before any job runs: exit code 1, no traceback, nothing lost."""

import os
import socket
from pathlib import Path

import pytest

from tests.snakemake.harness import on
from tests.sshd import keygen, wait_until

SNAKEFILE = 'rule all:\n    output: "x"\n    shell: "touch {output}"\n'


@pytest.fixture
def refused(project, pool):
    """Run with options; the run must be refused with every text."""

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


HOSTS = [
    ("0/ada", "SLOTS must be a whole number from 1"),
    ("x/ada", "SLOTS must be a whole number from 1"),
    (",", "the host list is empty"),
    ("ada,ada", "node ada is in the host list twice"),
    ("ada:0", "PORT must be a number"),
    ("a!b@ada", "is not a user name"),
    ("slurm", "SLURM_JOB_NODELIST is not set"),
]


@pytest.mark.parametrize(("hosts", "text"), HOSTS, ids=[h for h, _ in HOSTS])
def test_host_list(refused, hosts, text):
    refused(["--harbor-hosts", hosts], text)


FILES = [
    ("missing", None, "cannot be read: No such file"),
    ("binary", b"\x00\xff\x00", "is not a text file"),
    ("line", b"ada\n# fine\nb/ad/host\n", "hosts:3: 'b/ad/host' is not a host"),
    ("empty", b"# nobody\n", "the host list is empty"),
    ("key.yaml", b"ada: {slot: 3}\n", "unknown key. Did you mean slots?"),
    ("type.yaml", b"ada: {slots: many}\n", "slots: expected int, got 'many'"),
    ("twice.yaml", b"ada: {slots: 3}\nada: {slots: 4}\n", "'ada' is there twice"),
    ("pair.yaml", b"? [ada, bob]\n: {slots: 3}\n", "a sequence cannot be a name"),
]


@pytest.mark.parametrize(("name", "data", "text"), FILES, ids=[f[0] for f in FILES])
def test_host_file(refused, tmp_path, name, data, text):
    path = tmp_path / (name if "." in name else "hosts")
    if data is not None:
        path.write_bytes(data)
    refused(["--harbor-hostfile", str(path)], text, path.name)


def test_unknown_host_name(refused):
    refused(["--harbor-hosts", "no-such-host.invalid"], "no-such-host.invalid", "no node of the pool can be used")


def test_refused_port(refused):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        refused(["--harbor-hosts", f"127.0.0.1:{port}"], "127.0.0.1", "refused")


def test_wrong_key_and_changed_host_key_and_unknown_one(refused, pool, tmp_path):
    text = pool.ssh_config.read_text()
    other = keygen(tmp_path / "other")
    cases = {
        "key": (text.replace(str(next(p for p in _values(text, "IdentityFile"))), str(other)), "ssh-copy-id"),
        "unknown": (text.replace(_values(text, "UserKnownHostsFile")[0], str(tmp_path / "none")), "known"),
    }
    known = Path(_values(text, "UserKnownHostsFile")[0]).read_text()
    changed = tmp_path / "changed"
    key = other.with_name("other.pub").read_text().split()[1]
    changed.write_text("\n".join(f"{line.split()[0]} ssh-ed25519 {key}" for line in known.splitlines()) + "\n")
    cases["changed"] = (text.replace(_values(text, "UserKnownHostsFile")[0], str(changed)), "changed")
    for name, (config, word) in cases.items():
        path = tmp_path / f"config-{name}"
        path.write_text(config)
        said = refused(["--harbor-ssh-config", str(path), "--harbor-hosts", "node1"], "node node1", "Try: ")
        assert word in said.lower(), (name, said)


def _values(config: str, key: str) -> list[str]:
    return [line.split(None, 1)[1].strip('"') for line in config.splitlines() if line.strip().startswith(key)]


def test_no_python_there(refused, tmp_path):
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("node1: {python: /no/such/python3}\n")
    refused(["--harbor-hostfile", str(hosts)], "node1", "/no/such/python3 was found", "PATH is", "python:")


def test_python_too_old_there(refused, tmp_path):
    old = tmp_path / "python3"
    # The loader asks sys.version_info; this one answers as Python 3.5 would.
    old.write_text('#!/bin/sh\nfor last; do :; done\nexec /usr/bin/env python3 -c "import sys,binascii; '
                   'sys.version_info=(3,5); exec(binascii.unhexlify(sys.argv[1]))" "$last"\n')  # fmt: skip
    old.chmod(0o755)
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(f"node1: {{python: {old}}}\n")
    refused(["--harbor-hostfile", str(hosts)], "node1", "is Python 3.5", "3.6 or newer")


def test_scratch_that_cannot_be_used(refused, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    for path, text in (
        (tmp_path / "link", "is a link"),
        (tmp_path / "file" / "x", "cannot be used"),
        (Path("/proc/x"), "cannot be used"),
    ):
        refused(["--harbor-hosts", "node1", "--harbor-scratch", str(path)], "node1", str(path), text)
    refused(["--harbor-scratch", "relative"], "must be an absolute path")


def test_settings_out_of_range(refused):
    refused(["--harbor-nnodes", "3", "--harbor-hosts", "node1,node2"], "the host list has only 2")
    refused(["--harbor-max-load", "0"], "--harbor-max-load: 0.0 is out of range")


def test_command_factory_that_is_not_there_or_does_not_import(refused, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module\n")
    refused(["--harbor-command-factory", "nothing"], "expected FILE.py:FUNC")
    refused(["--harbor-command-factory", f"{tmp_path}/none.py:f"], "there is no file")
    refused(["--harbor-command-factory", f"{broken}:f"], "does not import", "no_such_module")
    broken.write_text("g = 1\n")
    refused(["--harbor-command-factory", f"{broken}:f"], "has no function f")


def test_progress_expression(refused):
    snakefile = SNAKEFILE.replace("    shell", "    resources: progress=lambda w: r'{}'\n    shell")
    refused([], "is not a regular expression", snakefile=snakefile.replace("{}", "step ((", 1))
    refused([], "has 1 groups; it needs two", snakefile=snakefile.replace("{}", r"step (\\d+)", 1))


def test_one_bad_node_among_good_ones_is_a_warning(project, pool):
    work = project(SNAKEFILE)
    run = work.run(*on(pool, "node1", "no-such-host.invalid")).expect(0)
    assert "node no-such-host.invalid is not used" in run.text and (work.directory / "x").exists()


def test_paths_of_a_profile_are_found_from_another_directory(project, pool):
    """`--profile REL --directory DIR`: Snakemake names the profile's host file relative to where it was started."""
    work = project(SNAKEFILE)
    (work.directory / "profile").mkdir()
    (work.directory / "profile/hosts").write_text("node1\n")
    (work.directory / "profile/config.yaml").write_text("executor: harbor\njobs: 9\nharbor-hostfile: hosts\n")
    options = ["--profile", "profile", "--directory", "elsewhere", "--harbor-ssh-config", str(pool.ssh_config)]
    work.run(*options).expect(0)
    assert (work.directory / "elsewhere/x").exists()


def test_a_working_directory_that_nodes_do_not_have(project, pool, tmp_path):
    """The probe is looked for under the controller's path; a node that cannot see it is refused by name."""
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
    run = work.run(*options, "--harbor-hostfile", str(hosts)).expect(1)
    assert "node1" in run.text and "is not there, or is another one" in run.text
    wait_until(lambda: not work.files(".snakemake/harbor/lock"), 5, "the lock was given back")
