"""SIGINT, SIGTERM and SIGHUP: what each does to a run."""

import os
import signal
import threading
import time
from collections.abc import Callable

UNWIND_S = 2.0
"""After Ctrl-C, Snakemake unwinds its main thread for up to this long before it calls the executor's `cancel`."""


class SignalHandlers:
    """Handlers run on the main thread and may interrupt anything there, so longer work goes to threads."""

    def __init__(
        self,
        stop_gracefully: Callable[[], object],
        detach: Callable[[], object],
        is_cancelling: Callable[[], bool],
        wake_main_thread: Callable[[], object],
        info: Callable[[str], None],
    ) -> None:
        """`is_cancelling` says whether jobs are being ended at the moment. `info` writes a line to Snakemake's log."""
        self._stop_gracefully = stop_gracefully
        self._detach = detach
        self._is_cancelling = is_cancelling
        self._wake_main_thread = wake_main_thread
        self._info = info
        self._interrupted_at = -UNWIND_S
        self._terminated = False
        self._installed = False

    def install(self) -> None:
        """Install the handlers, if this is the main thread. Python allows it on no other.

        This has to come after the constructor of Snakemake's scheduler, which installs a handler of SIGTERM. That one
        takes the scheduler's lock in the main thread, which may hold it already: a deadlock in 2 of 3 tries.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(signal.SIGTERM, self._on_sigterm)
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_sigint)
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup and --harbor-on-hangup continue have it ignored
            signal.signal(signal.SIGHUP, self._on_sighup)
        self._installed = True
        self._wake_at_signals()

    def stop(self, now: bool) -> None:
        """Do what the first SIGTERM does, or with `now` what Ctrl-C does. Any thread may call it."""
        if self._installed and not now:
            _run_in_thread("harbor-stop", self._stop_gracefully)
            return
        number = signal.SIGTERM
        if self._installed:
            self._terminated = True  # so that it is like the second SIGTERM
        elif signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            number = signal.SIGINT  # No job has been started yet, so the run may end at once.
        os.kill(os.getpid(), number)

    def _wake_at_signals(self) -> None:
        """Wake Snakemake's main thread at each signal, so that Python runs the handler at once.

        Python runs signal handlers only on the main thread, and only a signal that interrupts the wait of that thread
        wakes it. A signal that comes just before the wait, or that the kernel delivers to another thread, would be
        handled after the next end of a job.
        """
        arrived, note = os.pipe()
        os.set_blocking(note, False)
        others = signal.set_wakeup_fd(note, warn_on_full_buffer=False)
        if others != -1:  # a program that uses Snakemake's API has an event loop, which wakes the main thread itself
            signal.set_wakeup_fd(others)
            os.close(arrived)
            os.close(note)
            return

        def wake() -> None:
            while os.read(arrived, 64):
                self._wake_main_thread()

        _run_in_thread("harbor-signals", wake)

    def _on_sigint(self, *_: object) -> None:
        """The first Ctrl-C has Snakemake cancel the run. Later ones are ignored until all jobs are cancelled.

        They would stop the cancelling, or keep Snakemake from getting to it, and so leave jobs behind.
        """
        now = time.monotonic()
        if now - self._interrupted_at < UNWIND_S or self._is_cancelling():
            text = "ending the jobs on the nodes, which takes a few seconds more."
            _run_in_thread("harbor-sigint", lambda: self._info(text))
            return
        self._interrupted_at = now
        raise KeyboardInterrupt

    def _on_sigterm(self, *_: object) -> None:
        """The first SIGTERM starts no more jobs and lets the running ones end. The second one is like Ctrl-C."""
        if self._terminated:
            # SIGINT itself is not sent, because a background job of a shell script ignores it.
            self._on_sigint()
        self._terminated = True
        _run_in_thread("harbor-sigterm", self._stop_gracefully)

    def _on_sighup(self, *_: object) -> None:
        """The terminal was closed: leave the jobs to a later run."""
        _run_in_thread("harbor-sighup", self._detach)


def _run_in_thread(name: str, action: Callable[[], object]) -> None:
    threading.Thread(target=action, name=name, daemon=True).start()
