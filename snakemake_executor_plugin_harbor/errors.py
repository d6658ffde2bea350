"""The one error that users see: what, where and why, and the next command to type."""

from snakemake_interface_common.exceptions import WorkflowError


class HarborError(WorkflowError):  # type: ignore[misc]
    """A mistake that the user can mend; Snakemake prints it without a traceback and exits with 1.

    `message` says what, where and why; `hint` is the next command to type.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  Try: {hint}")
        self.message = message
        self.hint = hint

    @property
    def __traceback__(self) -> None:
        """Snakemake shows the lines of a WorkflowError's traceback that are not its own: ours say nothing to users."""
        return None

    @__traceback__.setter
    def __traceback__(self, value: object) -> None:
        pass
