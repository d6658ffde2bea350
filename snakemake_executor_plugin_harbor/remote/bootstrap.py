"""How the agent gets onto a node: one command line that finds Python, and the bytes that are then streamed to it."""

import shlex
from functools import cache
from importlib.resources import files

from ..core.protocol import Message, encode

# Reads "N\n", then exactly N bytes, from fd 0 unbuffered: what follows (the welcome line) is the agent's to read.
# Python 2 must be able to parse it, to say that it is too old.
_LOADER = (
    "import sys,os\n"
    "if sys.version_info<(3,6): sys.stderr.write('harbor: python-too-old: %s is Python %d.%d; nodes need 3.6 or newer'"
    "%(sys.executable,sys.version_info[0],sys.version_info[1])+chr(10)); sys.exit(126)\n"
    "def r(n):\n"
    " b=b''\n"
    " while len(b)<n:\n"
    "  d=os.read(0,n-len(b))\n"
    "  if not d: sys.exit(0)\n"
    "  b+=d\n"
    " return b\n"
    "n=b''\n"
    "while n[-1:]!=b'\\n': n+=r(1)\n"
    "exec(compile(r(int(n)),'agent.py','exec'),{'__name__':'__main__'})\n"
)
_CANDIDATES = " ".join(
    [
        "python3",
        *(f"python3.{minor}" for minor in range(14, 5, -1)),
        *("/usr/bin/python3", "/usr/local/bin/python3", "/opt/homebrew/bin/python3"),
    ]
)

AGENT = f"{__package__.rpartition('.')[0]}.agent"
# Each module imports only modules before it.
_MODULES = (
    *("programs", "system", "process_table", "process_control", "wire", "spool", "output", "steps", "record"),
    *("job_signals", "capacity", "queries", "meter", "facts", "fence", "workdir", "shutdown", "log_delivery"),
    *("leftovers", "latest_agent", "start_message", "job_start", "attempts", "job_runner", "recovery", "watch"),
    "guardian",
)


@cache
def source() -> bytes:
    """The program for the node as one text: each file of `agent/` is a module of its own, agent.py is the main one."""
    folder = files(AGENT)
    # Optimization level 2 drops the docstrings, so that they need no memory on the node.
    lines = ["import sys, types"]
    for name in _MODULES:
        code = folder.joinpath(f"{name}.py").read_text("utf-8")
        lines.append(f"module = sys.modules['harbor_{name}'] = types.ModuleType('harbor_{name}')")
        lines.append(f"exec(compile({code!r}, '{name}.py', 'exec', 0, True, 2), module.__dict__)")
    main = folder.joinpath("agent.py").read_text("utf-8")
    lines.append(f"exec(compile({main!r}, 'agent.py', 'exec', 0, True, 2), {{'__name__': '__main__'}})")
    return "\n".join(lines).encode("utf-8")


def payload(welcome: Message) -> bytes:
    """What the remote command is to read: the agent, then its first message."""
    code = source()
    return b"%d\n" % len(code) + code + encode(welcome)


def command(python: str | None = None, setup: str | None = None) -> str:
    """The remote command line, which bash, dash, tcsh, csh and fish all pass on unchanged.

    Hence it begins with `exec sh -c` and has, inside the single quotes, no newline, backslash, `!` or single quote of
    its own; the loader travels as hexadecimal. `python`: exactly this one, else the first that is found. `setup`: a
    shell line of the user's that is run first.
    """
    names = shlex.quote(python) if python else _CANDIDATES
    script = (
        f"for p in {names}; do if command -v $p >/dev/null 2>&1; then "
        f'exec $p -u -c "import binascii,sys;exec(binascii.unhexlify(sys.argv[1]))" {_LOADER.encode().hex()}; '
        f'fi; done; echo "harbor: no-python: none of {names} was found; PATH is $PATH. Install python3 there, or name '
        f'it in a .yaml host file (python: /path/to/python3)" >&2; exit 127'
    )
    return f"exec sh -c {shlex.quote(f'{setup}; {script}' if setup else script)}"
