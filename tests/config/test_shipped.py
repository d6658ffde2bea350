"""The package brings the workflow, the profiles and the examples: in a wheel and in an editable install."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOW = "import sys; from snakemake_executor_plugin_harbor.config.shipped import shipped; print(shipped(sys.argv[1]))"


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not {"__pycache__", ".snakemake"} & {*path.parts}
    }


def test_the_installed_package_has_every_file_of_the_checkout(tmp_path: Path) -> None:
    """The process starts elsewhere, so that it sees what is installed: in .ci/run, that is the wheel."""
    for name in ("workflow", "profiles", "examples"):
        run = subprocess.run(
            [sys.executable, "-c", SHOW, name], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert files(Path(run.stdout.strip())) == files(ROOT / name) != {}, name
