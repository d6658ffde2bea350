"""Reads a configuration of Parallel-Task-Harbor and says what it means as a sweep and as a host list.

`docs/replaces.md` says which part becomes what. Paths and modules are relative to the working directory, because
Parallel-Task-Harbor is started there.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import limits
from .ini import IniFile, Option, did_you_mean
from .processors import Processor, find_processor
from .sweep_text import sweep_text

REQUEST = ("REQ_NAME", "TARGET_SCENARIO", "TARGET_DIR")
"""Every case has these values beside its parameters and the paths."""
REMOTE, PARAMETERS = "--remote_enable", "--sim_params"
BASES = ("BASE_PATH", "BASE_TMP")
PROCESSORS = {"--pre_proc": "PreProcessor", "--post_proc": "PostProcessor"}
SECTIONS = ("PATH", "CONFIG_OPT", *limits.SECTIONS, "CMD_LIST", "SIM_LIST")
_CASE = re.compile(r"[A-Za-z0-9_=+@%][A-Za-z0-9._=+,@%-]*")
_VALUE = re.compile(r"""\s*(?:"([^"]*)"(?=\s|$)|'([^']*)'(?=\s|$)|(?!["'])(\S+)|(\S.*))""", re.DOTALL)


@dataclass(frozen=True)
class Import:
    """A configuration after all checks."""

    path: Path
    paths: dict[str, str]
    cases: list[dict[str, str]]
    commands: list[str]
    pre: Processor | None
    post: Processor | None
    remote: bool
    limits: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the name of the sweep: the file's name, without characters that no sweep's name has."""
        return re.sub(r"[^A-Za-z0-9_.-]", "_", self.path.stem).lstrip(".-") or "sweep"

    def sweeps(self) -> dict[str, Any]:
        """Return what config/config.yaml would hold."""
        sweep: dict[str, Any] = {}
        if "BASE_TMP" in self.paths:
            sweep["template"] = self.paths["BASE_TMP"]
        if self.pre is None or not self.pre.is_class:
            sweep["directory"] = self.paths["BASE_PATH"] + "/tmp_{case}"
        sweep["words"] = dict(self.paths)
        sweep["cases"] = [dict(case) for case in self.cases]
        # The commands are one line of the shell, so a variable or a `cd` in one of them holds for the next.
        sweep["run"] = [" && ".join(self.commands)]
        for key, processor in (("pre", self.pre), ("post", self.post)):
            if processor is not None:
                sweep[f"{key}_class" if processor.is_class else key] = processor.name
        return {"sweeps": {self.name: sweep}}

    def hosts(self) -> list[str]:
        """Return the hosts in the form of --harbor-hosts."""
        return list(self.limits)

    def hosts_origin(self) -> str:
        """Return the option that chooses the hosts, for messages."""
        return f"{REMOTE} = {int(self.remote)}"

    def text(self) -> str:
        """Return config/config.yaml with comments."""
        return sweep_text(str(self.path), self.name, self.sweeps()["sweeps"][self.name])


def read(path: Path) -> Import:
    """Read a configuration. Raises HarborError for the first mistake."""
    file = IniFile(path)
    for section in file.sections:
        if section not in SECTIONS:
            raise file.section_error(section, f": unknown section; {did_you_mean(section, SECTIONS)}")
    paths = _paths(file)
    options = _options(file)
    pre, post = (
        find_processor(file, options[key], kind) if key in options else None for key, kind in PROCESSORS.items()
    )
    _check_paths(file, paths, own=pre is not None and pre.is_class)
    names = _parameters(file, options[PARAMETERS], paths)
    remote = _remote(file, options[REMOTE])
    return Import(
        path=path,
        paths={name: _path(option) for name, option in paths.items()},
        cases=_cases(file, names),
        commands=_commands(file, [*names, *paths, *REQUEST]),
        pre=pre,
        post=post,
        remote=remote,
        limits=limits.hosts(file, remote),
    )


def _section(file: IniFile, name: str, what: str) -> dict[str, Option]:
    """Return the options of a section that must not be empty."""
    if name not in file.sections:
        others = [each for each in file.sections if each.lower() == name.lower()]
        raise file.section_error(name, f" is missing; it holds {what}{f' (there is [{others[0]}])' if others else ''}.")
    if not file.sections[name]:
        raise file.section_error(name, f" is empty; it holds {what}.")
    for option in file.sections[name].values():
        if not option.value.strip():
            raise file.error(option, "it has no value.")
    return file.sections[name]


def _paths(file: IniFile) -> dict[str, Option]:
    paths = _section(file, "PATH", "BASE_PATH and BASE_TMP")
    for option in paths.values():
        if re.search(r"\s", option.name):
            raise file.error(option, "the name of a path must be one word.")
        if option.name in REQUEST:
            raise file.error(option, "every case has a value of this name already.")
    return paths


def _check_paths(file: IniFile, paths: dict[str, Option], own: bool) -> None:
    """Check that the folder to duplicate exists. If a class makes the directories, it decides which names it needs."""
    for name, what in (("BASE_PATH", "the directory where cases run"), ("BASE_TMP", "the folder to duplicate")):
        if name not in paths and not own:
            raise file.section_error("PATH", f" {name}: is missing; it is {what}; {did_you_mean(name, paths)}")
    for name in BASES:
        option = paths.get(name)
        if option is not None and not Path(option.value).is_dir():
            raise file.error(option, f"there is no directory {Path(option.value).absolute()}.")


def _path(option: Option) -> str:
    """Return a path as it is written. BASE_PATH and BASE_TMP may be relative to the working directory."""
    relative = option.name in BASES and not os.path.isabs(option.value)
    return os.path.normpath(os.path.join(os.getcwd(), option.value)) if relative else option.value


def _options(file: IniFile) -> dict[str, Option]:
    options = _section(file, "CONFIG_OPT", f"{REMOTE} and {PARAMETERS}")
    known = (REMOTE, PARAMETERS, *PROCESSORS)
    for option in options.values():
        if option.name not in known:
            raise file.error(option, f"unknown option; {did_you_mean(option.name, known)}")
    for name in (REMOTE, PARAMETERS):
        if name not in options:
            raise file.section_error("CONFIG_OPT", f" {name}: is missing.")
    return options


def _remote(file: IniFile, option: Option) -> bool:
    if option.value.strip() not in ("0", "1"):
        raise file.error(option, f"expected 0 (this machine) or 1 (the host list), got {option.value!r}.")
    return option.value.strip() == "1"


def _parameters(file: IniFile, option: Option, paths: dict[str, Option]) -> list[str]:
    names = option.value.split()
    for number, name in enumerate(names):
        if name in names[:number]:
            raise file.error(option, f"{name} is there twice.")
        if name in (*paths, *REQUEST, "case"):
            raise file.error(option, f"{name} is the name of something else: a path, or a value that every case has.")
    return names


def _cases(file: IniFile, names: list[str]) -> list[dict[str, str]]:
    cases = []
    for option in _section(file, "SIM_LIST", "the cases, each as `case = values`").values():
        if not _CASE.fullmatch(option.name):
            raise file.error(option, "it is not a name for a case: letters, digits and ._=+,@%- make one.")
        values = _split(file, option)
        if len(values) != len(names):
            amount = "1 value" if len(values) == 1 else f"{len(values)} values"
            quoting = " Quotes make one value of several words." if len(values) > len(names) else ""
            known = f"{PARAMETERS} has {len(names)} names ({', '.join(names)})"
            raise file.error(option, f"{amount} ({', '.join(values)}), but {known}.{quoting}")
        cases.append({"case": option.name, **dict(zip(names, values, strict=True))})
    return cases


def _split(file: IniFile, option: Option) -> list[str]:
    """Return the values of a case. Blanks separate them; a value that begins with a quote goes to the next one."""
    values = []
    for double, single, word, rest in _VALUE.findall(option.value.strip()):
        if rest:
            raise file.error(option, f"a quote is not closed, or text follows it: {rest[:60]}")
        values.append(double or single or word)
    return values


def _commands(file: IniFile, names: list[str]) -> list[str]:
    """Return the commands. A word that only differs in capitals from a name would stay as it is, so it is refused."""
    commands = _section(file, "CMD_LIST", "the commands, each as `label = words`")
    lower = {name.lower(): name for name in names}
    for option in commands.values():
        for word in option.value.split():
            meant = lower.get(word.lower())
            if meant is not None and word not in names:
                raise file.error(
                    option,
                    f"{word} is no parameter; did you mean \"{meant}\"? If the text is meant, quote it: '{word}'",
                )
    return [option.value.strip() for option in commands.values()]
