"""Starts the agent on a node: one command line that finds Python there, and the program that is streamed to it."""

import shlex
from functools import cache
from importlib.resources import files

from ..core.codec import Message, encode

WELCOME_TIMEOUT_S = 90
"""The loader ends after this many seconds without a welcome. The controller waits for 60 s."""
# It reads "N\n" and then exactly N bytes from fd 0 without a buffer, because the agent reads what follows (the welcome
# line). Python 2 must be able to parse it, so that it can say that it is too old. A connection that is cut without a
# word can leave it in the middle of the program, so a timer ends it (WELCOME_TIMEOUT_S).
_LOADER = (
    "import sys,os,signal\n"
    "if sys.version_info<(3,6): sys.stderr.write('harbor: python-too-old: %s is Python %d.%d; nodes need 3.6 or newer'"
    "%(sys.executable,sys.version_info[0],sys.version_info[1])+chr(10)); sys.exit(126)\n"
    "signal.alarm(%d)\n"
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
_PYTHONS = " ".join(
    [
        "python3",
        *(f"python3.{minor}" for minor in range(14, 5, -1)),
        *("/usr/bin/python3", "/usr/local/bin/python3", "/opt/homebrew/bin/python3"),
    ]
)

AGENT = f"{__package__.rpartition('.')[0]}.agent"
# Each module imports only modules before it.
_MODULES = (
    *("programs", "system", "process_table", "process_control", "wire", "preparation", "spool", "stage_dir"),
    *("output", "steps", "record", "job_signals", "capacity", "queries", "meter", "software", "facts", "checkup"),
    *("fence", "workdir", "shutdown", "log_delivery", "leftovers", "latest_agent", "start_message", "job_start"),
    *("attempts", "inventory", "job_runner", "recovery", "watch", "guardian"),
)
_MOVER_MODULES = (
    *("programs", "system", "wire", "preparation", "spool", "stage_dir"),
    *("frames", "contents", "stage_in", "stage_out"),
)


def agent_source() -> bytes:
    """Return the agent as one text."""
    return _program(_MODULES, "agent")


@cache
def _program(modules: tuple[str, ...], main: str) -> bytes:
    """Return a program for nodes as one text. Each file of `agent/` becomes a module, and `main` is run."""
    folder = files(AGENT)
    # Optimization level 2 drops the docstrings, so that they need no memory on the node.
    lines = ["import sys, types"]
    for name in modules:
        code = folder.joinpath(f"{name}.py").read_text("utf-8")
        lines.append(f"module = sys.modules['harbor_{name}'] = types.ModuleType('harbor_{name}')")
        lines.append(f"exec(compile({code!r}, '{name}.py', 'exec', 0, True, 2), module.__dict__)")
    code = folder.joinpath(f"{main}.py").read_text("utf-8")
    lines.append(f"exec(compile({code!r}, '{main}.py', 'exec', 0, True, 2), {{'__name__': '__main__'}})")
    return "\n".join(lines).encode("utf-8")


def bootstrap_input(welcome: Message) -> bytes:
    """Return what the remote command reads from its stdin: the agent's program, then the first message."""
    return _input(agent_source(), welcome)


def mover_input(welcome: Message) -> bytes:
    """Return the same for the mover, the program that moves files."""
    return _input(_program(_MOVER_MODULES, "mover"), welcome)


def _input(code: bytes, welcome: Message) -> bytes:
    return b"%d\n" % len(code) + code + encode(welcome)


def bootstrap_command(python: str | None = None, setup: str | None = None) -> str:
    """Return the remote command line. bash, dash, tcsh, csh and fish all pass it on unchanged.

    For this, it begins with `exec sh -c` and contains no newline, backslash, `!` or further single quote inside the
    single quotes, and the loader is written as hexadecimal digits. `python` is the Python to use; without it, the first
    one that is found is used. `setup` is a shell line of the user that is run first.
    """
    loader = _LOADER.replace("alarm(%d)", f"alarm({WELCOME_TIMEOUT_S})")
    names = shlex.quote(python) if python else _PYTHONS
    script = (
        f"for p in {names}; do if command -v $p >/dev/null 2>&1; then "
        f'exec $p -u -c "import binascii,sys;exec(binascii.unhexlify(sys.argv[1]))" {loader.encode().hex()}; '
        f'fi; done; echo "harbor: no-python: none of {names} was found; PATH is $PATH" >&2; exit 127'
    )
    return f"exec sh -c {shlex.quote(f'{setup}; {script}' if setup else script)}"
