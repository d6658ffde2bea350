"""`harbor doctor` shows what is wrong with nodes: real servers with users' start files, and real mounts and users.

One run of doctor asks all nodes. Each test looks at the findings of one of them.
"""

import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakemake_executor_plugin_harbor import cli
from tests.agent.conftest import Agent
from tests.lab.machine import Cgroup
from tests.sshd import SSHD, Pool, hosts, keygen, public_key, wait_until

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="mounts and other users need root")
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
"""Another user may be unable to run the Python of the tests."""
NOBODY = 65534
Finding = dict[str, str]
Findings = dict[str, Finding]
"""The findings of one node by their check."""


def script(path: Path, *lines: str) -> str:
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)
    return str(path)


class Scene:
    """The nodes of the one run of doctor."""

    def __init__(self, directory: Path, pool: Pool) -> None:
        self.directory, self.pool, self.workdir = directory, pool, directory / "work"
        # The control group of a session, as systemd names it.
        self.group = Cgroup.root() / f"session-{os.getpid()}.scope" if ROOT else Path()
        self.workdir.mkdir()
        self.workdir.chmod(0o777)
        self.nodes: dict[str, dict[str, Any]] = {}

    def local(self, name: str, **keys: Any) -> None:
        """Add an entry that is this machine."""
        self.nodes[name] = {"host": "localhost", "scratch": str(self.directory / f"scratch-{name}"), **keys}

    def wrapped(self, name: str, command: str, *lines: str, **keys: Any) -> None:
        """Add an entry that is this machine, where `command` runs a shell with these lines, which runs Python."""
        inner = script(self.directory / f"{name}.inner", *lines, f'exec {PYTHON} "$@"')
        outer = script(self.directory / f"{name}.python", f'exec {command} {inner} "$@"')
        self.local(name, python=outer, **keys)

    def mounted(self, name: str, *commands: str, **keys: Any) -> None:
        """Add an entry that is this machine after `commands` in a mount namespace."""
        self.wrapped(name, "unshare -m", *commands, **keys)

    def ssh(
        self,
        name: str,
        dotfiles: Mapping[str, str] | None = None,
        command: str = "",
        options: Sequence[str] = (),
        known: bool = True,
    ) -> None:
        """Add a server. The user's home there has these `dotfiles`. `command` replaces the login shell."""
        home = self.directory / f"home-{name}"
        for path, text in (dotfiles or {}).items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(text)
        # Debian's bash reads ~/.bashrc under sshd only if SHLVL is less than 2.
        lines = [f"SetEnv HOME={home} SHLVL=0"] if dotfiles else []
        self.pool.add(name, [*options, *lines, *([f"ForceCommand {command}"] if command else [])], known=known)
        self.nodes[name] = {"scratch": str(self.directory / f"scratch-{name}")}

    def shell(self, name: str, shell: str, dotfiles: Mapping[str, str]) -> None:
        """Add a server whose user has another login shell."""
        self.ssh(name, dotfiles, f'exec {shell} -c "$SSH_ORIGINAL_COMMAND"')


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """Make the nodes. Their directory is one that other users can enter."""
    if SSHD is None:
        pytest.skip("no sshd on this machine")
    with tempfile.TemporaryDirectory(prefix="harbor-doctor-") as name, hosts(0, Path(name, "pool")) as pool:
        directory = Path(name)
        directory.chmod(0o755)
        made = Scene(directory, pool)
        add_nodes(made)
        if not ROOT:
            yield made
            return
        made.group.mkdir(exist_ok=True)
        try:
            add_nodes_of_root(made)
            yield made
        finally:
            # The agents there end when they notice the end of their connection.
            wait_until(lambda: not Cgroup(made.group).pids(), 30, "the end of the agents")
            made.group.rmdir()


def add_nodes(scene: Scene) -> None:
    scene.ssh("plain")
    scene.ssh("chatty", {".bashrc": "echo 'Welcome to chatty'; printf '\\033]0;a title\\007'\n"})
    scene.ssh("exits", {".bashrc": "exit 3\n"})
    scene.ssh("closed_account", {".bashrc": "echo 'This account is closed'; exec true\n"})
    scene.shell("fish", "fish", {".config/fish/config.fish": "echo hello from fish\n"})
    scene.shell("tcsh", "tcsh", {".cshrc": "echo hello from tcsh\n"})
    said = "'exec' is not recognized as an internal or external command,"
    scene.ssh("windows", command=script(scene.directory / "cmd", f'echo "{said}" >&2', "exit 1"))
    scene.ssh("unknown_key", known=False)
    scene.ssh("changed_key", known=False)
    other = public_key(keygen(scene.directory / "other"))
    with scene.pool.known_hosts.open("a") as known_hosts:
        known_hosts.write(f"{scene.pool['changed_key'].known_name} {other}\n")
    scene.ssh("refused", options=["AuthorizedKeysFile none"])
    scene.nodes["unknown_name"] = {"host": "no-such-host.invalid"}
    scene.local("posix", setup="export LC_ALL=C")
    scene.local("no_python", python="/no/such/python")
    hour = datetime.now().hour
    scene.local("resting", hours=f"{(hour + 3) % 24}-{(hour + 4) % 24}")
    (scene.directory / "target").mkdir()
    (scene.directory / "link").symlink_to(scene.directory / "target")
    scene.local("linked", scratch=str(scene.directory / "link"))


