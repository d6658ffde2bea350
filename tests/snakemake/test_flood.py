"""Jobs print too much. Snakemake's memory does not grow with the output, and every byte is in the log."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.snakemake.harness import Run, Workdir, on
from tests.sshd import wait_until

GROWTH_MB = 80
LOG_MB = 60  # MiB of a `harbor log`: 30 for Python and our modules, the rest for the output
LOG = "import sys; from snakemake_executor_plugin_harbor.cli import main; sys.exit(main())"

FLOODS = """
    rule all:
        input: expand("out/{kind}", kind=["lines", "line", "binary"])

    rule lines:
        output: "out/lines"
        shell: "seq 1000000; touch {output}"

    rule line:
        output: "out/line"
        shell: "head -c 100000000 /dev/zero | tr '\\\\0' x; touch {output}"

    rule binary:
        output: "out/binary"
        shell: "cat blob; touch {output}"
"""
QUIET = """
    rule all:
        input: expand("out/{i}", i=range(3))

    rule one:
        output: "out/{i}"
        shell: "touch {output}"
"""
LIVE = """
    rule all:
        output: "out"
        shell:
            "head -c 60000000 /dev/zero | tr '\\\\0' x; until [ -e go ]; do sleep 0.1; done; "
            "echo end; touch {output}"
"""


def peak_mb(process: "subprocess.Popen[str]") -> float:
    """Return the largest memory of a running process so far (MiB), or 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def watch(process: "subprocess.Popen[str]", timeout: float = 90) -> float:
    """Wait for a process to end, and return its largest memory (MiB)."""
    peak = 0.0

    def ended() -> bool:
        nonlocal peak
        peak = max(peak, peak_mb(process))
        return process.poll() is not None

    wait_until(ended, timeout, "the end of a process")
    return peak


def run_and_watch(work: Workdir, *options: str, timeout: float = 90) -> tuple[Run, float]:
    run = work.start(*options)
    return run, watch(run.process, timeout)


def logs(work: Workdir, rule: str) -> list[Path]:
    return sorted((work.directory / ".snakemake/harbor_logs").glob(f"{rule}/**/*.log"))


def test_snakemakes_memory_does_not_grow_with_what_jobs_print(project, pool):
    quiet, least = run_and_watch(project(QUIET, "quiet"), *on(pool, "3/node1"))
    quiet.expect(0)
    work = project(FLOODS)
    blob = bytes(range(256)) * 120_000
    (work.directory / "blob").write_bytes(blob)
    run, most = run_and_watch(work, *on(pool, "3/node1"))
    run.expect(0)
    assert most - least < GROWTH_MB, f"{least:.0f} MiB, with floods {most:.0f} MiB"
    (lines,), (line,), (binary,) = (logs(work, rule) for rule in ("lines", "line", "binary"))
    assert lines.read_bytes() == b"".join(b"%d\n" % n for n in range(1, 1_000_001))
    assert line.read_bytes() == b"x" * 100_000_000
    assert binary.read_bytes() == blob


def test_a_flood_of_a_job_that_fails_is_told_by_its_end(project, pool):
    work = project('rule all:\n    output: "x"\n    shell: "seq 1000000; printf \'\\\\033[31mred\\\\n\'; exit 3"\n')
    run, peak = run_and_watch(work, *on(pool, "node1"))
    run.expect(1)
    assert "1000000\n" in run.text and "999900\n" not in run.text and "\x1b" not in run.text
    assert peak < 400


class Follower:
    """Runs `harbor log JOB -f` with its output in a file."""

    def __init__(self, work: Workdir) -> None:
        (job,) = json.loads(work.harbor("status", "--json").stdout)["jobs"]
        self.path = work.directory / "followed"
        with self.path.open("w") as out:
            argv = [sys.executable, "-c", LOG, "log", job["id"], "-f"]
            self.process = subprocess.Popen(argv, cwd=work.directory, stdout=out, text=True)
        work.runs.append(self.process)

    @property
    def size(self) -> int:
        return self.path.stat().st_size


@pytest.fixture
def followed(project, pool):
    """Follow a job that has printed 60 MB and waits. Return also the controller's memory before that."""
    work = project(LIVE)
    run = work.start(*on(pool, "node1"))
    run.until("rule all", 30)
    wait_until(lambda: work.harbor("status", "--json").stdout.count('"running"') > 1, 30, "a running job")
    before = peak_mb(run.process)
    return work, run, before, Follower(work)


def test_following_a_flood_takes_bounded_memory_on_both_sides(followed):
    work, run, before, follower = followed
    wait_until(lambda: follower.size == 60_000_000, 60, "what was printed so far")
    assert peak_mb(follower.process) < LOG_MB
    assert peak_mb(run.process) - before < 40
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    assert follower.process.wait(30) == 0
    assert follower.path.read_bytes() == b"x" * 60_000_000 + b"end\n"


def test_the_log_of_a_flood_that_has_ended_takes_bounded_memory(followed):
    work, run, _, follower = followed
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    follower.process.wait(60)
    again = Follower(work)
    assert watch(again.process) < LOG_MB
    assert again.path.read_bytes() == b"x" * 60_000_000 + b"end\n"
