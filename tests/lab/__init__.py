"""A lab of hosts with their own sshd, faults and loads on one Linux machine. By hand: `python -m tests.lab -h`."""

from tests.lab.lab import Lab
from tests.lab.machine import LabError

__all__ = ["Lab", "LabError"]
