"""Use a drained node again, and connect at once to a node that is not connected."""

import argparse
import json
from pathlib import Path

from ..store.control_socket import ask
from ..store.journal_reader import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="a node's name, as in `harbor status`")


def run(arguments: argparse.Namespace) -> int:
    answer = ask(open_run(Path.cwd()).path.parent, {"op": "resume", "node": arguments.node})
    if arguments.json:
        print(json.dumps({"node": arguments.node, **answer}))
    else:
        print(f"{arguments.node} is {answer['state']}")
    return 0
