"""The names of attempts' directories, in both directions."""

from pathlib import Path
from types import SimpleNamespace

from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.jobs.staging import TRANSFERS_SHOWN, Staging
from snakemake_executor_plugin_harbor.staging.model import Transfer


def test_transfers_are_shown_with_the_job_whose_attempt_it_is():
    transfers = []
    movers = SimpleNamespace(transfers=lambda: {"ada": transfers})
    staging = Staging(Path("/work"), "owner", movers, None)
    directory = staging.attempt(NodeSpec("ada", "ada"), "261127-1-ab/12", 3).directory
    transfers += [Transfer(directory, True, 5, 9), Transfer(directory, False, 5, None)] * TRANSFERS_SHOWN
    shown = staging.transfers()["ada"]
    assert len(shown) == TRANSFERS_SHOWN
    assert shown[0] == {"job": "261127-1-ab/12", "attempt": 3, "way": "to", "done": 5, "total": 9}
    assert shown[1] == {"job": "261127-1-ab/12", "attempt": 3, "way": "from", "done": 5, "total": None}
