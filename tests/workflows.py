"""Real Snakemake workflows in this process, without running them."""

import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from snakemake.api import SnakemakeApi
from snakemake.resources import Resources
from snakemake.settings import types as settings

Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Read a Snakefile in a directory of its own and determine its jobs. `default` stands for --default-resources."""
    with ExitStack() as stack:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
        api = stack.enter_context(SnakemakeApi(settings.OutputSettings(quiet={settings.Quietness.ALL})))

        def read(
            text: str,
            *,
            default: list[str] | None = None,
            cores: int | None = None,
            given: dict[str, dict[str, Any]] | None = None,
            **more: Any,
        ) -> Any:
            directory = tmp_path / "work"
            directory.mkdir(exist_ok=True)
            (directory / "Snakefile").write_text(textwrap.dedent(text))
            defaults = (
                Resources.parse(default, defaults="full", allow_expressions=True)
                if default is not None
                else Resources.default("bare")
            )
            resources = settings.ResourceSettings(
                cores=cores, nodes=10, default_resources=defaults, overwrite_resources=given or {}
            )
            workflow = api.workflow(
                resource_settings=resources,
                config_settings=settings.ConfigSettings(configfiles=more.pop("configfiles", [])),
                snakefile=directory / "Snakefile",
                workdir=more.pop("workdir", directory),
            )
            dag = workflow.dag(settings.DAGSettings(force_incomplete=True))
            dag.execute_workflow(
                executor="dryrun",
                group_settings=settings.GroupSettings(local_groupid="local"),
                remote_execution_settings=settings.RemoteExecutionSettings(),
            )
            return workflow._workflow

        yield read


@pytest.fixture
def jobs(load: Load) -> Callable[..., dict[str, Any]]:
    """Return the jobs of a Snakefile by rule."""
    return lambda text, **how: {job.rule.name: job for job in load(text, **how).dag.jobs}
