"""On a node without /proc (macOS), a job and its children still end."""

import os
import shutil
import uuid

import pytest

from tests.agent.conftest import RUN, pythons, sleepers
from tests.sshd import wait_until

PS = """#!{python}
import os, sys
real = {real!r}
table = []
for name in filter(str.isdigit, os.listdir(real)):
    try:
        raw = open("%s/%s/stat" % (real, name)).read()
    except OSError:
        continue
    fields = raw[raw.rindex(")") + 2 :].split()
    table.append((name, fields[1], fields[2], fields[19]))
if "-p" in sys.argv:
    for pid, parent, _, start in table:
        if pid == sys.argv[-1]:
            print(parent, "Mon Jan 1 00:00", start)
else:
    for pid, parent, group, _ in table:
        print(pid, parent, group, "0:01.50")
"""


@pytest.fixture
def without_proc(agents, tmp_path):
    """Makes agents that see an empty /proc, and a `ps` that works without it, as on macOS."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    real = tmp_path / "real"
    real.mkdir()
    ps = tmp_path / "ps" / "ps"
    ps.parent.mkdir()

    def make(with_ps=True, **options):
        mounts = f"mount --rbind /proc {real} && mount -t tmpfs none /proc"
        python = shutil.which("python3")
        ps.write_text(PS.format(python=python, real=str(real)) if with_ps else "#!/bin/sh\nexit 1\n")
        ps.chmod(0o755)
        prefix = ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
        return agents(env={"PATH": f"{ps.parent}:{os.environ['PATH']}"}, prefix=prefix, **options)

    return make


@pytest.mark.parametrize("python", pythons()[-1:], indirect=True)
@pytest.mark.parametrize(
    ("how", "with_ps"), [("cancel", True), ("cancel", False), ("runtime", True), ("fence", False), ("end", True)]
)
def test_a_job_ends_whole_without_proc(without_proc, tmp_path, how, with_ps):
    """Its process group ends. Where `ps` works, processes that have left the group but not their parents end, too."""
    (tmp_path / "fence").mkdir()
    agent = without_proc(with_ps, fence=str(tmp_path / "fence"))
    assert any("no /proc" in text for text in agent.wait_for("hello")["warnings"])
    seconds = str(10_000 + uuid.uuid4().int % 10_000_000)
    end = "sleep 0.5; exit 3" if how == "end" else "wait; echo"
    apart = f"setsid sleep {seconds} & " if with_ps and how != "end" else ""
    script = f"trap '' TERM; sleep {seconds} & {apart} {end}"
    agent.start(script, **({"runtime": 1} if how == "runtime" else {}))
    agent.wait_for("started")
    wait_until(lambda: sleepers(seconds), 60, "its processes")
    if how == "cancel":
        agent.send(t="cancel", job="r/1", attempt=1, grace=0.2)
    elif how == "fence":
        (tmp_path / "fence" / f"{RUN}.1.1").touch()
    done = agent.exited(timeout=60)
    assert done["reason"] == {"cancel": "cancelled", "runtime": "timeout", "fence": "fenced", "end": None}[how]
    wait_until(lambda: not sleepers(seconds), 60, "nothing left")
    assert agent.run("echo fine; exit 3", "r/2")["tail"] == "fine\n"
    agent.wait_for("load")
