"""Run thousands of jobs under random faults of hosts, connections, disks and the controller, and judge the result.

    python benchmarks/soak.py [--minutes 10] [--hosts 8] [--seed 1] [--staged all|half|none] [--grouped]

The script runs workflows of two-step chains, one after the other, on the project's lab (root on Linux). Meanwhile hosts
lose power, are shut down, reboot (also with sshd up before the shared directory), are cut off, lose the shared
directory, sshd or their connections, freeze, and fill their disks. Agents and guardians are killed, alone and together.
The controller is killed, suspended and detached, and the same command starts it again. The seed decides which faults
happen and in which order. `--staged` says how many hosts lack the working directory, so that files are staged there.
With `--grouped`, the two steps of a chain are a group.
Every attempt of a job leaves a trace in a file of the job's own. All hosts share the directory of the traces. These
numbers have to be zero:

  lost        outputs that are missing or wrong
  duplicated  attempts that acted after a newer one had started, and jobs that ran again although their end could be
              known (it cannot if the host lost power before it was reported, or if agent and guardian were killed;
              a group whose last job found no directory runs again as a whole)
  blamed      jobs that harbor counted as failed, although none of these jobs fails by itself (a full disk is excepted)
  failed      runs that ended with an error
  hung        times of three minutes without any output
  left        processes and files of harbor on the hosts in the end

The exit code is 0 if all of them are zero. If not, the script keeps the directory and prints its name.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from soak_faults import OF_THE_DIRECTORY, Weather
from soak_verdict import left_on, verdict

from tests.lab import Lab, LabError

HUNG_S = 180.0
LINES = 1000
"""An output has this many lines. It is large enough to be cut in the middle when it is staged."""
SNAKEFILE = """
    rule all:
        input: expand("r{r}/second/{i}", r=config["round"], i=range(config["count"]))

    GROUP = "chain" if config["grouped"] else None

    rule first:
        input: script="work.sh"
        output: "r{r}/first/{i}"
        group: GROUP
        retries: 9
        shell: "bash {input.script} {config[traces]} {output}"

    rule second:
        input: "r{r}/first/{i}", script="work.sh"
        output: "r{r}/second/{i}"
        group: GROUP
        retries: 9
        shell: "bash {input.script} {config[traces]} {output} {input[0]}"
"""
WORK = """
    # $1: the directory of the traces. $2: the output. $3: an input that is to be whole. Every attempt leaves a trace.
    say() { echo "$1 $HARBOR_NODE_NAME $HARBOR_JOB_KEY $(date +%s.%N)" >>"$traces/${output//\\//_}"; }
    lines() { for ((k = 0; k < LINES; k++)); do echo "$1"; done; }
    traces=$1 output=$2
    say start
    if [ "$3" ] && [ "$(<"$3")" != "$(lines "$3")" ]; then say spoilt; exit 1; fi
    for ((k = RANDOM % 10; k > 0; k--)); do sleep 0.2; say tick; done
    lines "$output" >"$output" || exit 1 # The disk is full.
    say end
