"""Declares every setting of harbor. A field is a command line option, a profile key, and a line of `snakemake --help`.

`pool_config.py` checks the settings. This file is imported at every start of Snakemake, so it imports little.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional  # noqa: UP035 - Snakemake reads these annotations

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from .password import refuse_password_option

STALL_MIN_S = 5
"""A lower limit for stalled jobs is refused, because agents report output of jobs only every two seconds."""


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """Holds the values of the options `--harbor-*`."""

    hosts: List[str] = field(  # noqa: UP006
        default_factory=list,
        metadata={
            "help": "The machines to run on, each as [SLOTS/][USER@]HOST[:PORT], for example 8/ada carol@grace:2222. "
            "Commas separate them too (a,b); before a target, this form is necessary. localhost needs no SSH. slurm "
            "and pbs stand for the nodes of the allocation in which Snakemake runs. On the command line, the option "
            "replaces the host file of a profile. Otherwise, the hosts are added to those of --harbor-hostfile. "
            "Default: localhost, if there is no host file.",
            "nargs": "+",
            "metavar": "HOST",
        },
    )
    hostfile: Optional[Path] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "A file with one host per line, in the form of --harbor-hosts or as 'name: address'. '#' begins a "
            "comment. A .yaml file may give keys to each node (slots, mem_mb, gpus, tags, scratch, python, setup, "
            "max_load, hours). The file is read again when it changes. Default: none.",
            "metavar": "PATH",
        },
    )
    ssh_config: Optional[Path] = field(  # noqa: UP045
        default=None,
        metadata={"help": "The OpenSSH client configuration to use. Default: ~/.ssh/config.", "metavar": "PATH"},
    )
    transport: str = field(
        default="paramiko",
        metadata={
            "help": "The SSH client. paramiko is built in. openssh is the ssh program, which can do more (GSSAPI, FIDO "
            "keys, ControlMaster, Match exec). Default: paramiko.",
            "choices": ["paramiko", "openssh"],
            "metavar": "{paramiko,openssh}",
        },
    )
    password: Optional[str] = field(  # noqa: UP045
        default=None,
        repr=False,
        metadata={
            "help": "The SSH password. It is accepted from the environment only, and refused as an option or in a "
            "profile. Keys and ssh-agent are the normal way.",
            "env_var": True,
        },
    )
    dispatch: str = field(
        default="auto",
        metadata={
            "help": "How a node runs a job. direct sends the rule's own command. snakemake starts Snakemake on the "
            "node. auto uses direct wherever the result is the same (not for run:, notebook, cwl, and files "
            "that are not shared). Default: auto.",
            "choices": ["auto", "direct", "snakemake"],
            "metavar": "{auto,direct,snakemake}",
        },
    )
    staging: str = field(
        default="auto",
        metadata={
            "help": "How nodes get the files of a job. auto sends them to the nodes that do not share the working "
            "directory, which a probe finds out, and fetches the outputs. always does so for all nodes but localhost. "
            "never uses only the nodes that share the directory. Default: auto.",
            "choices": ["auto", "always", "never"],
            "metavar": "{auto,always,never}",
        },
    )
    cache_mb: int = field(
        default=20_000,
        metadata={
            "help": "The size in MiB of the cache on each node for the contents of files that were sent or fetched. "
            "What was not used for the longest time is deleted first. Default: 20000.",
            "metavar": "N",
        },
    )
    scratch: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "The directory on each node's local disk for job records and for the files that were sent. "
            "Default: /var/tmp/harbor-UID.",
            "metavar": "PATH",
        },
    )
    max_load: float = field(
        default=1.0,
        metadata={
            "help": "A node gets no job that would bring its busy cores above this times its cores. The processes of "
            "all users count. Default: 1.0.",
            "metavar": "F",
        },
    )
    min_free_mem_mb: int = field(
        default=512,
        metadata={"help": "The memory in MiB that stays available on every node. Default: 512.", "metavar": "N"},
    )
    nice: int = field(default=10, metadata={"help": "The niceness of jobs, from 0 to 19. Default: 10.", "metavar": "N"})
    lost_after: int = field(
        default=120,
        metadata={
            "help": "The jobs of an unreachable node are requeued after this many seconds. Default: 120.",
            "metavar": "SECONDS",
        },
    )
    fence_wait: int = field(
        default=90,
        metadata={
            "help": "The seconds between the fence of a lost attempt on a shared filesystem and the next attempt. It "
            "must be longer than an NFS client caches attributes. Default: 90.",
            "metavar": "SECONDS",
        },
    )
    stall_after: int = field(
        default=7200,
        metadata={
            "help": "A job without output and progress counts as stalled after this many seconds. Default: 7200.",
            "metavar": "SECONDS",
        },
    )
    on_stall: str = field(
        default="warn",
        metadata={
            "help": "warn logs a warning about a stalled job. kill ends the job and retries it on another node. "
            "Default: warn.",
            "choices": ["warn", "kill"],
            "metavar": "{warn,kill}",
        },
    )
    on_hangup: str = field(
        default="continue",
        metadata={
            "help": "What a closed terminal means. continue goes on without it, and the output goes to "
            ".snakemake/harbor/output.log. detach ends Snakemake and leaves the jobs to its next start. "
            "Default: continue.",
            "choices": ["continue", "detach"],
            "metavar": "{continue,detach}",
        },
    )
    command_factory: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "A Python function that gets a LaunchContext (node, ids, command) and returns the command line "
            "to run instead of the command. Default: none.",
            "metavar": "FILE.py:FUNC",
        },
    )
    nnodes: Optional[int] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Slurm's meaning: only the first N hosts are used, and no job starts before all of them are ready. "
            "Default: all hosts, of which one suffices.",
            "metavar": "N",
        },
    )
    ntasks_per_node: Optional[int] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Slurm's meaning: a node runs at most N jobs at once, with the numbers 0 to N-1. A rule with the "
            "resource rank has N ranks on each node. Default: its slots.",
            "metavar": "N",
        },
    )
    log_dir: Path = field(
        default=Path(".snakemake/harbor_logs"),
        metadata={
            "help": "The directory for the output of each job attempt, as RULE/WILDCARDS/JOBID.ATTEMPT.log. "
            "Default: .snakemake/harbor_logs.",
            "metavar": "PATH",
        },
    )

    keep_runs: int = field(
        default=500,
        metadata={
            "help": "The journals of this many runs are kept on this machine for `harbor history`, those of all your "
            "directories together. Default: 500.",
            "metavar": "N",
        },
    )
    keep_days: int = field(
        default=30,
        metadata={
            "help": "The journals of runs that started longer ago than this many days are removed. Default: 30.",
            "metavar": "N",
        },
    )

    def __post_init__(self) -> None:
        """Make paths absolute and refuse a password on the command line.

        Paths are relative to the directory in which Snakemake was started or which the profile names. Snakemake changes
        to `--directory` before anybody reads them. Only `log_dir` is relative to the working directory.
        The password is refused here already, because Snakemake's log begins with the command line.
        """
        refuse_password_option()
        for name in ("hostfile", "ssh_config"):
            path = getattr(self, name)
            if path is not None:
                setattr(self, name, Path(path).absolute())
        if self.command_factory and ":" in self.command_factory:
            file, _, function = self.command_factory.rpartition(":")
            self.command_factory = f"{Path(file).absolute()}:{function}"
