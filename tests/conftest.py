"""What holds for all tests."""

import os
import sys

# Tests start hundreds of processes, most of which import harbor; and each worker of pytest imports all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
