"""Give up a node that is dead. Its jobs start on other nodes at once, without a wait for the node.

A fence is written for each of its jobs before, so that they end if the machine is alive after all and sees the working
directory. The node gets no job until it connects again.
"""

import argparse
import json
from pathlib import Path

from ..store.control_socket import ask
from ..store.journal_reader import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="a node's name, as in `harbor status`")


def run(arguments: argparse.Namespace) -> int:
    answer = ask(open_run(Path.cwd()).path.parent, {"op": "forget", "node": arguments.node})
    if arguments.json:
        print(json.dumps({"node": arguments.node, **answer}))
    else:
        print(
            f"{arguments.node} is given up ({answer['state']}). Its jobs start on other nodes within two seconds. "
            "The node is used again when it answers."
        )
    return 0
