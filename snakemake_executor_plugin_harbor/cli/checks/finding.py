"""What a check has found. docs/doctor.md explains each check."""

from dataclasses import dataclass

LEVELS = ("error", "warning", "ok", "note")
"""The levels, in the order in which findings are shown. Only an error makes the exit code 1."""
CHECKS = frozenset(
    {
        # of this machine
        *("controller", "ssh", "files", "profile", "snakemake", "journal", "lock", "directory", "machines"),
        # of a node
        *("connection", "answers", "noise", "shared", "write", "owner", "space", "inodes", "noexec", "locale"),
        *("logout", "clock", "platform", "bash", "scripts", "programs"),
    }
)
"""The names of all checks."""


@dataclass(frozen=True)
class Finding:
    """The result of one check. `node` is None for this machine. `hint` is the next command to type, or ""."""

    node: str | None
    check: str
    level: str
    text: str
    hint: str = ""

    def as_dict(self) -> dict[str, str | None]:
        """Return the finding for --json. `node` is null for this machine, and `try` is null without a command."""
        return {
            "node": self.node,
            "level": self.level,
            "text": self.text,
            "check": self.check,
            "try": self.hint or None,
        }

    def __post_init__(self) -> None:
        """Refuse a check that the documentation does not know."""
        assert self.check in CHECKS and self.level in LEVELS, self
