"""Rules of single modules of the agent, which a run of a job does not reach on purpose."""

import json

import pytest

from tests.agent.conftest import run_beside_modules


@pytest.fixture
def evaluate(python, tmp_path):
    """Run statements beside the agent's modules. Returns the value of `result` as JSON."""

    def run(code: str) -> object:
        return json.loads(
            run_beside_modules(python, f"path = {str(tmp_path / 'x')!r}\n{code}\nprint(json.dumps(result))")
        )

    return run


def test_a_record_leaves_room_for_the_end_of_its_job_in_the_last_block(evaluate):
    code = """
import json, os
from harbor_spool import BLOCK, ENDING, append_line, read_record
result = []
for size in range(BLOCK - 700, BLOCK + 20, 13):
    if os.path.exists(path):
        os.unlink(path)
    value = {"hash": "h" * size}
    append_line(path, value, ENDING)
    result.append([-os.stat(path).st_size % BLOCK, read_record(path) == value])
"""
    for room, is_whole in evaluate(code):
        assert room >= 512 and is_whole


def test_lines_that_are_not_whole_and_values_of_a_wrong_type_count_as_absent(evaluate):
    code = """
import json
from harbor_spool import append_line, read_record
append_line(path, {"code": 1, "pid": 5, "x": [1]})
append_line(path, {"code": "none", "reason": 3, "keepers": 7})
append_line(path, [1])
with open(path, "a") as f:
    f.write('\\n{"pid": 6')
result = read_record(path)
"""
    assert evaluate(code) == {"pid": 5, "x": [1]}


@pytest.mark.parametrize(("kernel", "seen", "own", "expected"), [(50, 20, 60, 20), (90, 20, 60, 90), (50, 0, 60, 50)])
def test_the_memory_of_the_agent_is_not_counted_as_that_of_a_job(evaluate, kernel, seen, own, expected):
    code = f"""
import json
from harbor_steps import Steps
class Usage:
    ru_maxrss, ru_utime, ru_stime, ru_inblock, ru_oublock = {kernel} * 1024, 1.0, 0.5, 0, 0
steps = Steps([], 0.0)
steps.note_memory({seen})
steps.end(0, Usage, {own})
result = steps.ended
"""
    (step,) = evaluate(code)
    assert (step["max_rss_mb"], step["cpu_s"]) == (expected, 1.5)


def test_a_start_is_recognised_by_the_beginning_of_its_line(evaluate):
    heads = [
        b'{"t":"start","job":"r/1","attempt":2,"meta":{"t":"cancel","job":"r/7"},"scripts":["xx',
        b'{"job": "r/1", "attempt": 2, "t": "start", "x": "',
        b'{"t":"cancel","job":"r/1","attempt":2,"x":"',
        b'{"t":"start","job":"r/1","x":"',
    ]
    found = evaluate(
        f"import json\nfrom harbor_wire import attempt_in_head\nresult = list(map(attempt_in_head, {heads!r}))"
    )
    assert found == [["r/1", 2], ["r/1", 2], None, None]


def test_only_one_agent_of_an_owner_is_the_latest(evaluate):
    code = """
import json, os
from harbor_latest_agent import LatestAgent
os.mkdir(path)
first, other = LatestAgent(path, ("o", "n"), "1 1"), LatestAgent(path, ("p", "n"), "1 1")
result = [first.is_another()]
second = LatestAgent(path, ("o", "n"), "2 1")
result += [first.is_another(), second.is_another(), other.is_another()]
second.leave()
result += [first.is_another(), len(os.listdir(path))]
first.leave()
other.leave()
result.append(len(os.listdir(path)))
"""
    assert evaluate(code) == [False, True, False, False, True, 2, 0]


@pytest.mark.parametrize("had_content", [False, True])
def test_an_agent_that_could_not_write_its_name_knows_a_later_one(evaluate, had_content):
    """Its disk was full when it came."""
    code = f"""
import json, os
from harbor_latest_agent import LatestAgent
os.mkdir(path)
if {had_content}:
    earlier = LatestAgent(path, ("o", "n"), "0 1")
pwrite = os.pwrite
def full(*_):
    raise OSError(28, "No space left on device")
os.pwrite = full
first = LatestAgent(path, ("o", "n"), "1 1")
os.pwrite = pwrite
result = [first.is_another(), first.has_replaced_us(0.0)]
second = LatestAgent(path, ("o", "n"), "2 1")
result += [first.is_another(), first.has_replaced_us(1.0), first.has_replaced_us(11.0)]
"""
    assert evaluate(code) == [False, False, True, False, True]


