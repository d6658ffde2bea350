"""Make the tables of incomplete sweeps: partial.csv has the cases that are done, and failed.csv those that have failed.

Everything is read from files: what the configuration wants (`sweep_specs.table`), what the steps of the cases have
left, and their states (case_state.py). The executor may know of failures that left no word, such as that of a job whose
node was lost. `told` has those: (rule, case, node, reason, log, started, ended) as dicts, with times in seconds.

`python partial_table.py [SWEEP ...]` reads a JSON list `told` from stdin, makes the tables of these sweeps, or of all,
and prints a JSON list with an object per sweep, whose `text` is for people. At the end of a run, the executor harbor
and the handlers of the Snakefile call `EndOfSweeps`.
"""

import json
import os
import sys
from pathlib import Path

from case_files import TIMESTAMP, remove
from case_state import read_state, state_file, write_state
from collect import UNFINISHED, Unusable, rows_of, write_lines, write_table

# It names the specification of each sweep's table. Reading the Snakefile writes it.
REGISTRY = Path(".snakemake/sweep/sweeps.json")
DETAILS = ("step", "node", "reason", "log")
# The clocks of a file server and of the controller may differ by this time (seconds).
SKEW = 5
# At most this many failed cases are named in the output.
SHOWN = 100
NO_WORD = "it began, and left no word about its end: it was killed, or its machine has failed"


class Sweep:
    """One sweep of the configuration, and what is there of it."""

    def __init__(self, name, table):
        self.name, self.directory = name, f"results/{name}"
        self.steps = os.path.join(self.directory, ".steps")
        self.spec = json.loads(Path(table).read_text(encoding="utf-8"))
        self.template = self._time(os.path.join(self.steps, "template", TIMESTAMP))
        self.scripts = {step: self._time(path) for step, path in self.spec["scripts"].items()}

    @staticmethod
    def _time(path):
        """Return when a file was written, or 0 if there is no such file."""
        try:
            return os.stat(path).st_mtime_ns
        except OSError:
            return 0

    def is_done(self, case, state):
        """Tell if all steps of a case are done as the configuration wants them now."""
        name = case["case"]
        if not os.path.isdir(os.path.join(self.directory, "cases", name)):
            return False
        specs, before = state.get("specs") or {}, self.template
        for step, wanted in case["specs"].items():
            done = self._time(os.path.join(self.steps, step, name))
            if not done or done < max(before, self.scripts.get(step, 0)) or specs.get(step, wanted) != wanted:
                return False
            before = done
        return True

    def failure(self, case, state, told, ended):
        """Return the details of the failure of a case that is not done, or None if it has not failed.

        A step that failed by itself has written the best reason. If it was killed, the executor knows why. A failure
        of the executor does not count if the case has begun again later.
        """
        if any(case["specs"].get(step, spec) != spec for step, spec in state.get("last", {}).items()):
            # It had to do something else then.
            state = {}
        if not state and not told:
            return None
        written = self._time(state_file(self.steps, case["case"])) / 1e9
        failed = state.get("state") == "failed"
        own = failed and not state.get("killed") and written > (told or {}).get("started", 0) - SKEW
        if told and not own and written < told["ended"] + SKEW:
            # The executor does not know which step of a group it was.
            begun = state.get("step") if written > told["started"] - SKEW else None
            step = begun if begun in told["steps"] else told["steps"][0]
            return {**told, "step": step, "log": self._log(step, case) or told["log"]}
        if failed:
            return {key: state[key] for key in DETAILS}
        return {**state, "reason": NO_WORD} if ended and state.get("state") == "running" else None

    def _log(self, step, case):
        path = f"{self.directory}/logs/{step}/{case['case']}.log"
        return path if os.path.exists(path) else ""

    def make(self, told, ended):
        """Write both tables, or remove them if the sweep is complete. Return what the tables hold."""
        done, failed = [], []
        states = [(case, read_state(self.steps, case["case"])) for case in self.spec["cases"]]
        waiting = {case["case"] for case, state in states if not self.is_done(case, state)}
        if not waiting and self._is_collected():
            self._remove()
            return self._found([], len(states), complete=True)
        for case, state in states:
            if case["case"] not in waiting:
                rows, reason, fault = rows_of(self.spec, case, self.directory, state)
                done += [(case, row, reason) for row in rows]
                if fault:
                    sentence = fault.partition("\n")[0].partition(": ")[2] or fault.partition("\n")[0]
                    log = self._log(list(case["specs"])[-1], case)
                    failed.append(
                        (case, {"step": "collect", "node": state.get("node", ""), "reason": sentence, "log": log})
                    )
                continue
            found = self.failure(case, state, told.get(case["case"]), ended)
            if found:
                failed.append((case, found))
                if ended and found.get("reason") != state.get("reason"):
                    # Later runs know it, too.
                    kept = {key: found[key] for key in DETAILS}
                    last = {step: spec for step, spec in case["specs"].items() if step == found["step"]}
                    kept.update(state="failed", killed=False, last=last)
                    write_state(self.steps, case["case"], {**state, **kept})
        if done or failed:
            self._write(done, failed)
        else:
            self._remove()
        return self._found(failed, len({case["case"] for case, _, _ in done}), complete=False)

    def _found(self, failed, done, complete):
        return {
            "sweep": self.name,
            "cases": len(self.spec["cases"]),
            "done": done,
            "failed": [{"case": case["case"], **{key: how[key] for key in DETAILS}} for case, how in failed],
            "table": os.path.join(self.directory, "results.csv" if complete else UNFINISHED[0]),
            "complete": complete,
        }

    def _remove(self):
        for name in UNFINISHED:
            remove(os.path.join(self.directory, name))

    def _write(self, done, failed):
        partial, failures = (os.path.join(self.directory, name) for name in UNFINISHED)
        write_table(partial, self.spec, done)
        parameters = self.spec["parameters"]
        lines = [["case", *parameters, *(f"failed.{key}" if key in parameters else key for key in DETAILS)]]
        for case, how in failed:
            values = [case["params"].get(name, "") for name in parameters]
            lines.append([case["case"], *values, *(how[key] for key in DETAILS)])
        write_lines(failures, lines)

    def _is_collected(self):
        """Tell if the table was made from what the cases have left."""
        made = self._time(f"{self.directory}/results.csv")
        last = list(self.spec["cases"][0]["specs"])[-1]
        return made and all(self._time(os.path.join(self.steps, last, c["case"])) <= made for c in self.spec["cases"])


