"""The lab keeps its promises."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab import Lab, LabError
from tests.lab.files import PROJECT
from tests.lab.machine import Cgroup
from tests.sshd import wait_until

pytestmark = pytest.mark.skipif(Lab.unavailable() is not None, reason=str(Lab.unavailable()))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def lab(shared, tmp_path_factory):
    with Lab(2, [shared], tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def ssh(lab, host, script):
    return lab.run(["ssh", "-F", str(lab.ssh_config), "-o", "ConnectTimeout=5", host, script], timeout=20)


def said(lab, host, script):
    done = ssh(lab, host, script)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def session(lab, host, script="echo here; cat"):
    """An ssh connection with a command that has begun; it answers what it is told."""
    argv = ["ssh", "-F", str(lab.ssh_config), host, script]
    process = lab.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    return process


def answers(process):
    process.stdin.write("echo\n")
    process.stdin.flush()
    return process.stdout.readline() == "echo\n"


def connect(lab, host, seconds=1.0):
    return socket.create_connection((lab.network.address(lab.number(host)), 22), seconds)


def busy_cores(lab, host, seconds=1.0):
    """As the agent reckons: from two readings of the CPUs' lines."""
    readings = []
    for pause in (seconds, 0):
        rows = re.findall(r"^cpu\d+ (.*)", lab.exec(host, ["cat", "/proc/stat"], check=True).stdout, re.MULTILINE)
        counts = [[int(word) for word in row.split()] for row in rows]
        readings.append((sum(map(sum, counts)), sum(row[3] for row in counts), len(counts)))
        time.sleep(pause)  # the time that is measured
    (total, idle, cpus), (total_after, idle_after, _) = readings
    return cpus * (1 - (idle_after - idle) / (total_after - total))


def test_hosts_are_machines_of_their_own(lab):
    for question in ("hostname", "cat /etc/machine-id", "cat /proc/sys/kernel/random/boot_id", "hostname -I"):
        one, two = (said(lab, host, question) for host in lab.hosts)
        assert one and two and one != two, question
    assert said(lab, "host1", "hostname") == "host1"
    assert [argv[0] for _, argv in lab.processes("host1")][:1] == ["sleep"]
    assert said(lab, "host1", "ps -e -o pid=,comm= | head -1").split() == ["1", "sleep"]


def test_files_are_private_but_for_the_shared_directory(lab, shared):
    for directory in ("/tmp", "/var/tmp", "/root", "/home", "/dev/shm"):
        said(lab, "host1", f"echo mine >{directory}/seen")
        assert not Path(directory, "seen").exists()
        assert ssh(lab, "host2", f"test -e {directory}/seen").returncode == 1, directory
    said(lab, "host1", f"echo ours >{shared}/seen")
    assert (shared / "seen").read_text() == said(lab, "host2", f"cat {shared}/seen") + "\n" == "ours\n"
    assert "Read-only" in ssh(lab, "host1", "touch /usr/seen").stderr
    assert ssh(lab, "host1", f"ls {lab.directory}/id_ed25519").returncode != 0


def test_the_interpreter_is_there(lab):
    assert said(lab, "host1", f"{sys.executable} -c 'import pytest; print(pytest.__version__)'") == pytest.__version__


def test_hosts_reach_each_other(lab):
    assert said(lab, "host1", "timeout 5 bash -c 'head -c 4 </dev/tcp/host2/22'") == "SSH-"


def test_orphans_are_buried(lab):
    said(lab, "host1", "(sleep 0.01 &) >/dev/null")
    wait_until(lambda: "[sleep]" not in (listing := lab.exec("host1", ["ps", "-ef"]).stdout) and "0.01" not in listing)


def test_a_host_is_busy_with_its_own_work_and_what_load_says(lab):
    process = session(lab, "host1", "echo here; timeout 20 sh -c 'while :; do :; done'")
    # Of the one core that it wants, it gets a part on a machine that has more to do.
    assert busy_cores(lab, "host1") > 0.1 > busy_cores(lab, "host2")
    lab.fault("host1", "drop-connections")
    process.communicate()
    lab.load("host2", busy=1, loadavg=7.5, mem_available_mb=100)
    assert busy_cores(lab, "host2") == pytest.approx(1, abs=0.3)
    assert said(lab, "host2", "cat /proc/loadavg").startswith("7.50 7.50 7.50 ")
    assert "MemAvailable:    102400 kB" in said(lab, "host2", "cat /proc/meminfo")
    lab.load("host2", clear=True)
    assert busy_cores(lab, "host2") < 0.3
    assert "MemAvailable:    102400 kB" not in said(lab, "host2", "cat /proc/meminfo")
    with pytest.raises(LabError, match="CPUs"):
        lab.load("host2", busy=1000)


