"""Run the tests of a Snakemake checkout with harbor in the place of the local executor, and compare.

    python -m tests.conformance CHECKOUT [--only WORD] [--mode MODE] [--jobs 2] [--results FILE] [--table FILE]

CHECKOUT is a directory with Snakemake's `tests/`, in the version that is installed. Each test of `tests/tests.py` runs
a workflow and compares its results with those that are expected. The modes are: `local` (the local executor),
`localhost` (harbor without SSH), `shared` (two SSH servers of this machine) and `staged` (the same, but files are sent
and fetched). A test counts if it passes with the local executor: without conda or a network, the others do not.
Some need packages (the extra `conformance` of this project) or programs (rsync for the storage plugin `fs`, stress-ng).
`--table` writes what differs, and why, in Markdown. reasons.yaml has the reasons.

The exit code is 0 if every test that counts passes in each mode or has a reason.
"""

import argparse
import ast
import importlib
import importlib.metadata
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
LIMIT_S = 300.0
"""The slowest test starts 60 Snakemakes on nodes, of which each takes seconds."""
NODE = "{slots: 32, gpus: 1}"
"""The tests have rules with up to 20 threads or a GPU, for which the local executor does not look."""
UNKNOWN = "**No reason is known.**"
HEADER = """\
# Conformance

`make conformance SNAKEMAKE=checkout` writes this page. It runs the tests of Snakemake's `tests/tests.py` with harbor in
the place of the local executor, and compares files and exit codes with those that the tests expect. {local} tests pass
with the local executor of Snakemake {version} here. In mode `localhost`, harbor runs the jobs without SSH. In mode
`shared`, two SSH servers have the working directory. In mode `staged`, files are sent to these servers and fetched.
"""
REASONS = Path(__file__).with_name("reasons.yaml")
PASSED, SKIPPED = 0, 77
PRELOADED = ("pytest", "snakemake.api", "snakemake.report.html_reporter", "snakemake_executor_plugin_harbor.executor")
"""Each test is a fork of this process. What all of them import is imported once."""
Results = dict[str, dict[str, str]]
Reasons = dict[tuple[str, str], str]
"""Test and mode -> why the test differs."""


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
                line, dashes, targets = command.partition(" -- ")
                how["shellcmd"] = f"{line} --executor harbor --jobs 100 {options}{dashes}{targets}"
        elif how.get("executor", "local") == "local" and not how.get("cluster"):
            paths = {key: Path(settings[key]) for key in ("ssh_config", "hostfile") if key in settings}
            values = ExecutorSettings(**{**settings, **paths})
            how.update(executor="harbor", executor_settings=values, nodes=how.get("nodes") or 100)
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
    if mode == "local":
        yield None
        return
    names = ["localhost"] if mode == "localhost" else ["node1", "node2"]
    hostfile = base / f"{mode}.yaml"
    hostfile.write_text("".join(f"{name}: {NODE}\n" for name in names))
    common = {"hostfile": str(hostfile), "max_load": 50.0, "nice": 0, "scratch": str(base / "scratch")}
    if mode == "localhost":
        yield common
    else:
        with hosts(2, base / f"sshd-{mode}") as pool:
            staging = {"staging": "always"} if mode == "staged" else {}
            yield {**common, "ssh_config": str(pool.ssh_config), **staging}


def known_reasons() -> Reasons:
    """Return why a test may differ in a mode."""
    groups = yaml.safe_load(REASONS.read_text()) or []
    return {(test, mode): group["why"] for group in groups for test in group["tests"] for mode in group["modes"]}


def differing(results: Results) -> Iterator[tuple[str, str]]:
    """Yield each test and mode that differs from the local executor."""
    for name, found in sorted(results.items()):
        if found.get("local") == "passed":
            yield from ((name, mode) for mode in MODES[1:] if found.get(mode) in ("failed", "hung"))


def table(results: Results, reasons: Reasons) -> str:
    """Return the page with what differs, in Markdown."""
    counted = [name for name, found in results.items() if found.get("local") == "passed"]
    lines = [HEADER.format(version=importlib.metadata.version("snakemake"), local=len(counted))]
    lines += ["| mode | tests that were run | pass | differ |", "|---|---|---|---|"]
    for mode in MODES[1:]:
        ran = [name for name in counted if mode in results[name]]
        if not ran:
            continue
        good = sum(results[name][mode] in ("passed", "skipped") for name in ran)
        lines.append(f"| {mode} | {len(ran)} | {good} | {len(ran) - good} |")
    lines += ["", "| what differs, and why | in | tests |", "|---|---|---|"]
    whys: dict[str, dict[str, list[str]]] = {}
    for name, mode in differing(results):
        whys.setdefault(reasons.get((name, mode), UNKNOWN), {}).setdefault(name, []).append(mode)
    for why, tests in whys.items():
        modes = [mode for mode in MODES if any(mode in found for found in tests.values())]
        lines.append(f"| {why} | {', '.join(modes)} | {', '.join(f'`{name}`' for name in tests)} |")
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
    # Tests call `python` and `snakemake`.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for module in PRELOADED:
        importlib.import_module(module)
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
    reasons = known_reasons()
    text = table({name: results[name] for name in results if given.only in name}, reasons)
    print(text)
    if given.table:
        given.table.write_text(text)
    bad = [one for one in differing(results) if one not in reasons]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
