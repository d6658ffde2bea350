"""The command `harbor`. Each file is one command. Those that need a run take the run of the current directory.

Exit codes: 0 if all is well, 1 if something is wrong (the message is on stderr), 2 for wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from keyword import iskeyword

from ..errors import HarborError

COMMANDS = (
    *("init", "import", "profile", "start", "attach", "stop", "status", "jobs", "nodes", "log", "explain", "table"),
    *("cancel", "rerun", "history", "clean", "doctor", "detach", "drain", "resume", "forget"),
)
"""Each is the name of a file. A file cannot be called import, so that one is import_.py."""


def parser(names: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of these commands and their options."""
    top = argparse.ArgumentParser(
        prog="harbor",
        description="Begin a project, look at the run of the current directory, and at the nodes of its pool.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in names:
        module = import_module(f".{name}_" if iskeyword(name) else f".{name}", __name__)
        assert module.__doc__ is not None
        sub = commands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__)
        sub.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return top


def _check_directory() -> None:
    """Raise HarborError if somebody has deleted the current directory."""
    try:
        os.getcwd()
    except OSError as error:
        raise HarborError(f"the current directory cannot be used: {error.strerror}.", 'cd "$PWD"') from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console script `harbor` and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    # Only the command that is typed is imported, because some of them take longer to import than others to run.
    arguments = parser([name for name in words[:1] if name in COMMANDS] or COMMANDS).parse_args(words)
    try:
        _check_directory()
        return int(arguments.run(arguments))
    except HarborError as error:
        print(f"harbor: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # In `harbor log 3 | head`, the reader of the pipe ends first. This is no error.
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