def test_a_power_cut_is_silent_and_a_boot_is_another(lab):
    before = said(lab, "host1", "touch /tmp/gone /var/tmp/kept; cat /proc/sys/kernel/random/boot_id")
    process = session(lab, "host1")
    lab.fault("host1", "crash")
    assert lab.processes("host1") == []
    with pytest.raises(TimeoutError):
        connect(lab, "host1")
    assert process.poll() is None, "nobody has told the client"
    lab.fault("host1", "reboot")
    assert said(lab, "host1", "ls /tmp/gone /var/tmp/kept 2>/dev/null || :") == "/var/tmp/kept"
    assert said(lab, "host1", "cat /proc/sys/kernel/random/boot_id") != before
    process.stdin.write("x\n")
    process.stdin.flush()
    assert process.wait(10) == 255, "the old connection is reset"


def test_an_orderly_shutdown_gives_processes_two_seconds(lab):
    """TERM for all, KILL for those that it has not ended."""
    # bash reports the end of its sleep on stderr, and SIGPIPE would end bash because sshd, the reader, is gone by then.
    script = "trap 'echo term >>/var/tmp/told' TERM; echo here; exec 2>/dev/null; while :; do sleep 0.1; done"
    process = session(lab, "host1", script)
    began = time.monotonic()
    lab.fault("host1", "shutdown")
    assert 1.5 < time.monotonic() - began < 10 and lab.processes("host1") == []
    assert process.wait(10) == 255, "sshd has taken its leave"
    lab.fault("host1", "reboot")
    assert said(lab, "host1", "cat /var/tmp/told; rm /var/tmp/told") == "term"


def test_the_shared_directory_can_be_lost_and_comes_back(lab, shared):
    (shared / "file").write_text("x")
    lab.fault("host1", "lose-shared")
    assert said(lab, "host1", f"ls {shared}") == "" and "file" in said(lab, "host2", f"ls {shared}")
    lab.fault("host1", "restore-shared")
    lab.fault("host1", "restore-shared")
    assert said(lab, "host1", f"cat {shared}/file") == "x"
    lab.fault("host1", "reboot-unshared")
    assert said(lab, "host1", f"ls {shared}") == ""
    lab.fault("host1", "reboot")
    assert said(lab, "host1", f"cat {shared}/file") == "x"
    (shared / "file").unlink()


def test_a_partition_swallows_packets_and_heals(lab):
    process = session(lab, "host1")
    lab.fault("host1", "partition")
    lab.fault("host2", "reboot")  # what happens to other hosts does not heal it
    with pytest.raises(TimeoutError):
        connect(lab, "host1")
    lab.fault("host1", "heal")
    assert answers(process), "a connection outlives a partition"
    lab.fault("host1", "partition")
    lab.fault("host1", "reboot")
    process.stdin.write("x\n")
    process.stdin.flush()
    with pytest.raises(TimeoutError):
        connect(lab, "host1")
    assert process.poll() is None, "nor does a reboot"
    lab.fault("host1", "heal")
    assert process.wait(10) == 255


def test_all_hosts_cut_off_are_as_silent_as_one(lab):
    lab.fault("host1", "partition")
    lab.fault("host2", "crash")
    with pytest.raises(TimeoutError):
        connect(lab, "host1", 4)  # when nobody answers ARP, "no route to host" comes after three seconds
    lab.fault("host1", "heal")
    lab.fault("host2", "reboot")
    for host in lab.hosts:
        connect(lab, host).close()


def test_a_slow_link(lab):
    lab.fault("host2", "slow")
    began = time.monotonic()
    assert said(lab, "host2", "head -c 50000 /dev/zero | wc -c; head -c 50000 /dev/zero | tr '\\0' x").endswith("x")
    assert time.monotonic() - began > 1
    lab.fault("host2", "heal")


def test_a_narrow_link_carries_10_mb_a_second(lab):
    lab.fault("host2", "narrow")
    began = time.monotonic()
    assert len(said(lab, "host2", "head -c 20000000 /dev/zero | tr '\\0' x")) == 20_000_000
    assert 1.5 < time.monotonic() - began < 10
    lab.fault("host2", "heal")


def test_sshd_can_die_and_come_back(lab):
    process = session(lab, "host1")
    lab.fault("host1", "kill-sshd")
    with pytest.raises(ConnectionRefusedError):
        connect(lab, "host1")
    assert answers(process), "sessions live on"
    lab.fault("host1", "start-sshd")
    assert said(lab, "host1", "echo back") == "back"
    process.stdin.close()
    assert process.wait(10) == 0


def test_dropped_connections_leave_their_commands(lab):
    def sleepers():
        return [pid for pid, argv in lab.processes("host1") if argv[-1] == "777"]

    process = session(lab, "host1", "echo here; exec sleep 777 >/dev/null 2>&1")
    wait_until(sleepers, what="the command")  # between `echo` and `exec` it has another name
    lab.fault("host1", "drop-connections")
    assert process.wait(10) == 255
    assert sleepers()
    lab.exec("host1", ["pkill", "-f", "sleep 777"], check=True)


