"""Run the tests of a Snakemake checkout with harbor in the place of the local executor, and compare.

    python -m tests.conformance CHECKOUT [--only WORD] [--mode MODE] [--jobs 2] [--results FILE] [--table FILE]

CHECKOUT is a directory with Snakemake's `tests/`. Each test of `tests/tests.py` runs a workflow and compares its
results with those that are expected. The modes are: `local` (the local executor), `localhost` (harbor without SSH),
`shared` (two SSH servers of this machine) and `staged` (the same, but files are sent and fetched). A test counts if it
passes with the local executor. `--table` writes what differs, and why, in Markdown. reasons.yaml has the reasons.

The exit code is 0 if every test that counts passes in each mode or has a reason.
"""

import argparse
import ast
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.sshd import hosts

MODES = ("local", "localhost", "shared", "staged")
LIMIT_S = 150.0
REASONS = Path(__file__).with_name("reasons.yaml")
PASSED, SKIPPED = 0, 77
Results = dict[str, dict[str, str]]


def test_names(checkout: Path) -> list[str]:
    """Return the test functions of Snakemake's tests/tests.py."""
    tree = ast.parse((checkout / "tests" / "tests.py").read_text())
    return [item.name for item in tree.body if isinstance(item, ast.FunctionDef) and item.name.startswith("test_")]


def child(checkout: Path, name: str, settings: dict[str, Any] | None, log: Path, work: Path) -> None:
    """Run one test in this process, which is a fork of ours, and end it. `settings` are harbor's (None: local)."""
    os.setsid()
    fd = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(checkout)
    tempfile.tempdir = str(work)
    sys.argv = ["snakemake"]
    # Both projects call their tests `tests`, and from here on it is Snakemake's.
    for module in [module for module in sys.modules if module.split(".")[0] == "tests"]:
        del sys.modules[module]
    sys.path.insert(0, str(checkout))
    import pytest

    class Outcome:
        skipped = False

        @staticmethod
        def pytest_runtest_logreport(report: Any) -> None:
            Outcome.skipped = Outcome.skipped or report.skipped

    if settings is not None:
        put_harbor_in_place(settings)
    arguments = ["-p", "no:cacheprovider", "-q", "-s", "--tb=short", "--rootdir", str(checkout)]
    code = pytest.main([*arguments, f"tests/tests.py::{name}"], plugins=[Outcome])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(SKIPPED if Outcome.skipped else int(code))


def put_harbor_in_place(settings: dict[str, Any]) -> None:
    """Have Snakemake's test helper `run` use harbor where it would use the local executor."""
    from snakemake_executor_plugin_harbor import ExecutorSettings

    common = importlib.import_module("tests.common")
    original = common.run

    def run(path: Any, *args: Any, **how: Any) -> Any:
        command = how.get("shellcmd")
        if command:
            if not any(word in command.split() for word in ("--executor", "-e", "-n", "--dry-run", "--dryrun")):
                options = " ".join(f"--harbor-{key.replace('_', '-')} {value}" for key, value in settings.items())
                options = options.replace("[", "").replace("]", "").replace("'", "").replace(", ", " ")
                line, dashes, targets = command.partition(" -- ")
                how["shellcmd"] = f"{line} --executor harbor --jobs 100 {options}{dashes}{targets}"
        elif how.get("executor", "local") == "local" and not how.get("cluster"):
            values = {key: Path(value) if key == "ssh_config" else value for key, value in settings.items()}
            how.update(executor="harbor", executor_settings=ExecutorSettings(**values), nodes=how.get("nodes") or 100)
        return original(path, *args, **how)

    common.run = run


