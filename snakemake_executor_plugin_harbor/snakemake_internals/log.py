"""Errors in Snakemake's log, as Snakemake prints them for local jobs."""

from typing import Any

from snakemake_interface_common.exceptions import WorkflowError


def print_error(workflow: Any, error: BaseException) -> None:
    """Print an error of a job, with the line of the Snakefile that it comes from."""
    from snakemake.exceptions import print_exception

    if isinstance(error, SystemExit):  # Functions of the Snakefile may call sys.exit().
        error = RuntimeError(f"SystemExit: {error}").with_traceback(error.__traceback__)
    if not isinstance(error, WorkflowError):
        error = _with_origin(error, workflow.linemaps)
    print_exception(error, workflow.linemaps)


def _with_origin(error: BaseException, linemaps: Any) -> BaseException:
    """The error with file and line of the Snakefile, as the local executor shows it."""
    from snakemake.exceptions import RuleException, format_error, get_exception_origin

    origin = get_exception_origin(error, linemaps)
    if origin is None:
        return error
    line, file = origin
    wrapped: Exception = RuleException(
        format_error(error, line, linemaps=linemaps, snakefile=file, show_traceback=True)
    )
    return wrapped
