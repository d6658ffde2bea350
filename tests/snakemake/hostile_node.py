"""A program in place of a node's Python. It reads the agent's program from stdin but is no agent.

The file mode.json beside it says what it does.
"""

import itertools
import json
import os
import threading
import time
from pathlib import Path

HERE = Path(__file__).absolute().parent
ESC = "\x1b]0;owned\x07\x1b[31mred\x9b0m\r\x00\ud800"
out = os.fdopen(1, "wb", 0)
lock = threading.Lock()


def line():
    got = b""
    while not got.endswith(b"\n"):
        data = os.read(0, 1)
        if not data:
            os._exit(0)
        got += data
    return got


def take(count):
    while count:
        data = os.read(0, count)
        if not data:
            os._exit(0)
        count -= len(data)


def raw(data):
    try:
        with lock:
            while data:
                data = data[os.write(1, data) :]
    except OSError:
        os._exit(0)


def say(t, **more):
    raw(json.dumps(dict(more, t=t)).encode() + b"\n")


def hello(**more):
    facts = {
        "cores": 2,
        "mem_mb": 64000,
        "gpus": [],
        "boot_id": "evil",
        "host": "evil",
        "user": "evil",
        "python": "3.9.9",
        "scratch": "/tmp",
        "tmpdir": "/tmp",
        "path": "/bin",
        "time": time.time(),
        "shared": True,
        "same": [],
        "warnings": [],
    }
    say("hello", v=1, **dict(facts, **more))


def load(**more):
    say(
        "load",
        **dict(
            {
                "busy": 0,
                "ours": {},
                "ended": 0,
                "load1": 0,
                "mem_available_mb": 64000,
                "disk_free_mb": 64000,
                "users": [],
            },
            **more,
        ),
    )


def busy():
    load(busy=1e9, users=["somebody"])


def messages():
    while True:
        try:
            yield json.loads(line())
        except ValueError:
            pass


def refuse(**more):
    """Answer every start so, and measure."""
    threading.Thread(target=measure, daemon=True).start()
    for message in messages():
        if message["t"] == "start":
            said = {
                "reason": "error",
                "message": ESC + " refused",
                "job": message["job"],
                "attempt": message["attempt"],
            }
            say("refused", **dict(said, **more))


def measure():
    while True:
        load()
        time.sleep(0.2)


take(int(line()))
welcome = json.loads(line())
run = welcome["run"]
mode = json.loads((HERE / "mode.json").read_text())
kind = mode["kind"]
with (HERE / "met").open("a") as f:
    f.write(kind + "\n")

if kind == "refuses":
    hello()
    say("ready")
    refuse()
elif kind == "oversized and invalid":
    raw(b"\xff\xfe\x00 login noise " + ESC.encode("utf-8", "surrogatepass") + b"\n")
    hello()
    for junk in (
        b"x" * 3000000,
        b"\n" * 60000,
        b"[" * 500000,
        b'{"t":',
        b"\xff" * 1000,
        b"{}",
        b"[1]",
        b'{"t":5}',
        b'{"t":"load","busy":' + b"9" * 5000 + b"}",
        b'{"t":"load","busy":1e999}',
        b"NaN",
        os.urandom(100000),
    ):
        raw(junk + b"\n")
    say("ready")
    refuse(reason=["x"], message={"a": ESC}, path=ESC)
elif kind == "garbage facts":
    hello(
        cores=2**62,
        mem_mb=10**300,
        gpus=[{"index": 10**30}, 5, {}],
        boot_id=["x"],
        host=ESC,
        user=ESC,
        python=ESC,
        scratch=ESC,
        tmpdir=ESC,
        path=ESC,
        time=float("nan"),
        same=[ESC, 1, None],
        warnings=[ESC] * 1000,
    )
    say("known", job=ESC, attempt=1)
    say("known", job="a/1", attempt=2**70, state=[], exit={"code": 10**300, "start": 10**300, "end": 1.5})
    say("known", job="a/1", attempt=True, state="running")
    say("ready")
    load(busy=float("nan"), ours={"a": float("inf"), ESC: 10**300}, mem_available_mb=10**300, users=[ESC] * 1000)
    refuse(reason="missing", path=ESC)
elif kind == "endless load":
    hello()
    say("ready")
    big = {f"x{i}#1": 0.001 for i in range(30000)}
    small = json.dumps({"t": "load", "busy": 1e9, "users": ["somebody"]}).encode() + b"\n"
    for n in itertools.count():
        if n % 50 == 0:
            load(busy=1e9, ours=big, users=["somebody"])
            say("alive", jobs=[[f"x/{i}", 1] for i in range(30000)])
        raw(small * 2000)
elif kind == "strangers' ends":
    # And does not read a word of what it is answered.
    hello()
    for i in range(3000):
        say("known", job=f"old/{i}", attempt=1, state="running", hash="x", meta={"slots": list(range(50))})
    say("ready")
    busy()
    for n in itertools.count():
        job, attempt = f"{run}/{n % 20}", 1 + n // 20 % 3
        for code in (0, 1):
            say("exited", job=job, attempt=attempt, code=code, reason=None, tail="x" * 4000, steps=[{}] * 100)
        say("started", job=job, attempt=attempt)
        say("progress", job=job, attempt=attempt, done=1, total=2)
        say("refused", job=job, attempt=attempt, reason="missing", path="/bin/sh")
        say("gone", job=job, attempt=attempt)
        say("exited", job=f"old/{n}", attempt=1, code=0)
        if n % 100 == 0:
            busy()
elif kind == "escapes and ends":
    os.write(2, ESC.encode("utf-8", "surrogatepass") + b" on stderr\n")
    hello()
    say("ready")
    load()
    time.sleep(0.2)
    os.write(2, ESC.encode("utf-8", "surrogatepass") * 10000)
elif kind == "fatal":
    say("fatal", code="scratch", message=ESC + "x" * 100000)
elif kind == "fatal of a wrong type":
    say("fatal", code={"a": ESC}, message=[ESC])
elif kind == "endless records":
    hello()
    for n in itertools.count():
        say(
            "known",
            job=f"old/{n}",
            attempt=1,
            state="exited",
            hash="x",
            meta={"litter": ["x" * 1000] * 100},
            exit={"code": 0, "tail": "x" * 4000},
        )
elif kind == "endless noise":
    while True:
        raw(b"noise " * 10000)
elif kind == "records":
    hello()
    for record in mode["known"]:
        say("known", **record)
    say("ready")
    busy()
    while not (HERE / "end").exists():
        busy()
        time.sleep(0.2)
    for exited in mode["exited"]:
        say("exited", **exited)
    for _message in messages():
        busy()
