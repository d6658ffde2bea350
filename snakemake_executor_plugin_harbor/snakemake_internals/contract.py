"""Every name of Snakemake that harbor uses although the plugin interfaces do not promise it.

`verify.py` compares the table with the Snakemake that is installed, once when a run begins. Tests compare it with every
supported minor release (`make versions`), and make sure that no other folder of harbor uses a name of the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

OLDEST, NEWEST = (9, 20), (9, 27)
"""The minor releases of Snakemake with which harbor is tested. The lower bound is the one in pyproject.toml."""


class Kind(Enum):
    """The place where a name is found."""

    ATTRIBUTE = "attribute of a class or module"
    INSTANCE = "attribute that the class's own code sets on its instances"
    METHOD = "method or function with these parameters"
    TEXT = "text in the source of a module; looked up by tests only"


class Feature(Enum):
    """A feature that harbor can do without, and the effect for the user."""

    DIRECT = "so a Snakemake on the node runs each job, which takes seconds per job"
    STAND_IN = "so Python scripts run only on nodes that have Snakemake at the same path"
    RATE_LIMIT = "so the scheduler runs slower if --max-jobs-per-timespan is high"
    GROUPS = "so a group that fails deletes what all its jobs have made, and a retry runs all of them again"
    SHADOW = "so jobs with `shadow:` may be slow, and other jobs may fail while a local one runs"


@dataclass(frozen=True)
class Name:
    """One name. `owner` is `module` or `module:Class`. Harbor needs it to `purpose`. Without `feature`, no run is
    correct without the name.
    """

    owner: str
    name: str
    purpose: str
    kind: Kind = Kind.ATTRIBUTE
    parameters: tuple[str, ...] = ()
    feature: Feature | None = None

    @property
    def shown(self) -> str:
        """The name as in an error message."""
        module, _, owner = self.owner.partition(":")
        text = f"{owner or module}.{self.name}"
        return f"{text}({', '.join(self.parameters)})" if self.kind is Kind.METHOD else text


SCHEDULER = "snakemake.scheduling.job_scheduler:JobScheduler"
LIMITER = "snakemake.scheduling.job_scheduler:JobRateLimiter"
DAG = "snakemake.dag:DAG"
WORKFLOW = "snakemake.workflow:Workflow"
LOCAL = "snakemake.executors.local:Executor"
PERSISTENCE = "snakemake.persistence:PersistenceBase"
FILES = "snakemake.persistence.file:FilePersistence"
JOB = "snakemake.jobs:Job"
GROUP = "snakemake.jobs:GroupJob"
RULE = "snakemake.rules:Rule"
RULE_CACHE = "snakemake.caching.rule:RuleCache"
RESOURCE = "snakemake.resources:Resource"
RESOURCES = "snakemake.resources:Resources"
NAMED_LIST = "snakemake.rules:Params"
"""A Namedlist. Its own module is another one since Snakemake 9.18."""
SOURCE_CACHE = "snakemake.sourcecache:SourceCache"
SETTINGS = "snakemake.settings.types"
SINGULARITY = "snakemake.deployment.singularity"


def _all(owner: str, purpose: str, *names: str, kind: Kind = Kind.ATTRIBUTE, feature: Any = None) -> Iterator[Name]:
    """One row per name, all with the same owner and purpose."""
    for name in names:
        yield Name(owner, name, purpose, kind, feature=feature)


def _method(owner: str, purpose: str, name: str, *parameters: str, feature: Any = None) -> Name:
    return Name(owner, name, purpose, Kind.METHOD, parameters, feature)


def _text(module: str, text: str, purpose: str, feature: Any = None) -> Name:
    return Name(module, text, purpose, Kind.TEXT, feature=feature)


NAMES: tuple[Name, ...] = (
    # scheduler.py
    *_all(SCHEDULER, "start a scheduling round", "_open_jobs", kind=Kind.INSTANCE),
    *_all(SCHEDULER, "give jobs back that were not started", "_lock", "running", kind=Kind.INSTANCE),
    _method(SCHEDULER, "give jobs back that were not started", "_free_resources", "job"),
    *_all(SCHEDULER, "start no job when the run is ending", "_user_kill", "_errors", kind=Kind.INSTANCE),
    *_all(SCHEDULER, "know whether the run is complete", "remaining_jobs"),
    _method(SCHEDULER, "count a job as failed", "error_callback", "job"),
    _method(SCHEDULER, "cancel a job that has not started", "_handle_error", "job", "postprocess_job"),
    *_all(SCHEDULER, "know which jobs can be cancelled", "failed", kind=Kind.INSTANCE),
    *_all(JOB, "retry no cancelled job", "_attempt", kind=Kind.INSTANCE),
    *_all(GROUP, "retry no cancelled job", "_attempt", kind=Kind.INSTANCE),
    *_all(SCHEDULER, "end after SIGTERM", "exit_gracefully"),
    _method(SCHEDULER, "limit the jobs that are handed over", "get_executor", "job"),
    *_all(
        SCHEDULER,
        "remove the limit of jobs per timespan",
        "job_rate_limiter",
        "resources",
        kind=Kind.INSTANCE,
        feature=Feature.RATE_LIMIT,
    ),
    *_all(
        LIMITER,
        "remove the limit of jobs per timespan",
        "max_jobs",
        "timespan",
        kind=Kind.INSTANCE,
        feature=Feature.RATE_LIMIT,
    ),
    *_all(WORKFLOW, "end without an error after `harbor detach`", "_onerror", kind=Kind.INSTANCE),
    _text("snakemake.workflow", "job did not complete successfully", "end without an error after `harbor detach`"),
    *_all(f"{SETTINGS}:ExecutionSettings", "start no job after a failure", "keep_going"),
    *_all(JOB, "start no job after a failure", "restart_times"),
    # dag.py
    *_all(WORKFLOW, "read the jobs of the run", "dag"),
    _method(DAG, "read the jobs of the run", "__len__"),
    _method(DAG, "read the jobs of the run", "needrun_jobs"),
    _method(DAG, "count the jobs of the run, and know which can be cancelled", "get_job_group", "job"),
    *_all(DAG, "count the jobs of the run", "finished_jobs"),
    _method(DAG, "rank jobs by their depth in the DAG", "job_dependencies", "job"),
    *_all(DAG, "give jobs back that were not started", "_ready_jobs", kind=Kind.INSTANCE),
    *_all(DAG, "fetch the outputs of groups", "depending", "targetfiles", kind=Kind.INSTANCE),
    _method(DAG, "keep directories in which jobs still write", "cleanup_workdir"),
    *_all(WORKFLOW, "end while a preparation hangs", "_async_lock", "_async_runners", kind=Kind.INSTANCE),
    # persistence.py
    *_all(
        PERSISTENCE, "recognize the jobs of an earlier run", "external_jobids", "_get_key", "_filter_incomplete_keys"
    ),
    *_all(FILES, "recognize the jobs of an earlier run", "_record_path"),
    *_all(FILES, "recognize the jobs of an earlier run", "_incomplete_path", kind=Kind.INSTANCE),
    _text("snakemake.persistence.file", '"incomplete"', "recognize the jobs of an earlier run"),
    *_all(PERSISTENCE, "recognize shadow directories", "shadow_path", kind=Kind.INSTANCE),
    _method(PERSISTENCE, "retry lost jobs", "restore_output", "path"),
    _method(PERSISTENCE, "keep outputs marked update()", "backup_output", "path"),
    *_all(PERSISTENCE, "find environments on nodes", "conda_env_path", "container_img_path", kind=Kind.INSTANCE),
    # job.py
    _method(WORKFLOW, "prepare jobs", "async_run", "coro"),
    _method(JOB, "prepare jobs", "prepare"),
    *_all(JOB, "prepare the jobs of a group", "check_protected_output", "remove_existing_output", "is_norun"),
    *_all(JOB, "retry lost jobs and adopt jobs of an earlier run", "attempt", "shadow_dir", "is_shadow"),
    *_all("snakemake.io", "retry lost jobs", "is_flagged"),
    *_all(JOB, "find missing outputs", "touch_output"),
    # group.py
    *_all(JOB, "run jobs that pipes and services connect", "pipe_group", "pipe_or_service_output", kind=Kind.INSTANCE),
    *_all(DAG, "run jobs that pipes and services connect", "dependencies"),
    *_all("snakemake.io:_IOFile", "wait for inputs on the node", "is_storage"),
    *_all(JOB, "recognize the jobs of an earlier run", "params", "wildcards_dict"),
    *_all(RULE, "recognize earlier jobs", "run_func_src", "notebook", "shadow_depth", "params", kind=Kind.INSTANCE),
    _method(NAMED_LIST, "recognize the jobs of an earlier run", "_allitems"),
    # capture.py, deployment.py, benchmark.py
    *_all("snakemake.shell", "capture commands", "sp", "os", feature=Feature.DIRECT),
    _text("snakemake.shell", "shell_tmp.", "remove the files of captured commands"),
    _text("snakemake.script", "Not cleaning up %s", "remove the files of captured commands"),
    _text("snakemake.common", '"__is_snakemake_rule_func"', "capture commands"),
    *_all("snakemake.logging", "remove the files of captured commands", "logger", feature=Feature.DIRECT),
    *_all(RULE, "capture commands", "run_func", "basedir", "shellcmd", kind=Kind.INSTANCE, feature=Feature.DIRECT),
    *_all(JOB, "capture commands", "wildcards", "benchmark_repeats", "is_run", feature=Feature.DIRECT),
    *_all(JOB, "capture commands", "is_notebook", "is_cwl", "is_service", feature=Feature.DIRECT),
    _method(NAMED_LIST, "capture commands", "_plainstrings", feature=Feature.DIRECT),
    *_all(WORKFLOW, "capture commands", "conda_base_path", "runtime_paths", feature=Feature.DIRECT),
    *_all(
        JOB,
        "capture commands",
        "container_img_path",
        "conda_env",
        "env_modules",
        "is_wrapper",
        "is_script",
        feature=Feature.DIRECT,
    ),
    *_all(f"{SETTINGS}:DeploymentSettings", "capture commands", "apptainer_args", feature=Feature.DIRECT),
    *_all("snakemake.benchmark", "write benchmark files", "BenchmarkRecord", feature=Feature.DIRECT),
    _method(
        "snakemake.benchmark",
        "write benchmark files",
        "write_benchmark_records",
        "records",
        "path",
        "extended_fmt",
        feature=Feature.DIRECT,
    ),
    *_all(f"{SETTINGS}:OutputSettings", "write benchmark files", "benchmark_extended", feature=Feature.DIRECT),
    # node_python.py
    *_all("snakemake.script", "run scripts on nodes", "sys", "pickle", feature=Feature.STAND_IN),
    *_all("snakemake.script", "run scripts on nodes", "get_snakemake_searchpaths", feature=Feature.STAND_IN),
    *_all("snakemake.script:PythonScript", "run scripts on nodes", "generate_preamble", feature=Feature.STAND_IN),
    *_all("snakemake.script:ScriptBase", "run scripts on nodes", "evaluate", feature=Feature.STAND_IN),
    _text(
        "snakemake.script",
        "path.get_basedir().get_path_or_uri(secret_free=True)",
        "run scripts on nodes",
        Feature.STAND_IN,
    ),
    *_all(SINGULARITY, "run scripts in containers", "get_snakemake_searchpaths", feature=Feature.STAND_IN),
    *_all(SINGULARITY, "run scripts in containers", "get_snakemake_searchpath_mountpoints", feature=Feature.STAND_IN),
    _text("snakemake.script", "sys.path.extend({repr(searchpaths)})", "run scripts on nodes", Feature.STAND_IN),
    _text("snakemake.script", "pickle.loads({snakemake})", "run scripts on nodes", Feature.STAND_IN),
    _text("snakemake.iocontainers", "self._params_store", "run scripts on nodes", Feature.STAND_IN),
    _text("snakemake.iocontainers", "self._params_types", "run scripts on nodes", Feature.STAND_IN),
    _text("snakemake.iocontainers", "self._names", "run scripts on nodes", Feature.STAND_IN),
    # source_cache.py, named_list.py
    *_all(WORKFLOW, "give nodes the scripts of rules", "sourcecache"),
    *_all(SOURCE_CACHE, "give nodes the scripts of rules", "runtime_cache_path"),
    *_all(
        SOURCE_CACHE,
        "give nodes the scripts of rules",
        "cache_path",
        "runtime_cache",
        "_runtime_cache_path",
        kind=Kind.INSTANCE,
    ),
    *_all(RULE, "give nodes the scripts of rules", "script", "wrapper", "cwl", kind=Kind.INSTANCE),
    _method(
        "snakemake.script",
        "give nodes the scripts of rules",
        "get_source",
        "path",
        "sourcecache",
        "basedir",
        "wildcards",
        "params",
    ),
    _method("snakemake.wrapper", "give nodes the scripts of rules", "get_script", "path", "sourcecache", "prefix"),
    *_all(f"{SETTINGS}:WorkflowSettings", "give nodes the scripts of rules", "wrapper_prefix"),
    _method(NAMED_LIST, "give nodes the scripts of rules", "__init__", "toclone", "fromdict", "custom_map"),
    # workflow_sources.py
    *_all(WORKFLOW, "send the sources of the workflow", "included", "checkpoints"),
    *_all("snakemake.sourcecache:SourceFile", "send the sources of the workflow", "get_basedir", "is_local"),
    *_all("snakemake.checkpoints:Checkpoints", "send what checkpoints have made", "created_output"),
    *_all(JOB, "send what checkpoints have made", "is_updated"),
    # rule_resources.py, threads.py
    *_all(RULE, "read the resources of rules", "resources", kind=Kind.INSTANCE),
    _method(RULE, "set `tmpdir`", "expand_resources", "wildcards", "input", "attempt"),
    *_all(RESOURCE, "read the resources of rules", "_evaluator", "raw", kind=Kind.INSTANCE),
    *_all(RESOURCE, "read the resources of rules", "value", "is_evaluable"),
    *_all(RESOURCES, "ignore Snakemake's own default resources", "DEFAULTS"),
    _text("snakemake.common.tbdstring", "<TBD>", "ignore resources that are not known yet"),
    _text("snakemake.resources", "system_tmpdir", "set `tmpdir`"),
    *_all(
        f"{SETTINGS}:ResourceSettings",
        "pass resources to a Snakemake on a node",
        "_parsed_default_resources",
        "_parsed_overwrite_resources",
    ),
    *_all(WORKFLOW, "limit threads to the largest node", "global_resources", kind=Kind.INSTANCE),
    *_all(GROUP, "limit threads to the largest node", "global_resources", kind=Kind.INSTANCE),
    *_all(GROUP, "limit threads to the largest node", "_resources"),
    *_all(JOB, "limit threads to the largest node", "_resources", "_params", "_non_derived_params"),
    *_all(WORKFLOW, "limit threads to the largest node", "rules"),
    _method(WORKFLOW, "limit threads to the largest node", "is_local", "rule"),
    *_all(RULE, "run `handover:` rules", "is_handover", kind=Kind.INSTANCE),
    # settings.py, log.py
    *_all(f"{SETTINGS}:ExecutionSettings", "wait for outputs", "latency_wait"),
    *_all(f"{SETTINGS}:ExecutionSettings", "keep what failed jobs have made", "keep_incomplete"),
    *_all(f"{SETTINGS}:ExecutionSettings", "remove the files of captured commands", "cleanup_scripts"),
    *_all(WORKFLOW, "set the variables of `envvars:`", "envvars"),
    *_all(f"{SETTINGS}:RemoteExecutionSettings", "refuse --immediate-submit", "immediate_submit"),
    *_all(WORKFLOW, "pass options to a Snakemake on a node", "overwrite_workdir", "overwrite_configfiles"),
    *_all(WORKFLOW, "say how to run cases again", "dag_settings"),
    *_all(f"{SETTINGS}:DAGSettings", "say how to run cases again", "targets"),
    *_all(WORKFLOW, "read options", "workflow_settings", "resource_settings", kind=Kind.INSTANCE),
    *_all(WORKFLOW, "read options", "output_settings", "configfiles", kind=Kind.INSTANCE),
    *_all(WORKFLOW, "print errors of jobs", "linemaps"),
    *_all(
        "snakemake.exceptions",
        "print errors of jobs",
        "print_exception",
        "RuleException",
        "format_error",
        "get_exception_origin",
    ),
    # output_cache.py
    *_all(f"{SETTINGS}:WorkflowSettings", "use the between-workflow cache", "cache"),
    *_all(WORKFLOW, "use the between-workflow cache", "output_file_cache"),
    *_all(RULE, "use the between-workflow cache", "cache", kind=Kind.INSTANCE),
    *_all(RULE_CACHE, "use the between-workflow cache", "output"),
    _method(RULE_CACHE, "use the between-workflow cache", "fetch", "job"),
    _method(RULE_CACHE, "use the between-workflow cache", "store", "job"),
    *_all("snakemake.exceptions", "use the between-workflow cache", "CacheMissException"),
    *_all("snakemake.common", "use the between-workflow cache", "async_run"),
    # partial_groups.py
    *_all("snakemake.jobs", "keep parts of failed groups", "asyncio", "GroupJob", feature=Feature.GROUPS),
    _text("snakemake.jobs", "await asyncio.sleep(0.1)", "end groups without a pause", Feature.GROUPS),
    _method(GROUP, "keep parts of failed groups", "postprocess", "error", feature=Feature.GROUPS),
    _method(JOB, "keep parts of failed groups", "postprocess", "error", "check_output_mtime", feature=Feature.GROUPS),
    # shadow.py
    *_all("snakemake.jobs", "make shadow directories", "os", feature=Feature.SHADOW),
    *(_text("snakemake.jobs", f"os.{name}(", "make shadow copies", Feature.SHADOW) for name in ("walk", "symlink")),
    *_all(LOCAL, "run local shadow jobs", "run_single_job", "spawn_job", "get_job_args", feature=Feature.SHADOW),
)