def test_a_shell_is_the_controllers_or_the_nodes_own_of_that_name(evaluate):
    code = "import json\nfrom harbor_start_message import shell_of\n"
    found = evaluate(code + "result = list(map(shell_of, ['/bin/sh', '/no/such/place/sh', 'sh', '/no/such/shell']))")
    assert found[0] == "/bin/sh" and found[1].endswith("/sh") and found[1] != "/no/such/place/sh"
    assert found[2:] == ["sh", "/no/such/shell"]


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_the_record_of_an_attempt_is_deleted_last(evaluate, deleted):
    """If the agent is killed meanwhile, the next one finds the record and deletes the rest."""
    code = f"""
import json, os
from harbor_spool import OUTPUT, RECORD, SCRIPT, remove_files
os.mkdir(path)
for suffix in (RECORD, OUTPUT, SCRIPT):
    open(path + "/1.1" + suffix, "w").close()
if os.fork() == 0:
    unlink, calls = os.unlink, []

    def counted(name):
        calls.append(name)
        if len(calls) > {deleted}:
            os._exit(0)
        unlink(name)

    os.unlink = counted
    remove_files(path + "/1.1")
os.wait()
left = [len(os.listdir(path)), os.path.exists(path + "/1.1" + RECORD)]
remove_files(path + "/1.1")
result = left + [os.listdir(path)]
"""
    assert evaluate(code) == [3 - deleted, True, []]


def test_scripts_run_in_the_controllers_python_only_if_it_is_a_program_here(evaluate, tmp_path):
    (tmp_path / "text").touch()
    (tmp_path / "program").symlink_to("/bin/sh")
    names = [*(str(tmp_path / name) for name in ("program", "text", ".", "gone")), None]
    code = f"""
import json, sys
from harbor_facts import interpreter
result = [interpreter({{"python": name}}) == (name if name == {names[0]!r} else sys.executable) for name in {names!r}]
"""
    assert evaluate(code) == [True] * 5


def test_the_python_that_has_snakemake_is_found_without_starting_one(evaluate, tmp_path):
    """One of the release of the controller's comes first, and packages of other programs are none."""

    def python(name, *packages, venv=True):
        program = tmp_path / name / "bin" / "python3.11"
        folder = tmp_path / name / "lib" / "python3.11" / "site-packages"
        for path in (program, *(folder / package for package in packages)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o755)
        if venv:
            (tmp_path / name / "pyvenv.cfg").touch()
        return str(program)

    old = python("old", "snakemake-8.30.0.dist-info")
    new = python("new", "snakemake-9.27.0-py3.11.egg-info", "snakemake_executor_plugin_harbor-9.27.0.dist-info")
    bare = python("bare", "snakemake_storage_plugin_fs-9.27.0.dist-info", "snakemakehelper-9.27.0.dist-info")
    script = tmp_path / "path" / "snakemake"
    script.parent.mkdir()
    script.write_text(f"#!{new}\n")
    script.chmod(0o755)
    cases = {(old, "8.30.1"): old, (old, "9.27.1"): new, (bare, "9.27.1"): new, (None, "9.27.1"): new}
    code = f"""
import json, os, sys
sys.path[:] = [{str(tmp_path)!r}]
import harbor_software
os.environ["PATH"] = {str(script.parent)!r}
result = [harbor_software.snakemake({{"python": p, "snakemake": v}}) for p, v in {list(cases)!r}]
os.environ["PATH"] = "/nowhere"
result.append(harbor_software.snakemake({{"python": {bare!r}, "snakemake": "9.27.1"}}))
"""
    *found, none = evaluate(code)
    assert [pair[0] for pair in found] == list(cases.values()) and none is None
    assert {tuple(pair) for pair in found} == {(old, "8.30.0"), (new, "9.27.0")}
