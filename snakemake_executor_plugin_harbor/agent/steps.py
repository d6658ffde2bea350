"""The scripts of an attempt that have ended, with their exit codes and what they have used."""

import time

from harbor_system import max_rss_mb


class Steps:
    """`ended` has one entry per script that has ended. `started` is when the present script began."""

    def __init__(self, ended, started):
        self.ended = list(ended)
        self.started = started
        self.peak_mb = 0.0

    def begin(self):
        """Note that the next script starts now."""
        self.started = time.time()
        self.peak_mb = 0.0

    def note_memory(self, mb):
        """Note how much memory a process of the script has. In its first moments it still is the agent's image."""
        if time.time() - self.started > 0.1:
            self.peak_mb = max(self.peak_mb, mb)

    def end(self, code, usage, own_peak_mb):
        """Note that the script has ended.

        The kernel counts the memory of this agent as the script's, because the script's process was a fork of ours.
        So a peak that is not above `own_peak_mb`, which is ours, is replaced by the most that was seen.
        """
        peak_mb = max_rss_mb(usage)
        if 0 < self.peak_mb and peak_mb <= own_peak_mb:
            peak_mb = min(peak_mb, self.peak_mb)
        self.ended.append({
            "code": code, "start": self.started, "end": time.time(), "cpu_s": usage.ru_utime + usage.ru_stime,
            "max_rss_mb": peak_mb, "in_mb": usage.ru_inblock / 2048.0, "out_mb": usage.ru_oublock / 2048.0,
        })  # fmt: skip
