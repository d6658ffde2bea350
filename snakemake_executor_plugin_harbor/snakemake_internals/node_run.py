"""Runs Snakemake on a node to which the files of a job were sent: `python node_run.py FACTS.json ARGUMENT...`.

It refuses a job that is not the one which the controller has planned. The Snakefile may compute inputs from files that
are not there, and the job would then silently make something else.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path


def digest(rule: str, wildcards: Iterable[tuple[str, str]], inputs: Iterable[str]) -> str:
    """Return a short hash of a job's rule, wildcards and inputs. Absolute paths differ between machines."""
    names = sorted(os.path.normpath(path) for path in inputs if not os.path.isabs(path))
    text = json.dumps([rule, sorted(wildcards), names])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def main() -> None:
    # The directory of this program gives way to the current one, as with `python -m snakemake`.
    facts = json.loads(Path(sys.argv.pop(1)).read_text("utf-8"))
    sys.argv[0], sys.path[0] = "snakemake", os.getcwd()

    from snakemake.checkpoints import Checkpoints
    from snakemake.cli import main as snakemake
    from snakemake.exceptions import WorkflowError
    from snakemake.jobs import Job

    planned = frozenset(facts["jobs"])
    begin, prepare = Checkpoints.__init__, Job.prepare

    def with_outputs(self: Checkpoints) -> None:
        begin(self)
        self.created_output.update(facts["checkpoints"])

    async def prepare_planned(self: Job) -> None:
        inputs = list(map(str, self.input))
        if not self.is_norun and digest(self.rule.name, self.wildcards_dict.items(), inputs) not in planned:
            raise WorkflowError(
                f"harbor: on this node, {self.rule.name} has other inputs than on the controller: "
                f"{', '.join(inputs[:10]) or 'none'}. The Snakefile computes them from files that are not here. Name "
                "these files in the resource stage_in."
            )
        await prepare(self)

    Checkpoints.__init__, Job.prepare = with_outputs, prepare_planned
    snakemake()


if __name__ == "__main__":
    main()