def add_nodes_of_root(scene: Scene) -> None:
    work, directory = scene.workdir, scene.directory
    (directory / "others").mkdir(mode=0o700)
    os.chown(directory / "others", NOBODY, NOBODY)
    scene.local("others", scratch=str(directory / "others"))
    disk = directory / "disk"
    disk.mkdir()
    scratch = str(disk / "scratch")
    scene.mounted("small_disk", f"mount -t tmpfs -o size=100m,nr_inodes=60 none {disk}", scratch=scratch)
    scene.mounted("full_disk", f"mount -t tmpfs -o size=8m none {disk}", scratch=scratch)
    again = f"mount --bind {work} {work} && mount -o remount,bind"
    scene.mounted("no_inodes", f"mount -t tmpfs -o nr_inodes=1 none {disk}", scratch=scratch)
    scene.mounted("noexec", f"mount -t tmpfs -o noexec none {disk}", f"{again},noexec {work}", scratch=scratch)
    scene.mounted("readonly", f"{again},ro {work}")
    scene.mounted("other", f"mount -t tmpfs none {work}")
    scene.mounted("missing", f"mount -t tmpfs none {directory}")
    scene.mounted("no_snakemake", f"mount -t tmpfs none {sys.prefix}")
    scene.mounted("no_bash", "for p in /bin/bash /usr/bin/bash; do mount --bind /dev/null $p; done")
    (directory / "nobodys").mkdir()
    os.chown(directory / "nobodys", NOBODY, NOBODY)
    scene.wrapped(
        "squashed", f"setpriv --reuid {NOBODY} --clear-groups", "umask 0", scratch=str(directory / "nobodys/scratch")
    )
    run = "mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/systemd/logind.conf.d"
    scope = f"echo $$ >{scene.group}/cgroup.procs"
    setting = "printf '[Login]\\nKillUserProcesses=yes\\nKillExcludeUsers=carol\\n' >/run/systemd/logind.conf.d/9.conf"
    linger = "mount -t tmpfs none /var/lib && mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/root"
    scene.mounted("logind", run, setting, scope)
    scene.mounted("lingers", run, setting, linger, scope)
    scene.mounted("outside", run, setting)


@pytest.fixture(scope="module")
def found(scene: Scene) -> dict[str, Findings]:
    """Run doctor once. Returns the findings by node and check."""
    code, result = run_doctor(scene, *scene.nodes)
    assert code == 1
    return result