def make(tables, told=(), ended=False):
    """Make the tables of sweeps, which are {name: file with the specification of its table}. Yield what they hold.

    `ended`: no case runs any more.
    """
    sweeps = [Sweep(name, table) for name, table in tables.items()]
    failures = {sweep.name: {} for sweep in sweeps}
    for failure in told:
        for sweep in sorted(sweeps, key=lambda sweep: -len(sweep.name)):
            # In a workflow that uses ours as a module, the names of rules may have a prefix.
            # The rule of a group has the names of several rules.
            rules = failure["rule"].split("+")
            steps = [step for step in ("run", "post") if any(rule.endswith(f"{sweep.name}_{step}") for rule in rules)]
            if steps:
                failures[sweep.name][failure["case"]] = {**failure, "steps": steps}
                break
    for sweep in sweeps:
        try:
            found = sweep.make(failures[sweep.name], ended)
        except (Unusable, OSError) as error:
            found = {"sweep": sweep.name, "error": f"sweep {sweep.name}: no table of what is done can be made: {error}"}
        yield {**found, "text": "\n".join(lines_of(found))}


def lines_of(found):
    """Return lines that say what is done, and name each case that has failed."""
    if "error" in found:
        return [found["error"]]
    if found["complete"]:
        return [f"sweep {found['sweep']}: all {found['cases']} cases are done: {found['table']}"]
    if not found["done"] and not found["failed"]:
        return [f"sweep {found['sweep']}: none of its {found['cases']} cases is done"]
    lines = [f"sweep {found['sweep']}: {found['done']} of {found['cases']} cases are done: {found['table']}"]
    if found["failed"]:
        path = os.path.join(os.path.dirname(found["table"]), UNFINISHED[1])
        count = len(found["failed"])
        lines.append(f"{count} of its cases {'has' if count == 1 else 'have'} failed: {path}")
    for failed in found["failed"][:SHOWN]:
        where = f" on {failed['node']}" if failed["node"] else ""
        lines.append(f"  {failed['case']}: step {failed['step']}{where}: {failed['reason']}")
        lines += [f"    log: {failed['log']}"] if failed["log"] else []
    if len(found["failed"]) > SHOWN:
        lines.append(f"  ... and {len(found['failed']) - SHOWN} more")
    return lines


class EndOfSweeps:
    """Makes the tables once at the end of a run, and says what they hold. `tables` is as for `make`.

    The executor may call it before the handlers of the Snakefile do, because only the executor can tell more.
    """

    def __init__(self, logger):
        self.tables, self.logger, self.is_over = {}, logger, False

    def __call__(self, told=(), ended=True):
        if self.is_over:
            return
        self.is_over = True
        for found in make(self.tables, told, ended):
            if "error" in found or found["failed"]:
                self.logger.error(found["text"])
            elif found["done"] and not found["complete"]:
                self.logger.info(found["text"])


def main():
    tables = json.loads(REGISTRY.read_text(encoding="utf-8"))
    names = sys.argv[1:] or list(tables)
    told = json.load(sys.stdin)
    json.dump(list(make({name: tables[name] for name in names}, told)), sys.stdout)


if __name__ == "__main__":
    main()
