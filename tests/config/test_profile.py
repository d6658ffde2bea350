"""Our search for a profile finds what Snakemake finds."""

from pathlib import Path

import pytest
from snakemake.cli import get_profile_dir

from snakemake_executor_plugin_harbor.config.profile import profile_file, user_profiles

LAYOUTS = [
    ["home/snakemake/lab/config.yaml"],
    ["home/snakemake/lab/profile.yaml"],
    ["home/snakemake/lab/config.yaml", "home/snakemake/lab/config.v8+.yaml", "home/snakemake/lab/config.v99+.yaml"],
    ["home/snakemake/lab/config.v99+.yaml"],
    ["home/snakemake/lab/profile.v9+.yaml", "home/snakemake/lab/config.v8+.yaml"],
    ["home/snakemake/lab/other.yaml", "home/snakemake/lab/config.yml"],
    ["home/snakemake/lab"],
    ["work/lab/config.yaml", "home/snakemake/lab/config.yaml"],
    ["work/lab/other.yaml", "home/snakemake/lab/config.yaml"],
    ["work/lab"],
    ["site/snakemake/lab/config.yaml"],
    ["site/snakemake/lab/config.yaml", "home/snakemake/lab/config.yaml"],
    ["site/snakemake/lab/config.yaml", "home/snakemake/lab/other.yaml"],
    [],
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_file_as_snakemake(layout: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "site"))
    (tmp_path / "work").mkdir()
    for name in layout:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path / "work")
    assert user_profiles() == tmp_path / "home/snakemake"
    for given in ("lab", "lab/", "./lab", "lab/config.yaml", str(tmp_path / "work/lab"), "../work/lab", "other"):
        theirs, ours = get_profile_dir(given), profile_file(given)
        assert (ours and ours.resolve()) == (theirs and theirs[1].resolve()), given
        assert (ours and ours.parent.resolve()) == (theirs and theirs[0].resolve()), given
