"""Place no more jobs on a node. Jobs that run there may finish."""

import argparse
import json
from pathlib import Path

from ..store.control_socket import ask
from ..store.journal_reader import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="a node's name, as in `harbor status`")
    parser.add_argument("--reason", default="", metavar="TEXT", help="shown by `harbor status` and `harbor explain`")


def run(arguments: argparse.Namespace) -> int:
    request = {"op": "drain", "node": arguments.node, "reason": arguments.reason}
    answer = ask(open_run(Path.cwd()).path.parent, request)
    if arguments.json:
        print(json.dumps({"node": arguments.node, **answer}))
    else:
        print(f"{arguments.node} is {answer['state']}. harbor resume {arguments.node} opens it again")
    return 0
