"""The names that Snakemake looks up in the package: the executor, its settings, and what Snakemake does for its jobs.

Snakemake imports every installed plugin whenever it starts, also on a node for a spawned job. A plugin that cannot be
imported breaks all of them. So nothing heavy is imported here, neither paramiko nor Snakemake's internals.
"""

from snakemake_interface_executor_plugins.settings import CommonSettings

from .config.settings import ExecutorSettings
from .executor import Executor

common_settings = CommonSettings(
    # Jobs run elsewhere than in Snakemake's own process.
    non_local_exec=True,
    # Snakemake post-processes outputs itself, because it finds them in the shared working directory.
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    # Snakemake would put the values into argv, and quote them so that a quote in a value breaks bash. harbor sends them
    # as data.
    pass_envvar_declarations_to_cmd=False,
    # Not every job gets them (jobs/snakemake_command.py).
    pass_default_resources_args=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
