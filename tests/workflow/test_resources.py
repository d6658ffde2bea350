"""Each case reserves numbers, texts, or what an expression of its parameters is. Mistakes name sweep, key and case."""

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import sweep_config  # noqa: E402
import sweep_resources  # noqa: E402
from sweep_cases import SweepError  # noqa: E402

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
CASES = "case,n,size,host,hours,f\na,1,1000,ada,2h,0.5\nb,4,20,,1d,1.1\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "template").mkdir()
    (tmp_path / "c.csv").write_text(CASES)

    def read(**keys):
        sweep = {"template": "template", "run": ["true"], "cases": "c.csv", **keys}
        return sweep_config.load({"sweeps": {"s": sweep}}, SCHEMA)["s"]

    return read


VALUES = [
    ("threads", 3, [3, 3]),
    ("threads", "{n}", [1, 4]),
    ("threads", "{n} / 3", [1, 2]),
    ("threads", "4 * 2", [8, 8]),
    ("mem_mb", "{size} * 8", [8000, 160]),
    ("mem_mb", "max({size}, 100) * {f}", [500, 110]),
    ("disk_mb", "ceil({size} / 300)", [4, 1]),
    ("gpu", "{n} - 1", [0, 3]),
    ("runtime", "2h", [120, 120]),
    ("runtime", "90", [90, 90]),
    ("runtime", "{hours}", [120, 1440]),
    ("runtime", "{n}h", [60, 240]),
    ("runtime", "{size} / 100 + 5", [15, 6]),
    ("stall_after", "{size}", [1000, 20]),
    ("node", "{host}", ["ada", ""]),
    ("node", "node{n}", ["node1", "node4"]),
    ("constraint", "big, {host}", ["big, ada", "big,"]),
    ("progress", r"{n} (\d{1,3}) of (\d+)", [r"{n} (\d{1,3}) of (\d+)"] * 2),
]


@pytest.mark.parametrize(("key", "given", "values"), VALUES)
def test_what_a_case_reserves(load, key, given, values):
    sweep = load(**{key: given})
    assert [sweep.reserved[case][key] for case in "ab"] == values


MISTAKES = [
    ({"threads": "{m}"}, "sweeps.s.threads: '{m}': {m} is no parameter; parameters are n, size, host, hours, f"),
    ({"mem_mb": "{sizes} * 2"}, 'sweeps.s.mem_mb: \'{sizes} * 2\': {sizes} is no parameter; did you mean "size"?'),
    ({"threads": "n"}, "sweeps.s.threads: 'n': n is no number; write {n} for the parameter"),
    ({"threads": "many"}, "many is no number; a number, or an expression such as \"{n} * 2\", is possible"),
    ({"mem_mb": "2GB"}, "sweeps.s.mem_mb: '2GB' is no number; write mem_mb: 2000"),
    ({"gpu": "{host}"}, "sweeps.s.gpu: '{host}': for the case a (c.csv:2): host is 'ada', which is no number"),
    ({"threads": "{n} - 4"}, "for the case a (c.csv:2): it is -3, and must be at least 1"),
    ({"mem_mb": "{size} ** 9"}, "for the case a (c.csv:2): it is 1" + "0" * 27 + ", and must be at most"),
    ({"threads": "8 / (4 - {n})"}, "for the case b (c.csv:3): it divides by zero"),
    ({"threads": "9**9**9"}, "sweeps.s.threads: '9**9**9': a number is too large"),
    ({"runtime": "2 bananas"}, "sweeps.s.runtime: '2 bananas': '2 bananas' is no time span; 90 (minutes), 2h"),
    ({"runtime": "{n}x"}, "for the case a (c.csv:2): '1x' is no time span"),
    ({"runtime": "2 h 30 m"}, "sweeps.s.runtime: '2 h 30 m': it cannot be read as arithmetic"),
    ({"threads": "{n}", "cases": [{"n": 1}, {"case": "x", "y": 1}]}, "x (sweeps.s.cases[1]) has no parameter n"),
    ({"node": "{hots}"}, 'sweeps.s.node: \'{hots}\': {hots} is no parameter; did you mean "host"?'),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "text"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_a_mistake_names_sweep_key_and_case(load, keys, text):
    with pytest.raises(SweepError) as error:
        load(**keys)
    assert text in str(error.value)


def test_resources_mean_the_same_to_harbor_and_to_slurm(load):
    def of(case, **keys):
        return sweep_resources.rule_resources(load(**keys).reserved[case])

    assert of("a", constraint="fast, big", node="{host}", gpu=1, threads=2) == {
        "constraint": "fast&big", "node": "ada", "nodes": 1, "slurm_extra": "--nodelist=ada", "gpu": 1
    }  # fmt: skip
    nowhere = {"node": None, "nodes": 1, "slurm_extra": None, "constraint": None}
    assert of("b", node="{host}", constraint="{host}") == nowhere, "an empty cell pins the case to no node"
    assert of("a", mem_mb=5) == {"mem_mb": 5}


def test_a_column_with_the_name_of_a_resource_gets_a_hint(load, tmp_path):
    (tmp_path / "c.csv").write_text("threads,mem_mb,x\n1,2,3\n")
    hints = sweep_config.warnings(load(mem_mb="{mem_mb}"))
    assert len(hints) == 1
    assert "sweeps.s.threads: there is a parameter of this name, which reserves nothing" in hints[0]
    assert 'write threads: "{threads}" here' in hints[0]