def run_all(
    checkout: Path, names: list[str], settings: dict[str, Any] | None, jobs: int, base: Path, mode: str
) -> Iterator[tuple[str, str, float]]:
    """Run the tests, some at the same time. Yield name, outcome and seconds of each."""
    waiting, running = list(reversed(names)), dict[int, tuple[str, float, Path]]()
    logs = base / "logs" / mode
    logs.mkdir(parents=True, exist_ok=True)
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop()
            work = Path(tempfile.mkdtemp(prefix=f"{mode}-", dir=base))
            pid = os.fork()
            if pid == 0:
                try:
                    child(checkout, name, settings, logs / name, work)
                finally:
                    os._exit(1)
            running[pid] = (name, time.monotonic(), work)
        time.sleep(0.02)
        for pid, (name, began, work) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            late = time.monotonic() - began > LIMIT_S
            if not ended and not late:
                continue
            if not ended:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status) if ended else None
            del running[pid]
            shutil.rmtree(work, ignore_errors=True)
            outcome = {PASSED: "passed", SKIPPED: "skipped", None: "hung"}.get(code, "failed")
            yield name, outcome, time.monotonic() - began


@contextmanager
def settings_of(mode: str, base: Path) -> Iterator[dict[str, Any] | None]:
    """Return harbor's settings in a mode, while its servers run. None: the local executor."""
    common = {"max_load": 50.0, "nice": 0, "scratch": str(base / "scratch")}
    if mode == "local":
        yield None
    elif mode == "localhost":
        yield {"hosts": ["8/localhost"], **common}
    else:
        with hosts(2, base / f"sshd-{mode}") as pool:
            staging = {"staging": "always"} if mode == "staged" else {}
            yield {"hosts": ["8/node1", "8/node2"], "ssh_config": str(pool.ssh_config), **staging, **common}


def table(results: Results, reasons: dict[str, Any]) -> str:
    """Return the table of what differs, in Markdown."""
    counted = [name for name, found in results.items() if found.get("local") == "passed"]
    lines = ["| mode | pass | differ |", "|---|---|---|"]
    for mode in MODES[1:]:
        ran = [name for name in counted if mode in results[name]]
        good = sum(results[name][mode] in ("passed", "skipped") for name in ran)
        lines.append(f"| {mode} | {good} of {len(ran)} | {len(ran) - good} |")
    lines += ["", "| test | differs in | why |", "|---|---|---|"]
    for name in sorted(counted):
        modes = [mode for mode in MODES[1:] if results[name].get(mode) in ("failed", "hung")]
        if modes:
            lines.append(f"| `{name}` | {', '.join(modes)} | {reasons.get(name, '**no reason is known**')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--only", default="", help="run only the tests whose names contain this word")
    parser.add_argument("--mode", choices=MODES[1:], action="append", help="default: all three")
    parser.add_argument("--jobs", type=int, default=2, help="this many tests at the same time")
    parser.add_argument("--results", type=Path, help="write and read results, so that a later call goes on")
    parser.add_argument("--table", type=Path, help="write the table")
    given = parser.parse_args()
    checkout = given.checkout.resolve()
    names = [name for name in test_names(checkout) if given.only in name]
    results: Results = json.loads(given.results.read_text()) if given.results and given.results.exists() else {}
    base = Path(tempfile.mkdtemp(prefix="harbor-conformance-"))
    for mode in ("local", *(given.mode or MODES[1:])):
        wanted = [n for n in names if mode == "local" or results.get(n, {}).get("local") == "passed"]
        wanted = [name for name in wanted if mode not in results.get(name, {})]
        with settings_of(mode, base) as settings:
            for name, outcome, seconds in run_all(checkout, wanted, settings, given.jobs, base, mode):
                results.setdefault(name, {})[mode] = outcome
                if outcome not in ("passed", "skipped") and mode != "local":
                    print(f"{mode}: {name}: {outcome} after {seconds:.0f} s; {base / 'logs' / mode / name}", flush=True)
                if given.results:
                    given.results.write_text(json.dumps(results, indent=1))
    reasons = yaml.safe_load(REASONS.read_text()) or {}
    text = table({name: results[name] for name in results if given.only in name}, reasons)
    print(text)
    if given.table:
        given.table.write_text(text)
    bad = [
        name
        for name, found in results.items()
        if found.get("local") == "passed"
        and name not in reasons
        and any(found.get(mode) in ("failed", "hung") for mode in MODES[1:])
    ]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
