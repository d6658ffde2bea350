"""Snakemake executor plugin `harbor`: the names that Snakemake looks up.

Snakemake imports every installed plugin at every start, also the ones that spawned jobs do, and one that fails
to import breaks them all. So nothing heavy is imported here: no paramiko, no Snakemake internals.
"""

from snakemake_interface_executor_plugins.settings import CommonSettings

from .config.settings import ExecutorSettings
from .executor import Executor

common_settings = CommonSettings(
    # Jobs run elsewhere than in Snakemake's own process.
    non_local_exec=True,
    # The working directory is shared (or staged by us): Snakemake does its own post-processing either way.
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    # Their values would go into argv, quoted so that a quote in them breaks bash; harbor sends them as data.
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
