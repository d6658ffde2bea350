"""Run a real Grid Engine on this machine for tests: sge_qmaster and sge_execd, with ports and directories of their own.

The queue has eight slots on this machine. It needs root, because Grid Engine starts jobs in the name of their users.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.sshd import free_port, wait_until

SHARE = Path("/usr/share/gridengine")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
START_TIMEOUT_S = 20.0

BOOTSTRAP = """
admin_user none
default_domain none
ignore_fqdn true
spooling_method berkeleydb
spooling_lib libspoolb
spooling_params {directory}/spooldb
binary_path /usr/sbin
qmaster_spool_dir {directory}/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""
ENVIRONMENT = """
pe_name smp
slots 99
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""
LIMITS = [
    f"{kind}_{name} INFINITY"
    for name in ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
    for kind in ("s", "h")
]
NOTHING = [
    f"{name} NONE"
    for name in (
        *("load_thresholds", "suspend_thresholds", "ckpt_list", "prolog", "epilog", "starter_method", "suspend_method"),
        *("resume_method", "terminate_method", "owner_list", "user_lists", "xuser_lists", "subordinate_list"),
        *("complex_values", "projects", "xprojects", "calendar"),
    )
]
QUEUE = f"""
qname all.q
hostlist localhost
seq_no 0
nsuspend 1
suspend_interval 00:05:00
priority 0
min_cpu_interval 00:05:00
processors UNDEFINED
qtype BATCH
pe_list smp
rerun FALSE
slots 8
tmpdir /tmp
shell /bin/sh
shell_start_mode unix_behavior
notify 00:00:60
initial_state default
{chr(10).join(NOTHING + LIMITS)}
"""
SETTINGS = {
    "min_uid": "0",
    "min_gid": "0",
    "mailer": "/bin/true",
    "xterm": "/bin/true",
    # A batch system with many users writes its accounts less often.
    "reporting_params": "accounting=true reporting=false flush_time=00:00:00 joblog=false sharelog=00:00:00",
}
SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}


def missing() -> str | None:
    """Return why no Grid Engine can run here, or None if it can."""
    if os.geteuid() != 0:
        return "Grid Engine starts jobs as root only"
    absent = [name for name in ("sge_qmaster", "sge_execd", "qconf") if shutil.which(name, path=PATH) is None]
    packages = "gridengine-master gridengine-exec gridengine-client"
    return f"{', '.join(absent)} not found: apt-get install {packages}" if absent else None


class GridEngine:
    """One cluster. `env` are the variables with which its commands find it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.env = {
            "SGE_ROOT": str(self.root),
            "SGE_CELL": "test",
            "SGE_QMASTER_PORT": str(free_port()),
            "SGE_EXECD_PORT": str(free_port()),
        }
        self._daemons: list[subprocess.Popen[bytes]] = []
        for name in ("root/test/common", "qmaster/job_scripts", "spooldb", "execd"):
            (directory / name).mkdir(parents=True)
        for name in ("bin", "lib", "utilbin"):
            (self.root / name).symlink_to(f"/var/lib/gridengine/{name}")
        (self.root / "util").symlink_to(SHARE / "util")
        common = self.root / "test/common"
        (common / "bootstrap").write_text(BOOTSTRAP.lstrip().format(directory=directory))
        (common / "act_qmaster").write_text("localhost\n")
        (common / "host_aliases").write_text(f"localhost {os.uname().nodename}\n")

    def start(self) -> None:
        """Start the daemons, and wait until the queue takes jobs."""
        self.run(str(SHARE / "scripts/init_cluster"), str(self.root), "test", str(self.directory / "spooldb"), "root")
        self._start("sge_qmaster")
        wait_until(lambda: "localhost" in self.run("qconf", "-sh", check=False), START_TIMEOUT_S, "sge_qmaster")
        self.run("qconf", "-as", "localhost")
        settings = {**SETTINGS, "execd_spool_dir": f"{self.directory}/execd"}
        self._configure("-Mconf", "global", _with((SHARE / "default-configuration").read_text(), settings))
        self._configure("-Msconf", "scheduler", _with(self.run("qconf", "-ssconf"), SCHEDULER))
        self._configure("-Ap", "environment", ENVIRONMENT.lstrip())
        self._start("sge_execd")
        wait_until(lambda: "lx-" in self.run("qhost", "-h", "localhost", check=False), START_TIMEOUT_S, "sge_execd")
        self._configure("-Aq", "queue", QUEUE.lstrip())

    def stop(self) -> None:
        """End all jobs and then the daemons."""
        self.run("qdel", "-f", "-u", "*", check=False)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait(START_TIMEOUT_S)

    def run(self, *command: str, check: bool = True) -> str:
        """Run one of Grid Engine's commands and return what it prints."""
        env = {**os.environ, **self.env, "PATH": PATH}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
        return done.stdout

    def _configure(self, option: str, name: str, text: str) -> None:
        """Change the configuration by a file. For some options, the name of the file is that of the object."""
        file = self.directory / name
        file.write_text(text)
        self.run("qconf", option, str(file))

    def _start(self, program: str) -> None:
        path = shutil.which(program, path=PATH)
        assert path is not None
        env = {**os.environ, **self.env, "SGE_ND": "1"}  # in the foreground
        with (self.directory / f"{program}.out").open("wb") as out:
            self._daemons.append(
                subprocess.Popen([path], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=env)
            )


def _with(text: str, settings: dict[str, str]) -> str:
    """Return a configuration with other values for some of its keys."""
    for key, value in settings.items():
        text, count = re.subn(rf"(?m)^{key}\s.*$", f"{key} {value}", text)
        assert count == 1, key
    return text


@contextmanager
def grid_engine(directory: Path) -> Iterator[GridEngine]:
    """Run a cluster until the block ends."""
    cluster = GridEngine(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