def run_doctor(scene: Scene, *names: str, transport: str = "paramiko") -> tuple[int, dict[str, Findings]]:
    hostfile = scene.directory / "hosts.yaml"
    hostfile.write_text(yaml.safe_dump({name: scene.nodes[name] for name in names}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(scene.workdir)
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        patch.setenv("PWD", str(scene.workdir))
        shown = io.StringIO()
        with redirect_stdout(shown):
            code = cli.main(
                [
                    *("doctor", "--json", "--hostfile", str(hostfile)),
                    *("--ssh-config", str(scene.pool.ssh_config), "--transport", transport),
                ]
            )
    result: dict[str, Findings] = {name: {} for name in names}
    for finding in json.loads(shown.getvalue())["findings"]:
        if finding["node"] is not None:
            result[finding["node"]][finding["check"]] = finding
    return code, result


def installed(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed here")


@pytest.mark.parametrize(
    ("node", "words", "hint"),
    [
        ("exits", ["the login shell ended with exit code 3"], "ssh -F {config} exits   # and look for `exit`"),
        ("closed_account", ["exit code 0", "after it had printed 'This account is closed'"], "ssh -F {config} closed"),
        ("windows", ["it is a Windows machine", "Nodes run Linux or macOS"], "take it out of the host list"),
        ("unknown_key", ["the host key (ssh-ed25519 SHA256:", "is not known"], "ssh-keyscan -t ed25519 -p "),
        ("changed_key", ["is not the one in", "Ask its administrator"], "ssh-keygen -R '[127.0.1."),
        ("refused", ["the login as", "was refused", "the server accepts publickey"], "ssh-copy-id -F {config} refused"),
        ("unknown_name", ["no-such-host.invalid does not resolve"], "getent hosts no-such-host.invalid"),
        ("no_python", ["none of /no/such/python was found; PATH is /"], "install Python 3.6 or newer there"),
        ("linked", ["scratch {directory}/link is not a directory (or it is a link)"], "name another directory: "),
        pytest.param("others", ["scratch {directory}/others belongs to user"], "name another", marks=as_root),
        pytest.param("no_inodes", ["no room to make scratch"], "df -h /var/tmp", marks=as_root),
    ],
)
def test_a_node_that_cannot_be_used(
    scene: Scene, found: dict[str, Findings], node: str, words: list[str], hint: str
) -> None:
    values = {"config": scene.pool.ssh_config, "directory": scene.directory}
    assert set(found[node]) == {"connection"}
    finding = found[node]["connection"]
    assert finding["level"] == "error" and finding["try"].startswith(hint.format(**values)), finding
    assert all(word.format(**values) in finding["text"] for word in words), finding


@pytest.mark.parametrize(
    ("node", "check", "level", "words", "hint"),
    [
        ("chatty", "noise", "warning", "prints 30 bytes before harbor's agent starts, beginning with 'Welcome", "true"),
        *(
            pytest.param(
                shell, "noise", "warning", f"beginning with 'hello from {shell}'", "true", marks=installed(shell)
            )
            for shell in ("fish", "tcsh")
        ),
        ("posix", "locale", "warning", "jobs there get the encoding ANSI_X3.4-1968", "locale -a"),
        *(
            pytest.param(*values, marks=as_root)
            for values in [
                ("small_disk", "space", "warning", "only 99 MiB are free in scratch", "df -h {directory}/disk/scratch"),
                ("small_disk", "inodes", "warning", "more files can be made on the disk of scratch", "df -i "),
                ("full_disk", "space", "error", "only 7 MiB are free in scratch", "df -h "),
                ("noexec", "noexec", "warning", "the working directory is mounted noexec there", "findmnt -T {work}"),
                ("readonly", "write", "error", "cannot write there into {work}: Read-only", "id; ls -ld {work}"),
                ("other", "shared", "note", "{work} is another directory there, so files are sent", ""),
                ("missing", "shared", "note", "{work} is missing there, so files are sent", ""),
                ("no_bash", "bash", "error", "there is no bash", "sh -c 'command -v bash'"),
                ("no_snakemake", "scripts", "note", "run:, notebook: and groups cannot run there", ""),
                ("squashed", "owner", "warning", f"belong to user {NOBODY} here, and you are user 0", "id"),
                ("logind", "logout", "warning", "KillUserProcesses=yes", "loginctl enable-linger root"),
                ("lingers", "logout", "warning", "systemd-run --user --scope", "loginctl show-user root"),
            ]
        ),
    ],
)
def test_a_finding(
    scene: Scene, found: dict[str, Findings], node: str, check: str, level: str, words: str, hint: str
) -> None:
    values = {"directory": scene.directory, "work": scene.workdir}
    finding = found[node][check]
    login = f"ssh -F {scene.pool.ssh_config} {node} " if node in scene.pool.names else ""
    assert finding["level"] == level and words.format(**values) in finding["text"], finding
    assert (finding["try"] or "").startswith((login + hint).format(**values)), finding
    assert ("answers" in found[node]) == (level != "error")


def test_a_healthy_node_has_one_line(found: dict[str, Findings]) -> None:
    assert set(found["plain"]) == {"answers"} and found["plain"]["answers"]["level"] == "ok"
    assert "gets no job now, because its hours are" in found["resting"]["answers"]["text"]
    if ROOT:
        assert set(found["outside"]) == {"answers"}, "a process outside of the session lives on"
        assert set(found["noexec"]) == {"noexec", "answers"}, "harbor works in a scratch that is mounted noexec"


def test_the_ssh_program_finds_the_same(scene: Scene) -> None:
    code, found = run_doctor(scene, "plain", "chatty", "exits", transport="openssh")
    assert code == 1 and set(found["plain"]) == {"answers"} and set(found["chatty"]) == {"noise", "answers"}
    assert "the login shell ended with exit code 3" in found["exits"]["connection"]["text"]


def test_every_error_and_warning_has_a_next_command(found: dict[str, Findings]) -> None:
    for findings in found.values():
        assert all(finding["try"] or finding["level"] in ("ok", "note") for finding in findings.values())


def test_nothing_is_left_in_the_working_directory(scene: Scene, found: dict[str, Findings]) -> None:
    assert not list(scene.workdir.iterdir())


@as_root
def test_a_job_runs_where_scratch_is_noexec(tmp_path: Path) -> None:
    """Its script is given to the shell by name, so the execute permission is not needed."""
    inner = script(tmp_path / "inner", f"mount -t tmpfs -o noexec none {tmp_path}", f'exec {PYTHON} "$@"')
    python = script(tmp_path / "python", f'exec unshare -m {inner} "$@"')
    agent = Agent(python, tmp_path / "scratch")
    try:
        assert agent.run(f"touch {tmp_path}/x; chmod +x {tmp_path}/x; {tmp_path}/x || echo noexec")["tail"].endswith(
            "noexec\n"
        )
    finally:
        agent.close()
