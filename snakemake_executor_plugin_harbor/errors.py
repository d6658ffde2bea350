"""The error for users. It says what is wrong, where and why, and which command to type next."""

from snakemake_interface_common.exceptions import WorkflowError


class HarborError(WorkflowError):  # type: ignore[misc]
    """Reports a mistake that the user can correct. Snakemake prints it without a traceback and exits with 1.

    `message` says what is wrong, where and why. `hint` is the next command to type.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  Try: {hint}")
        self.message = message
        self.hint = hint

    @property
    def __traceback__(self) -> None:
        """Hides the traceback. Snakemake would print those of its lines that are harbor's, which do not help users."""
        return None

    @__traceback__.setter
    def __traceback__(self, value: object) -> None:
        pass
