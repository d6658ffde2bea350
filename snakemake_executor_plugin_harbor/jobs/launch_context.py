"""The place of an attempt: a job finds it as HARBOR_* in its environment, and a command factory gets it."""

import importlib.util
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import HarborError


@dataclass(frozen=True)
class LaunchContext:
    """The place of one attempt, in Slurm's terms.

    `node_id` is the node's number in the host list, from 0. `local_id` is the lowest slot that the job holds, so it is
    unique among the jobs that run on the node. `proc_id` is the lowest number that is unique among all jobs that run in
    the pool. With `--harbor-ntasks-per-node N`, `local_id` is a number below N, and `proc_id` is `node_id * N +
    local_id`. `command` is the command that is run without a command factory.
    """

    node_name: str
    node_id: int
    local_id: int
    proc_id: int
    nnodes: int
    cpus_on_node: int
    threads: int
    job_name: str
    job_id: str
    attempt: int
    output_dir: Path
    command: str = ""
    wildcards: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[int, ...] = ()

    def environment(self) -> dict[str, str]:
        """The HARBOR_* variables, and CUDA_VISIBLE_DEVICES, which is empty for a job without GPUs."""
        names = (
            "node_name",
            "node_id",
            "local_id",
            "proc_id",
            "nnodes",
            "cpus_on_node",
            "threads",
            "job_name",
            "job_id",
            "attempt",
            "output_dir",
        )
        env = {f"HARBOR_{name.upper()}": str(getattr(self, name)) for name in names}
        env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self.gpus))
        return env


CommandFactory = Callable[[LaunchContext], str]


def load_factory(text: str) -> CommandFactory:
    """The function that `--harbor-command-factory FILE.py:FUNC` names."""
    option = f"--harbor-command-factory {text}"
    file, separator, name = text.rpartition(":")
    if not separator or not name.isidentifier():
        raise HarborError(f"{option}: expected FILE.py:FUNC.", "--harbor-command-factory launch.py:command")
    path = Path(file)
    if not path.is_file():
        raise HarborError(f"{option}: there is no file {path.absolute()}.")
    spec = importlib.util.spec_from_file_location("harbor_command_factory", path)
    if spec is None or spec.loader is None:
        raise HarborError(f"{option}: {file} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise HarborError(f"{option}: {file} does not import: {type(error).__name__}: {error}.") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise HarborError(f"{option}: {file} has no function {name}.")
    return function  # type: ignore[no-any-return]


def apply_factory(factory: CommandFactory, name: str, context: LaunchContext) -> str:
    """The command line that the factory returns. `name` is the value of --harbor-command-factory."""
    option = f"--harbor-command-factory {name}"
    try:
        line = factory(context)
    except (Exception, SystemExit) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise HarborError(
            f"{option}: raised {type(error).__name__}: {error} ({where.filename}:{where.lineno}) for job "
            f"{context.job_name} on {context.node_name}."
        ) from error
    if not isinstance(line, str) or not line.strip():
        raise HarborError(f"{option}: returned {line!r} for job {context.job_name}; it must return a command line.")
    return line


def log_path(log_dir: Path, rule: str, wildcards: Mapping[str, str], job_id: str, attempt: int) -> Path:
    """`RULE/WILDCARDS/JOBID.ATTEMPT.log` in `log_dir`, with names that are valid on every filesystem."""
    text = ",".join(f"{name}={value}" for name, value in wildcards.items())
    directory, safe = _safe(rule).lstrip(".") or "_", _safe(text)
    return log_dir / (f"{directory}/{safe}/{job_id}.{attempt}.log" if safe else f"{directory}/{job_id}.{attempt}.log")


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=,+@-]", "_", text)[:150]
