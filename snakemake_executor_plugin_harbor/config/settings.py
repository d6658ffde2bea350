"""Every setting of harbor: a field here is a CLI option, a profile key, and a line of `snakemake --help`.

`pool_config` turns them into a validated, frozen `PoolConfig`; its errors name the option or file and what to type.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional  # noqa: UP035 - Snakemake reads these annotations

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from ..errors import HarborError

if TYPE_CHECKING:
    from ..core.model import NodeSpec
    from ..core.policy import Policy
    from ..core.timeouts import Timeouts

PASSWORD_VARIABLE = "SNAKEMAKE_HARBOR_PASSWORD"
STALL_MIN_S = 5
"""Agents tell every two seconds which jobs have written something."""


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """The options `--harbor-*`. Defaults are the documented ones."""

    hosts: List[str] = field(  # noqa: UP006
        default_factory=list,
        metadata={
            "help": "The machines to run on, each [SLOTS/][USER@]HOST[:PORT], for example 8/ada carol@grace:2222; "
            "commas separate too (a,b), which is needed before a target. localhost needs no SSH; slurm and pbs stand "
            "for the nodes of the allocation that this runs in. They are added to those of --harbor-hostfile. Default: "
            "localhost, if there is no host file.",
            "nargs": "+",
            "metavar": "HOST",
        },
    )
    hostfile: Optional[Path] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "File with one host a line in the form of --harbor-hosts or 'name: address', '#' begins a "
            "comment; a .yaml file gives keys to each node (slots, mem_mb, gpus, tags, scratch, python, setup, "
            "workdir, max_load, hours). It is read again when it changes. Default: none.",
            "metavar": "PATH",
        },
    )
    ssh_config: Optional[Path] = field(  # noqa: UP045
        default=None,
        metadata={"help": "OpenSSH client configuration to use. Default: ~/.ssh/config.", "metavar": "PATH"},
    )
    transport: str = field(
        default="paramiko",
        metadata={
            "help": "How nodes are reached: paramiko (built in) or openssh (the ssh program: GSSAPI, FIDO keys, "
            "ControlMaster, Match exec). Default: paramiko.",
            "choices": ["paramiko", "openssh"],
            "metavar": "{paramiko,openssh}",
        },
    )
    password: Optional[str] = field(  # noqa: UP045
        default=None,
        repr=False,
        metadata={
            "help": "SSH password, from the environment only; keys and the SSH agent are the normal way. "
            "As an option or in a profile it is refused.",
            "env_var": True,
        },
    )
    dispatch: str = field(
        default="auto",
        metadata={
            "help": "direct ships the rule's own command; snakemake starts Snakemake on the node; auto takes direct "
            "wherever it gives the same result (all but run:, notebook, cwl, groups, and files that are not shared). "
            "Default: auto.",
            "choices": ["auto", "direct", "snakemake"],
            "metavar": "{auto,direct,snakemake}",
        },
    )
    staging: str = field(
        default="auto",
        metadata={
            "help": "Whether files are copied to nodes. auto and never use the nodes where a probe finds the working "
            "directory to be the same; always is not there yet. Default: auto.",
            "choices": ["auto", "always", "never"],
            "metavar": "{auto,always,never}",
        },
    )
    scratch: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Directory on each node's local disk for job records. Default: /var/tmp/harbor-UID.",
            "metavar": "PATH",
        },
    )
    max_load: float = field(
        default=1.0,
        metadata={
            "help": "No placement that brings a node's busy cores, everybody's, above this times its cores. "
            "Default: 1.0.",
            "metavar": "F",
        },
    )
    min_free_mem_mb: int = field(
        default=512,
        metadata={"help": "Keep this much memory available on every node (MiB). Default: 512.", "metavar": "N"},
    )
    nice: int = field(default=10, metadata={"help": "Niceness of jobs, 0 to 19. Default: 10.", "metavar": "N"})
    lost_after: int = field(
        default=120,
        metadata={
            "help": "Requeue the jobs of an unreachable node after this many seconds. Default: 120.",
            "metavar": "SECONDS",
        },
    )
    fence_wait: int = field(
        default=90,
        metadata={
            "help": "On a shared filesystem: seconds between the fence of a lost attempt and the new one; longer "
            "than an NFS client caches attributes. Default: 90.",
            "metavar": "SECONDS",
        },
    )
    stall_after: int = field(
        default=7200,
        metadata={
            "help": "Seconds without output and progress after which a job counts as stalled. Default: 7200.",
            "metavar": "SECONDS",
        },
    )
    on_stall: str = field(
        default="warn",
        metadata={
            "help": "What happens to a stalled job: a warning, or it is ended and tried on another node. "
            "Default: warn.",
            "choices": ["warn", "kill"],
            "metavar": "{warn,kill}",
        },
    )
    command_factory: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Python function that gets a LaunchContext (node, ids, command) and returns the command line "
            "that is run instead. Default: none.",
            "metavar": "FILE.py:FUNC",
        },
    )
    nnodes: Optional[int] = field(  # noqa: UP045
        default=None, metadata={"help": "Use this many of the hosts, the first ones. Default: all.", "metavar": "N"}
    )
    ntasks_per_node: Optional[int] = field(  # noqa: UP045
        default=None,
        metadata={"help": "At most this many jobs at once on each node. Default: its slots.", "metavar": "N"},
    )
    log_dir: Path = field(
        default=Path(".snakemake/harbor_logs"),
        metadata={
            "help": "Where the output of each job attempt goes, as RULE/WILDCARDS/JOBID.ATTEMPT.log. "
            "Default: .snakemake/harbor_logs.",
            "metavar": "PATH",
        },
    )

    def __post_init__(self) -> None:
        """Paths are relative to where Snakemake was started (or came out of the profile there): it changes to
        `--directory` before anybody reads them. Only `log_dir` belongs to the working directory.

        A password on the command line is refused here already: Snakemake's log begins with the command line.
        """
        if _password_is_an_option():
            raise _refused_password()
        for name in ("hostfile", "ssh_config"):
            path = getattr(self, name)
            if path is not None:
                setattr(self, name, Path(path).absolute())
        if self.command_factory and ":" in self.command_factory:
            file, _, function = self.command_factory.rpartition(":")
            self.command_factory = f"{Path(file).absolute()}:{function}"


@dataclass(frozen=True)
class PoolConfig:
    """The settings after validation. The password is not here: see `pop_password`."""

    nodes: "tuple[NodeSpec, ...]"
    policy: "Policy"
    timeouts: "Timeouts"
    ssh_config: Path | None
    transport: str
    dispatch: str
    staging: str
    scratch: str | None
    nice: int
    command_factory: str | None
    log_dir: Path


def pool_config(settings: ExecutorSettings) -> PoolConfig:
    """Check every setting and read the host list. Raises HarborError for the first that is wrong."""
    from ..core.policy import Policy
    from ..core.timeouts import Timeouts

    _check_numbers(settings)
    if settings.staging == "always":
        raise HarborError(
            "--harbor-staging always: nodes without the shared working directory are not supported yet.",
            "leave the option out, and mount the working directory at the same path on every node",
        )
    return PoolConfig(
        nodes=host_list(settings),
        policy=Policy(settings.max_load, settings.min_free_mem_mb, settings.ntasks_per_node),
        timeouts=Timeouts(
            settings.lost_after, settings.fence_wait, settings.stall_after, kill_stalled=settings.on_stall == "kill"
        ),
        ssh_config=settings.ssh_config,
        transport=settings.transport,
        dispatch=settings.dispatch,
        staging=settings.staging,
        scratch=settings.scratch,
        nice=settings.nice,
        command_factory=settings.command_factory,
        log_dir=Path(settings.log_dir),
    )


def host_list(settings: ExecutorSettings) -> "tuple[NodeSpec, ...]":
    """The nodes that the settings name. Raises HarborError for the first that makes no sense."""
    from .host import with_unique_names
    from .hostfile import parse_hosts, read_hostfile

    given: Any = settings.hosts
    words = [str(host) for host in given] if isinstance(given, (list, tuple)) else [str(given)] if given else []
    listed = read_hostfile(Path(settings.hostfile)) if settings.hostfile is not None else []
    added = parse_hosts(words or ["localhost"]) if words or settings.hostfile is None else []
    where = settings.hostfile or "--harbor-hosts"
    try:
        nodes = with_unique_names([*listed, *added], where)
    except HarborError as error:
        both = {node.name for node in listed} & {node.name for node in added}
        if not both:
            raise
        raise HarborError(
            f"node {min(both)} is in the host list twice: --harbor-hosts adds to the hosts of {settings.hostfile}.",
            f"--harbor-hostfile /dev/null --harbor-hosts {' '.join(words)}   # these hosts alone",
        ) from error
    if not nodes:
        raise HarborError(f"{where}: the host list is empty.", "--harbor-hosts 8/ada,carol@grace")
    if settings.nnodes is not None:
        if settings.nnodes > len(nodes):
            raise HarborError(f"--harbor-nnodes {settings.nnodes}: the host list has only {len(nodes)}.")
        nodes = nodes[: settings.nnodes]
    return tuple(nodes)


def _check_numbers(settings: ExecutorSettings) -> None:
    for name, low, high in (
        ("max_load", 0.01, 1000),
        ("min_free_mem_mb", 0, 10**9),
        ("nice", 0, 19),
        ("lost_after", 1, 10**7),
        ("fence_wait", 0, 10**7),
        ("stall_after", STALL_MIN_S, 10**9),
        ("nnodes", 1, 10**6),
        ("ntasks_per_node", 1, 10**6),
    ):
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            option = "--harbor-" + name.replace("_", "-")
            raise HarborError(f"{option}: {value} is out of range; it must be {low} to {high}.")
    if settings.scratch is not None and not settings.scratch.startswith("/"):
        raise HarborError(f"--harbor-scratch: {settings.scratch!r} must be an absolute path.")


def pop_password(settings: ExecutorSettings) -> str | None:
    """The SSH password; from now on it is in no environment that a job or a subprocess could inherit.

    It is taken from the environment only. Everybody on the machine can read a command line with `ps`, and a profile is
    a file that people copy. argparse takes any beginning of an option's name.
    """
    password, settings.password = settings.password, None
    inherited = os.environ.pop(PASSWORD_VARIABLE, None)
    if _password_is_an_option() or (password or None) != (inherited or None):
        raise _refused_password()
    return password or None


def _password_is_an_option() -> bool:
    names = [word.split("=")[0] for word in sys.argv[1:]]
    return any(name.startswith("--harbor-p") and "--harbor-password".startswith(name) for name in names)


def _refused_password() -> HarborError:
    return HarborError(
        "--harbor-password: a password on the command line can be read by everybody on this machine, and one in a "
        "profile is easily copied. It is taken from the environment only.",
        f"read -rs {PASSWORD_VARIABLE} && export {PASSWORD_VARIABLE}",
    )
