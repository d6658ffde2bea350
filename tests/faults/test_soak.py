"""Run the soak for a minute. `python benchmarks/soak.py` is the long one."""

import subprocess
import sys

import pytest

from tests.lab import Lab
from tests.lab.files import PROJECT

pytestmark = pytest.mark.skipif(Lab.unavailable() is not None, reason=str(Lab.unavailable()))


@pytest.mark.timeout(620)
def test_nothing_is_lost_and_nothing_runs_twice():
    """The script judges the result itself and prints it."""
    argv = [sys.executable, "benchmarks/soak.py", "--minutes", "1", "--hosts", "4", "--jobs", "40", "--seed", "3"]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
