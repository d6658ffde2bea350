"""The mover: the program of harbor that moves the files of jobs to and from a node.

It runs beside the agent, on a connection of its own, so that large files delay no message. It needs Python >= 3.6 and
only the standard library. It answers one request after the other, and ends with the connection.
"""

import os
import signal
import time

from harbor_contents import Contents
from harbor_frames import Stream
from harbor_preparation import check_node, prepare_process
from harbor_spool import private_directory
from harbor_stage_dir import remove_tree, stage_path
from harbor_stage_in import put
from harbor_stage_out import fetch
from harbor_wire import VERSION, Fatal, Wire


def serve(stream, contents, scratch):
    """Answer requests until the controller is gone."""
    while True:
        request = stream.line()
        base = os.fsencode(stage_path(scratch, request["dir"]))
        if request["op"] == "put":
            put(stream, contents, base, request["count"])
        elif request["op"] == "fetch":
            fetch(stream, contents, base, request["paths"], request.get("limit"))
        elif request["op"] == "remove":
            remove_tree(base)
            stream.send_line({"done": True})
            stream.flush()
        else:
            raise ValueError("unknown request %r" % (request["op"],))


def main():
    inp, out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    wire = Wire(inp, out)
    try:
        welcome = wire.read_welcome()
        signal.alarm(0)  # The loader has set it.
        check_node(welcome)
        prepare_process(welcome)
        scratch = private_directory(welcome.get("scratch") or "/var/tmp/harbor-%d" % os.getuid())
        private_directory(os.path.join(scratch, "stage"))
        cache = private_directory(os.path.join(scratch, "cache"))
        contents = Contents(cache, int(welcome["cache_mb"]) << 20)
        wire.send_last({"t": "hello", "v": VERSION, "time": time.time()})
        serve(Stream(inp, out), contents, scratch)
    except (EOFError, BrokenPipeError, ConnectionError):
        os._exit(0)
    except Fatal as error:
        wire.send_last({"t": "fatal", "code": error.code, "message": str(error)})
        os._exit(1)


if __name__ == "__main__":
    main()
