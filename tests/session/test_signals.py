"""Signals, sent to a process of its own that has installed the handlers as Snakemake's process does."""

import signal
import subprocess
import sys
import textwrap

import pytest

from tests.sshd import wait_until

# Snakemake's main thread waits like this until a job ends or a round is requested.
PROGRAM = """
    import signal, sys, threading, time
    from snakemake_executor_plugin_harbor.session.signals import SignalHandlers

    rounds = threading.Semaphore(0)
    cancelling = threading.Event()
    say = lambda text: print(text, flush=True)
    handlers = SignalHandlers(lambda: say("stop"), lambda: say("detach"), cancelling.is_set, rounds.release, say)
    signal.signal(signal.SIGTERM, lambda *_: say("Snakemake's own"))
    {before}
    handlers.install()
    say("ready")
    for _ in range(100):
        try:
            rounds.acquire()
            say("round")
        except KeyboardInterrupt:
            cancelling.set()
            say("interrupted")
"""


class Program:
    def __init__(self, path, before):
        self.output = path
        code = textwrap.dedent(PROGRAM).format(before=before)
        with path.open("w") as out:
            self.process = subprocess.Popen([sys.executable, "-c", code], stdout=out, stderr=subprocess.STDOUT)
        self.until("ready")

    def until(self, text, count=1):
        wait_until(lambda: self.output.read_text().count(text) >= count, 30, f"{count} times {text!r}")

    def send(self, number):
        self.process.send_signal(number)


@pytest.fixture
def start(tmp_path):
    programs = []

    def program(before="pass"):
        programs.append(Program(tmp_path / f"output{len(programs)}", before))
        return programs[-1]

    yield program
    for one in programs:
        one.process.kill()
        one.process.wait()


def test_the_first_sigterm_stops_and_the_second_interrupts(start):
    program = start()
    program.send(signal.SIGTERM)
    program.until("stop")
    program.until("round")
    program.send(signal.SIGTERM)
    program.until("interrupted")
    assert "Snakemake's own" not in program.output.read_text()


def test_later_interrupts_do_not_disturb_the_cancelling(start):
    program = start()
    program.send(signal.SIGINT)
    program.until("interrupted")
    program.send(signal.SIGINT)
    program.until("a few seconds more")
    program.send(signal.SIGTERM)
    program.until("stop")
    program.send(signal.SIGTERM)
    program.until("a few seconds more", 2)
    assert program.output.read_text().count("interrupted") == 1 and program.process.poll() is None


def test_a_closed_terminal_detaches(start):
    program = start()
    program.send(signal.SIGHUP)
    program.until("detach")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_a_signal_that_is_ignored_stays_ignored(start, name):
    program = start(f"signal.signal(signal.{name}, signal.SIG_IGN)")
    program.send(getattr(signal, name))
    program.send(signal.SIGTERM)
    program.until("stop")
    text = program.output.read_text()
    assert "detach" not in text and "interrupted" not in text


def test_nothing_is_installed_from_another_thread(start):
    install_elsewhere = "other = threading.Thread(target=handlers.install); other.start(); other.join()"
    program = start(f"{install_elsewhere}; handlers.install = int")
    program.send(signal.SIGTERM)
    program.until("Snakemake's own")
