"""Asks programs of the node about its GPUs and its users. A program that hangs is not asked again."""

import os
import time

from harbor_process_table import is_zombie, parent_and_birth
from harbor_programs import UNKILLABLE, output_of
from harbor_system import read_file

USERS_EVERY = 30.0  # seconds
TOO_SLOW = set()  # names of programs that took too long


def ask(scratch, argv, timeout):
    """Run a program and return what it prints.

    It is not run while a child of an earlier agent hangs in the same program, because each would leave one more.
    A file in scratch names that child.
    """
    note = os.path.join(scratch, "hangs." + argv[0])
    pid, _, birth = read_file(note).strip().partition(" ")
    if pid.isdigit():
        found = parent_and_birth(int(pid))
        if found is not None and found[1] == birth and not is_zombie(int(pid)):
            return ""
        os.unlink(note)
    if argv[0] in TOO_SLOW:
        return ""
    began = time.monotonic()
    text = output_of(argv, timeout)
    if time.monotonic() - began >= timeout:
        TOO_SLOW.add(argv[0])
    found = parent_and_birth(UNKILLABLE[argv[0]]) if argv[0] in UNKILLABLE else None
    if found is not None:
        try:
            with open(note, "w") as f:
                f.write("%d %s" % (UNKILLABLE[argv[0]], found[1]))
        except OSError:
            pass
    return text


def gpus(scratch):
    """Return the GPUs of this node, as hello lists them."""
    query = "index,name,memory.total"
    text = ask(scratch, ["nvidia-smi", "--query-gpu=" + query, "--format=csv,noheader,nounits"], 10)
    rows = [[word.strip() for word in line.split(",")] for line in text.splitlines() if line.strip()]
    return [
        {"index": int(row[0]), "name": row[1], "mem_mb": int(float(row[2]))}
        for row in rows
        if len(row) == 3 and row[0].isdigit()
    ]


class LoggedInUsers:
    """The names of the users who are logged in. They are asked for every half minute."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.found = []
        self.asked_at = -1e9

    def names(self):
        if time.monotonic() - self.asked_at > USERS_EVERY:
            text = ask(self.scratch, ["who"], 2)
            self.found = sorted({line.split()[0] for line in text.splitlines() if line.split()})
            self.asked_at = time.monotonic()
        return self.found
