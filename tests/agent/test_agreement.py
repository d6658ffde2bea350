"""The controller and the agent each define some constants and names of files for themselves. These are equal in both.

The agent's modules run in the oldest and the newest Python of this machine, as on a node.
"""

import json
import os

import pytest

from snakemake_executor_plugin_harbor.core import codec, protocol
from snakemake_executor_plugin_harbor.core.job import LOST_REASONS
from snakemake_executor_plugin_harbor.core.model import attempt_key
from snakemake_executor_plugin_harbor.store import directory_id, fence_dir
from tests.agent.conftest import run_beside_modules

RECORD = """
from harbor_record import Record
def record(job, attempt, **info):
    return Record("/no/such/base", job, attempt, dict(info, owner="one"))
"""


@pytest.fixture
def ask_agent(python):
    """Evaluate an expression beside the agent's modules. Its value travels as JSON."""

    def ask(expression: str, imports: str = "") -> object:
        code = f"import json, sys\n{imports}\n{RECORD}\nprint(json.dumps({expression}))"
        return json.loads(run_beside_modules(python, code))

    return ask


def test_constants_of_the_protocol(ask_agent):
    expected = {
        "harbor_wire.VERSION": protocol.VERSION,
        "harbor_wire.MAX_LINE": codec.MAX_LINE,
        "harbor_attempts.MAX_ATTEMPT": protocol.MAX_ATTEMPT,
        "harbor_output.TAIL": protocol.MAX_TAIL,
        "harbor_fence.NOTICE": fence_dir.NOTICE,
        "sorted(harbor_fence.NO_NOTICE)": sorted(LOST_REASONS),
    }
    found = ask_agent(f"[{', '.join(expected)}]", "import harbor_wire, harbor_attempts, harbor_output, harbor_fence")
    assert dict(zip(expected, found, strict=True)) == expected


def test_a_piece_of_output_fits_into_one_line(ask_agent):
    assert ask_agent("harbor_output.PIECE_MAX", "import harbor_output") * 4 / 3 + 1000 < codec.MAX_LINE


def test_the_key_of_an_attempt(ask_agent):
    assert ask_agent('record("r/rule.1", 12).key') == attempt_key("r/rule.1", 12)


@pytest.mark.parametrize("steps", [0, 1])
def test_the_facts_of_a_script_are_those_that_the_controller_keeps(ask_agent, steps):
    usage = "type('Usage', (), dict.fromkeys(('ru_maxrss', 'ru_utime', 'ru_stime', 'ru_inblock', 'ru_oublock'), 1))"
    code = f"from harbor_steps import Steps\nsteps = Steps([], 0.0)\nsteps.begin()\nfor _ in range({steps}):\n"
    found = ask_agent("steps.ended", f"{code}    steps.end(0, {usage}, 0.0)")
    assert [set(step) for step in found] == [set(protocol.STEP)] * steps


def test_the_agent_finds_the_fences_of_the_controller(ask_agent, tmp_path):
    fences = fence_dir.FenceDir(tmp_path / "fence", "r")
    fences.fence("r/rule.1", 2)
    fences.fence("r/2", None)
    fences.note_result_recorded("r/3", 1, away=True)
    jobs = [("r/rule.1", 2), ("r/rule.1", 1), ("r/2", 1), ("r/2", 7), ("r/3", 1), ("r/rule", 1)]
    imports = f"from harbor_fence import Fence\njobs = {jobs!r}"
    fence = f'Fence({str(tmp_path / "fence")!r}, "one")'
    found = ask_agent(f"[[r.job, r.attempt] for r in {fence}.given_up([record(*job) for job in jobs])]", imports)
    assert found == [["r/rule.1", 2], ["r/2", 1], ["r/2", 7]]


def test_the_controller_finds_the_exit_notices_of_the_agent(ask_agent, tmp_path):
    message = {"t": "known", "job": "r/rule.1", "attempt": 2, "state": "exited", "exit": {"code": 3, "reason": None}}
    imports = f"""
from harbor_fence import Fence
def leave(job, attempt, exit, message):
    Fence({str(tmp_path / "fence")!r}, "one").leave_exit_notice(record(job, attempt, exit=exit), message)
"""
    ask_agent(f"leave('r/rule.1', 2, {message['exit']!r}, {message!r})", imports)
    for reason in LOST_REASONS:
        ask_agent(f"leave('r/{reason}', 1, {{'code': 1, 'reason': {reason!r}}}, {{}})", imports)
    fences = fence_dir.FenceDir(tmp_path / "fence", "r")
    assert fences.new_exit_notices() == [message]
    fences.note_result_recorded("r/rule.1", 2, away=False)
    assert os.listdir(tmp_path / "fence") == []


def test_the_agent_reads_the_id_of_a_directory(ask_agent, tmp_path):
    id = directory_id.directory_id(tmp_path)
    fence = f'Fence({str(tmp_path / "fence")!r}, "one")'
    assert ask_agent(f"{fence}.present_owner()", "from harbor_fence import Fence") == id
