"""Run the soak for a short time. `python benchmarks/soak.py` is the long one."""

import os
import subprocess
import sys

import pytest

from tests.lab import Lab
from tests.lab.files import PROJECT

pytestmark = pytest.mark.skipif(Lab.unavailable() is not None, reason=str(Lab.unavailable()))


@pytest.mark.timeout(620)
def test_nothing_is_lost_and_nothing_runs_twice(tmp_path):
    """The script judges the result itself and prints it."""
    argv = [sys.executable, "benchmarks/soak.py", "--minutes", "0.6", "--hosts", "4", "--jobs", "40", "--seed", "3"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}  # Its journals are removed with those of the other tests.
    done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