""".replace("LINES", str(LINES))
PATIENCE = 3


class Controller:
    """Snakemake, which is killed and started again at random."""

    def __init__(self, lab: Lab, directory: Path, dice: random.Random, staging: str, grouped: bool) -> None:
        self._lab = lab
        self._directory = directory
        self._dice = dice
        self._staging = staging
        self._grouped = grouped
        self.count: Counter[str] = Counter()
        self.failed = 0

    def blamed(self) -> list[str]:
        """Return the lines of the log about jobs that harbor counted as failed by themselves."""
        text = (self._directory / "snakemake.log").read_text(errors="replace")
        return re.findall(r".*harbor: (?:attempt \d+ on \S+: exit code|the command ended with exit code 0).*", text)

    def run(self, number: int, jobs: int) -> None:
        """Run one workflow to its end. Raises SystemExit if it fails or hangs."""
        process, misfortune = self._start(number, jobs), self._misfortune()
        progress, seen = time.monotonic(), 0
        while True:
            try:
                code = process.wait(0.2)
            except subprocess.TimeoutExpired:
                done = len(list(self._directory.glob(f"r{number}/*/*")))
                if done != seen:
                    progress, seen = time.monotonic(), done
                if time.monotonic() - progress > HUNG_S:
                    self._explain()
                    process.kill()
                    self._give_up(f"hung: no output for {HUNG_S:.0f} s, {seen} of {2 * jobs}")
                if time.monotonic() >= misfortune[0]:
                    if self._suffer(process, misfortune[1]):
                        process = self._start(number, jobs)
                    misfortune = self._misfortune()
                continue
            if code == 0:
                return
            self.failed += 1
            print((self._directory / "snakemake.log").read_text(errors="replace")[-6000:], file=sys.stderr)
            if self.failed == PATIENCE:
                self._give_up(f"Snakemake ended with exit code {code}, for the {PATIENCE}rd time")
            process = self._start(number, jobs)

    def _misfortune(self) -> tuple[float, str]:
        kind = self._dice.choice(["kill -9", "kill -9", "suspended", "detached"])
        return time.monotonic() + self._dice.uniform(20, 60), kind

    def _suffer(self, process: "subprocess.Popen[bytes]", kind: str) -> bool:
        """Apply a fault to the controller. Return True if the controller has ended."""
        self.count[kind] += 1
        if kind == "suspended":
            process.send_signal(signal.SIGSTOP)
            time.sleep(self._dice.uniform(2, 25))
            process.send_signal(signal.SIGCONT)
            return False
        process.send_signal(signal.SIGKILL if kind == "kill -9" else signal.SIGHUP)
        try:
            return process.wait(60) != 0
        except subprocess.TimeoutExpired:
            self._give_up(f"a controller that was to be {kind} has not ended")
            raise AssertionError from None

    def _start(self, number: int, jobs: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "snakemake", "--nocolor", "--executor", "harbor", "--jobs", "1000"]
        command += ["--harbor-hosts", ",".join(f"3/{host}" for host in self._lab.hosts)]
        command += ["--harbor-ssh-config", str(self._lab.ssh_config), "--harbor-max-load", "50"]
        command += ["--harbor-lost-after", "6", "--harbor-fence-wait", "8", "--latency-wait", "10"]
        command += ["--scheduler", "harbor", "--max-jobs-per-timespan", "100000/1s", "--rerun-triggers", "mtime"]
        command += ["--harbor-on-hangup", "detach", "--harbor-staging", self._staging]
        command += ["--rerun-incomplete", "--nolock"]
        command += ["--config", f"round={number}", f"count={jobs}", f"traces={self._directory.parent / 'traces'}"]
        command += [f"grouped={self._grouped}"]
        with (self._directory / "snakemake.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _explain(self) -> None:
        """Print what `harbor explain` shows of jobs that have not ended."""

        def harbor(*words: str) -> str:
            code = "import sys; from snakemake_executor_plugin_harbor.cli import main; sys.exit(main())"
            argv = [sys.executable, "-c", code, *words]
            return subprocess.run(argv, cwd=self._directory, capture_output=True, text=True, check=False).stdout

        print(harbor("status"), file=sys.stderr)
        for job in json.loads(harbor("status", "--json"))["jobs"]:
            if job["state"] not in ("succeeded", "failed"):
                print(harbor("explain", job["id"]), file=sys.stderr)

    def _give_up(self, why: str) -> None:
        print((self._directory / "snakemake.log").read_text(errors="replace")[-6000:], file=sys.stderr)
        raise SystemExit(f"soak: {why}; what was left is in {self._directory}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=500, help="chains in a workflow; each is two jobs")
    parser.add_argument("--grouped", action="store_true", help="the two jobs of a chain are a group")
    parser.add_argument("--staged", choices=["all", "half", "none"], default="none", help="hosts without the directory")
    given = parser.parse_args()
    reason = Lab.unavailable()
    if reason:
        raise SystemExit(f"soak: {reason}")
    base = Path(tempfile.mkdtemp(prefix="harbor-soak-"))
    directory = base / "work"
    traces = base / "traces"
    for path in (directory, traces):
        path.mkdir()
    (directory / "Snakefile").write_text(textwrap.dedent(SNAKEFILE))
    (directory / "work.sh").write_text(textwrap.dedent(WORK))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, and then controllers would not detach
    os.environ["HOME"] = str(base)  # so that no file of the user is read or written
    hosts = [f"host{number + 1}" for number in range(given.hosts)]
    staged = {"all": hosts, "half": hosts[1::2], "none": []}[given.staged]
    missing = {host: [directory] for host in staged}
    with Lab(given.hosts, [directory, traces], base / "lab", missing=missing) as lab:
        code = soak(lab, directory, given)
    if code:
        raise SystemExit(f"soak: what was left is in {directory}")
    shutil.rmtree(base)


def soak(lab: Lab, directory: Path, given: argparse.Namespace) -> int:
    began = time.monotonic()
    # Where files are sent, a host that has lost its mount may get files, too. It would only lose its traces with it.
    staged = set(lab.hosts) if any(directory not in paths for paths in lab.shared.values()) else set()
    weather = Weather(lab, random.Random(given.seed), max(1, given.hosts // 3), staged)
    # Without staged hosts, a controller that comes when a mount is lost must wait for it. A job to which files are sent
    # there would write its first lines into the empty directory of the traces.
    staging = "auto" if staged else "never"
    controller = Controller(lab, directory, random.Random(given.seed + 1), staging, given.grouped)
    rounds = 0
    with weather.raging():
        while time.monotonic() - began < given.minutes * 60:
            controller.run(rounds, given.jobs)
            rounds += 1
    # The last workflow runs without faults. It removes records of hosts that were off before.
    controller.run(rounds, len(lab.hosts) * 3)
    wanted = [f"r{r}/{step}/{i}" for r in range(rounds) for step in ("first", "second") for i in range(given.jobs)]
    # A staged host has no other way than its connection to say how a job has ended.
    excuses = weather.excuses + [(host, at) for at, host, _ in weather.told if host in staged]
    # A job of a group may end, and the next one of the same attempt find no directory. The group runs again.
    lost_mounts = [(host, at) for at, host, name in weather.told if given.grouped and name in OF_THE_DIRECTORY]
    counts, wrong = verdict(directory, LINES, wanted, excuses, staged, lost_mounts)
    left, blamed = left_on(lab), controller.blamed()
    figures = {
        "seconds": round(time.monotonic() - began),
        "hosts": given.hosts,
        "seed": given.seed,
        "staged": given.staged,
        "grouped": given.grouped,
        "workflows": rounds,
        "jobs": len(wanted),
        "attempts": counts["attempts"],
        "faults": dict(weather.count),
        "controller": dict(controller.count),
        "ran again, excused": counts["redone"],
        "lost": counts["lost"],
        "duplicated": counts["duplicated"],
        "blamed": len(blamed),
        "failed": controller.failed,
        "hung": 0,
        "left": len(left),
    }
    for text in (wrong + left + blamed)[:20]:
        print(text, file=sys.stderr)
    for at, host, name in weather.told if wrong or blamed else []:
        print(f"{at:.1f} {host}: {name}", file=sys.stderr)
    print(json.dumps(figures, indent=1))
    return 1 if counts["lost"] or counts["duplicated"] or left or blamed or controller.failed else 0


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        raise SystemExit(f"soak: {error}") from error
