"""The text of a failed attempt in Snakemake's error message."""

from pathlib import Path

from ..core.model import Outcome
from ..core.protocol import printable

TAIL_LINES = 20
"""The message shows at most this many lines from the end of the output."""


def failure_text(outcome: Outcome, log: str | None) -> str:
    """The reason, the node, the end of the output, and the path of the log with all of it."""
    where = f" on {outcome.node}" if outcome.node else ""
    lines = [f"harbor: attempt {outcome.attempt}{where}: {outcome.reason}"]
    tail = str((outcome.exit or {}).get("tail") or "").rstrip()
    if tail:
        lines.append("  the end of its output:")
        lines += [f"    {printable(line)}" for line in tail.splitlines()[-TAIL_LINES:]]
    if log and Path(log).exists():
        lines.append(f"  all of its output: {log}")
    return "\n".join(lines)