def test_a_frozen_host_connects_and_says_nothing(lab):
    process = session(lab, "host1")
    lab.fault("host1", "freeze")
    with connect(lab, "host1") as connection, pytest.raises(TimeoutError):
        connection.recv(1)
    lab.fault("host1", "thaw")
    assert answers(process)
    process.stdin.close()
    process.wait(10)


def test_a_full_disk(lab, shared):
    lab.fault("host1", "disk-full")
    for directory in ("/tmp", "/var/tmp", "/root"):
        assert "No space" in ssh(lab, "host1", f"echo x >{directory}/full").stderr
    said(lab, "host1", f"echo x >{shared}/room")
    lab.fault("host1", "disk-free")
    said(lab, "host1", "head -c 1000000 /dev/zero >/tmp/full && rm /tmp/full")


def test_the_controller_can_be_frozen_and_killed_with_its_children(lab):
    process = lab.popen(["sh", "-c", "sleep 778 & echo here; wait"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    lab.fault("ctl", "freeze")
    lab.fault("ctl", "thaw")
    assert process.poll() is None
    lab.fault("ctl", "crash")
    assert process.wait(10) == -9
    assert lab.group("ctl").pids() == []


def test_what_is_not_there_is_named(lab, tmp_path):
    for wrong in (
        lambda: lab.fault("host9", "crash"),
        lambda: lab.fault("host1", "meteorite"),
        lambda: lab.init("host0"),
    ):
        with pytest.raises(LabError, match="there are"):
            wrong()
    with pytest.raises(LabError, match="no lab"):
        Lab.attach(tmp_path)
    (tmp_path / "precious").touch()
    with pytest.raises(LabError, match="not empty"):
        Lab(1, base=tmp_path).up()
    Lab(1, base=tmp_path).down()
    assert (tmp_path / "precious").exists()


def traces(name, directory):
    """What a lab has left on this machine."""
    interfaces = [path.name for path in Path("/sys/class/net").glob(f"{name}*")]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
    groups = [str(path) for path in Cgroup.root().glob(f"harbor-lab-{name[2:]}*")]
    processes = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(directory) in command_line(path)]
    return interfaces + mounts + groups + processes + [path for path in [directory] if path.exists()]


def command_line(path):
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def by_hand(*argv):
    argv = [sys.executable, "-m", "tests.lab", *argv]
    return subprocess.run(argv, capture_output=True, text=True, cwd=PROJECT, check=False)


def test_down_leaves_nothing_whatever_state_the_lab_is_in(tmp_path):
    directory = tmp_path / "lab"
    lab = Lab(2, base=directory).up()
    assert traces(lab._name, directory)
    lab.fault("host1", "freeze")
    lab.fault("host2", "crash")
    os.kill(lab.keeper(), 9)
    assert by_hand("down", "--dir", str(directory)).returncode == 0
    assert traces(lab._name, directory) == []
    lab.down()


def test_a_lab_ends_with_its_owner(tmp_path):
    directory = tmp_path / "lab"
    with subprocess.Popen(["sleep", "100"]) as owner:
        lab = Lab(2, base=directory, owner=owner.pid).up()
        owner.kill()
    wait_until(lambda: not traces(lab._name, directory), what="the end of the lab")


def test_by_hand_beside_another_lab(lab, tmp_path):
    where = ("--dir", str(tmp_path / "lab"))
    assert by_hand("up", "1", *where, "--shared", str(tmp_path), "--owner", str(os.getpid())).returncode == 0
    assert "not empty" in by_hand("up", "1", *where).stderr
    assert by_hand("exec", *where, "host1", "hostname").stdout == "host1\n"
    assert by_hand("load", *where, "host1", "--loadavg", "3").returncode == 0
    assert by_hand("fault", *where, "host1", "partition").returncode == 0
    assert re.search(r"host1 .* up .* partition", by_hand("status", *where).stdout)
    connect(lab, "host1").close()
    assert by_hand("down", *where).returncode == 0
    assert "no lab" in by_hand("status", *where).stderr


def test_a_host_may_lack_a_shared_directory(tmp_path):
    both, one = tmp_path / "both", tmp_path / "one"
    for directory in (both, one):
        directory.mkdir()
    with Lab(2, [both, one], tmp_path / "lab", missing={"host2": [one]}) as lab:
        assert said(lab, "host1", f"ls -d {both} {one}").split() == [str(both), str(one)]
        assert said(lab, "host2", f"ls -d {both}; test -e {one} || echo none").split() == [str(both), "none"]
        for kind in ("lose-shared", "restore-shared"):
            lab.fault("host2", kind)
        assert said(lab, "host2", f"test -e {one} || echo none") == "none"
