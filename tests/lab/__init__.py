"""A lab: hosts with sshd, faults and loads of their own, on one Linux machine. `python -m tests.lab -h` by hand."""

from tests.lab.lab import Lab, LabError

__all__ = ["Lab", "LabError"]
