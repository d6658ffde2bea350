"""The software of a job: its container, conda environment or environment modules."""

import os
from typing import Any

from snakemake_interface_executor_plugins.settings import DeploymentMethod
from snakemake_interface_executor_plugins.utils import format_cli_arg, join_cli_args


def uses_containers(workflow: Any) -> bool:
    return DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method


def container(workflow: Any, job: Any) -> str | None:
    """The path of the container image in which the job runs."""
    return (job.container_img_path or None) if uses_containers(workflow) else None


def conda_environment(workflow: Any, job: Any) -> Any:
    """The path of the job's conda environment. For an environment that Snakemake has not made it may be a name."""
    if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method or not job.conda_env:
        return None
    return job.conda_env.address


def prefix_options(workflow: Any) -> str:
    """Options that name the directories of conda environments and container images of this machine."""
    methods, persistence = workflow.deployment_settings.deployment_method, workflow.persistence
    conda = os.path.abspath(persistence.conda_env_path) if DeploymentMethod.CONDA in methods else None
    images = os.path.abspath(persistence.container_img_path) if DeploymentMethod.APPTAINER in methods else None
    return str(join_cli_args([format_cli_arg("--conda-prefix", conda), format_cli_arg("--apptainer-prefix", images)]))


def environment_modules(workflow: Any, job: Any) -> Any:
    """The environment modules that the job's command loads."""
    return job.env_modules if DeploymentMethod.ENV_MODULES in workflow.deployment_settings.deployment_method else None


def embeds_this_python(job: Any) -> bool:
    """Return True if the job's command contains the path of this Python interpreter, unless a node's takes its place.

    `script:` embeds it for Python scripts. The language of a wrapper is not known before it is read, so a wrapper
    counts as well.
    """
    return bool(job.is_wrapper or (job.is_script and str(job.rule.script).endswith(".py")))
