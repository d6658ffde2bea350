"""A lab: hosts with sshd, faults and loads of their own, on one Linux machine. `python -m tests.lab -h` by hand."""

from tests.lab.lab import Lab
from tests.lab.machine import LabError

__all__ = ["Lab", "LabError"]
