"""Start a lab by hand: `python -m tests.lab up 4 --shared DIR`. Then type ssh -F /tmp/harbor-lab/ssh_config host1."""

import argparse
import subprocess
import sys
from pathlib import Path

from tests.lab import Lab, LabError
from tests.lab.faults import FAULTS


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = main.add_subparsers(dest="verb", required=True)

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text)
        sub.add_argument("--dir", type=Path, default=Path("/tmp/harbor-lab"), help="the lab's own directory")
        return sub

    up = verb("up", "bring hosts up; they stay until `down`")
    up.add_argument("n", type=int)
    up.add_argument("--shared", type=Path, action="append", default=[], help="the same on every host")
    up.add_argument("--owner", type=int, help="go down when this process ends")
    run = verb("exec", "run a command inside a host, not through ssh")
    run.add_argument("host")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    fault = verb("fault", "; ".join(f"{kind}: {function.__doc__}" for kind, function in FAULTS.items()))
    fault.add_argument("host")
    fault.add_argument("kind", choices=FAULTS)
    load = verb("load", "what /proc says on a host")
    load.add_argument("host")
    load.add_argument("--busy", type=float, help="cores in use by others")
    load.add_argument("--loadavg", type=float)
    load.add_argument("--mem-available-mb", type=int)
    load.add_argument("--clear", action="store_true", help="as at the start")
    verb("status", "the hosts and what runs on them")
    verb("down", "remove everything; also after a crash")
    return main


def status(lab: Lab) -> None:
    print(f"ssh -F {lab.ssh_config} host1; shared: {' '.join(map(str, lab.shared['host1'])) or 'nothing'}")
    for host in lab.hosts:
        processes = lab.processes(host)
        state = "up" if processes else "off"
        address = lab.network.address(lab.number(host))
        print(f"{host:8} {address:12} {state:4} {len(processes)} processes {' '.join(lab.link_faults(host))}")


def main() -> int:
    given = parser().parse_args()
    if given.verb == "up":
        status(Lab(given.n, given.shared, given.dir, given.owner).up())
    elif given.verb == "down":
        Lab(0, base=given.dir).down()
    else:
        lab = Lab.attach(given.dir)
        if given.verb == "exec":
            return lab.exec(given.host, given.argv, capture_output=False, stdin=None).returncode
        if given.verb == "fault":
            lab.fault(given.host, given.kind)
        elif given.verb == "load":
            lab.load(given.host, given.busy, given.loadavg, given.mem_available_mb, given.clear)
        else:
            status(lab)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabError, OSError, TimeoutError, subprocess.CalledProcessError) as error:
        sys.exit(f"lab: {error}")
