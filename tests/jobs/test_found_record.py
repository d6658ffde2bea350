"""Values that a node returns about an adopted job count only if they are plausible, because it may be compromised."""

from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.jobs.found_record import CheckedMeta, FoundRecord


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """The checked form of what a node returned, for a run in tmp_path."""
    monkeypatch.chdir(tmp_path)
    shadow, logs = tmp_path / ".snakemake" / "shadow", tmp_path / "logs"

    def check(**meta):
        record = ev.NodeRecord("run/1", 1, running=True, meta=meta)
        return FoundRecord("ada", record).checked_meta(shadow, logs)

    return check


def test_plausible_values_are_kept(checked, tmp_path):
    files = [".snakemake/scripts/tmp1.py", ".snakemake/shell_tmp.x", str(tmp_path / ".snakemake/harbor/start/r.0.sh")]
    shadow, log = str(tmp_path / ".snakemake/shadow/tmpx"), str(tmp_path / "logs/one/1.1.log")
    meta = checked(snakemake_attempt=2, shadow_dir=shadow, proc_id=0, prepared=5.0, log=log, litter=files)
    assert meta == CheckedMeta(2, shadow, 0, 5.0, log, tuple(files))


@pytest.mark.parametrize(
    "meta",
    [
        {"snakemake_attempt": 0},
        {"snakemake_attempt": "2"},
        {"proc_id": -1},
        {"proc_id": 10**9},
        {"shadow_dir": "/etc"},
        {"shadow_dir": ".snakemake/shadow"},
        {"shadow_dir": ".snakemake/shadow/a/b"},
        {"shadow_dir": ".snakemake/shadow/../scripts"},
        {"shadow_dir": ".snakemake/shadow/\0"},
        {"log": "/var/log/syslog"},
        {"log": "logs/../Snakefile"},
        {"litter": "Snakefile"},
        {"litter": ["Snakefile", ".snakemake/scripts", ".snakemake/metadata/x", "/etc/passwd", 7, None]},
    ],
    ids=str,
)
def test_nothing_else_is(checked, meta):
    assert checked(**meta) == CheckedMeta()


def test_a_link_does_not_lead_out_of_the_directory(checked, tmp_path):
    (tmp_path / ".snakemake" / "scripts").mkdir(parents=True)
    link = Path(".snakemake/scripts/tmp.py")
    link.symlink_to("/etc/passwd")
    assert checked(litter=[str(link)]).temp_files == ()
