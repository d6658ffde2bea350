"""Start messages: long scripts are moved into files, and messages that no node accepts are refused."""

import subprocess

import pytest

from snakemake_executor_plugin_harbor.core.codec import MAX_LINE, encode
from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.jobs.start_files import DIRECTORY, LONG_SCRIPTS, check_size, remove_all, shorten


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    directory = tmp_path / "it's a directory"
    directory.mkdir()
    monkeypatch.chdir(directory)


def message(**more):
    start = {"name": "align", "scripts": ["echo"], "env": {}, "progress": None, "needs": [], "meta": {}, "cwd": "/"}
    return {**start, "log": "/log", **more}


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh", None])
def test_a_long_script_is_sourced_and_does_the_same(shell):
    script = f"set -e\nX={'x' * LONG_SCRIPTS}\necho ${{#X}} $0 \udcff\nexit 7"
    (short,), (file,) = shorten([script], shell, "run.1.1")
    assert len(short) < 300 and file.endswith("run.1.1.0.sh")
    done = subprocess.run([shell or "/bin/sh", "-c", short], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (7, f"{LONG_SCRIPTS} {shell or '/bin/sh'} ".encode() + b"\xff\n")
    remove_all()
    assert not DIRECTORY.exists()


def test_short_scripts_and_other_shells_stay_as_they_are():
    assert shorten(["echo"], "/bin/bash", "x") == (["echo"], [])
    long = "x" * (LONG_SCRIPTS + 1)
    assert shorten([long], "/usr/bin/fish", "x") == ([long], [])


def test_an_ordinary_message_passes():
    check_size(message(env={"A": "b", "C": None}))
    check_size(message(env={f"V{i}": "x" * 100_000 for i in range(10)}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"env": {"HUGE": "x" * 131_072}}, "its environment variable HUGE has 131078 bytes"),
        ({"env": {"HUGE": "\N{EURO SIGN}" * 50_000}}, "its environment variable HUGE has 150006 bytes"),
        ({"env": {f"V{i}": "x" * 100_000 for i in range(11)}}, "The largest part is the environment variable V0"),
        ({"scripts": ["x" * MAX_LINE]}, "The largest part is its command"),
        ({"scripts": ["\N{EURO SIGN}" * 200_000]}, "The largest part is its command (200000 characters)"),
        ({"progress": "x" * MAX_LINE}, "The largest part is `progress`"),
        ({"needs": ["x" * 4096] * 300}, "The largest part is `needs`"),
        ({"meta": {"litter": ["x" * 4096] * 300}}, "The largest part is `meta`"),
    ],
)
def test_a_message_that_no_node_accepts_is_refused(more, said):
    with pytest.raises(HarborError) as raised:
        check_size(message(**more))
    assert said in str(raised.value) and "job align" in str(raised.value)


def test_every_accepted_message_fits_into_a_line():
    for character in ("x", "\n", "\N{EURO SIGN}", "\N{GRINNING FACE}", "\udcff"):
        for length in (10_000, 60_000, 100_000, 170_000, 300_000):
            start = message(scripts=[character * length])
            try:
                check_size(start)
            except HarborError:
                assert len(encode(start)) > MAX_LINE
            else:
                assert len(encode(start)) <= MAX_LINE
