"""Define what a sweep is after all checks of `sweep_config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sweep_cases import Case
from sweep_plots import Plot
from sweep_template import template_listing


@dataclass(frozen=True)
class Sweep:
    """One sweep after all checks. `pre` and `post` are (script path, "") or ("", command line) or None.

    `pre_class` and `post_class` are the modules of classes that were written for Parallel-Task-Harbor. With `words`,
    words of `run` are replaced by values.
    """

    name: str
    template: str | None
    cases: tuple[Case, ...]
    run: tuple[str, ...]
    pre: tuple[str, str] | None
    post: tuple[str, str] | None
    result: str | None
    # What each case reserves, by its name and the resource's.
    reserved: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plots: tuple[Plot, ...] = ()
    pre_class: str | None = None
    post_class: str | None = None
    words: Mapping[str, str] | None = None
    on_failure: str = "fail"
    # The names of the cases in the configuration, of which a class PreProcessor may make others.
    listed: tuple[str, ...] = ()

    @cached_property
    def listing(self) -> str:
        """Return what shows a change of the template's names and links."""
        return template_listing(self.template) if self.template else ""

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Return the parameters of all cases, in order of first appearance. They are columns of the table."""
        return tuple(dict.fromkeys(key for case in self.cases for key in case.params))

    @property
    def steps(self) -> tuple[str, ...]:
        """Return the steps of a case that leave a file in results/NAME/.steps."""
        return ("run", "post") if self.post or self.post_class else ("run",)

    def by_name(self) -> dict[str, Case]:
        return {case.name: case for case in self.cases}

    def lines(self) -> list[tuple[str, str]]:
        """Return (key, command line) of every command that is not a script and in which `{name}` is a parameter."""
        found = [(f"run[{number}]", line) for number, line in enumerate(self.run) if self.words is None]
        return found + [(key, each[1]) for key, each in (("pre", self.pre), ("post", self.post)) if each and each[1]]


def columns_file(sweep: Sweep) -> str:
    """Return the file that marks the columns of the sweep's plots as checked."""
    return f"results/{sweep.name}/.steps/columns"
