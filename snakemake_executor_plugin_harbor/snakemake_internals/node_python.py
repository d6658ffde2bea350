"""Scripts for nodes: they name the node's directories, and Python scripts the node's interpreter.

Snakemake pickles the object `snakemake` into the preamble, and the script imports Snakemake to unpickle it. On a node
whose Python has no Snakemake, the stand-in (`stand_in/`) takes its place.
"""

import ast
import base64
import io
import os
import pickle
import re
import shlex
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from . import named_list
from .script_modules import files_of_module, modules_of

PROTOCOL = 4
"""Python 3.6 and 3.7 do not know newer ones."""
CONTAINERS = "snakemake.iocontainers"
SOURCES = {CONTAINERS: "containers", "snakemake.utils": "formatting", "snakemake.shell": "shell"}
"""The modules of the stand-in, with their files."""
STAND_IN = "harbor_stand_in"

_PATH_AT_START = frozenset(sys.path)
"""The search path before a Snakefile was read. This module is imported with the plugin, which happens earlier."""

_SEARCH_PATH = re.compile(r"(sys\.path\.extend\()(\[.*?\])(?=\);import pickle;)", re.DOTALL)
_FILE = re.compile(r"(__real_file__ = __file__; __file__ = )(.*?)(?=;\n#+ snakemake preamble end)", re.DOTALL)

_local = threading.local()


@contextmanager
def scripts_for(python: str | None, for_node: Callable[[str], str] = str) -> Iterator[list[str]]:
    """Within this context, Snakemake makes Python scripts for `python`. None: for this Python, with its Snakemake.

    `for_node` replaces a directory by that of the node. The list gets the files of modules of the workflow that the
    scripts need.
    """
    _local.python, _local.for_node = shlex.quote(python) if python else None, for_node
    _local.modules = []
    try:
        yield _local.modules
    finally:
        _local.python = None


def _node_python() -> str | None:
    return getattr(_local, "python", None)


class _NodeFile:
    """A script in another language than Python, whose directory is that of the node."""

    def __init__(self, file: Any, for_node: Callable[[str], str]) -> None:
        self._file = file
        self._for_node = for_node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def get_basedir(self) -> "_NodeFile":
        return _NodeFile(self._file.get_basedir(), self._for_node)

    def get_path_or_uri(self, secret_free: bool) -> str:
        return self._for_node(self._file.get_path_or_uri(secret_free=secret_free))


class _Sys:
    """Replaces the module `sys` inside `snakemake.script`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)

    @property
    def executable(self) -> str:
        return _node_python() or sys.executable


class _Pickle:
    """Replaces the module `pickle` inside `snakemake.script`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pickle, name)

    @staticmethod
    def dumps(value: Any, *args: Any, **options: Any) -> Any:
        if _node_python() is None:
            return pickle.dumps(value, *args, **options)
        if isinstance(getattr(value, "scriptdir", None), str):
            value.scriptdir = _local.for_node(value.scriptdir)
        return pickled(value, _local.modules)


def install() -> None:
    """Replace names inside Snakemake's modules. Other threads than those within `scripts_for` notice nothing."""
    import snakemake.deployment.singularity
    import snakemake.script  # noqa: F401 - The attributes may be other objects, so the modules come from sys.modules.

    script: Any = sys.modules["snakemake.script"]
    singularity: Any = sys.modules["snakemake.deployment.singularity"]
    if isinstance(script.sys, _Sys):
        return
    all_paths, preamble = script.get_snakemake_searchpaths, script.PythonScript.generate_preamble
    real_container_paths = singularity.get_snakemake_searchpath_mountpoints
    real_evaluate = script.ScriptBase.evaluate

    def script_paths() -> list[str]:
        return all_paths() if _node_python() is None else workflow_paths(all_paths())

    def mounted_paths() -> list[str]:
        # The stand-in is in the script, so no directory with Snakemake is mounted in the container.
        return all_paths() if _node_python() is None else []

    def container_paths() -> list[str]:
        # The container shows the working directory at its own path.
        return real_container_paths() if _node_python() is None else workflow_paths(all_paths())

    def generate_preamble(*args: Any, **options: Any) -> str:
        text: str = preamble(*args, **options)
        return text if _node_python() is None else with_stand_in(with_node_paths(text, _local.for_node))

    def evaluate(self: Any, *args: Any, **options: Any) -> None:
        if _node_python() is not None and isinstance(self, script.PythonScript):
            _local.modules += modules_of(self.path.get_path_or_uri(secret_free=False), workflow_paths(all_paths()))
        elif _node_python() is not None:
            self.path = _NodeFile(self.path, _local.for_node)
        real_evaluate(self, *args, **options)

    script.sys, script.pickle = _Sys(), _Pickle()
    script.get_snakemake_searchpaths, singularity.get_snakemake_searchpaths = script_paths, mounted_paths
    singularity.get_snakemake_searchpath_mountpoints = container_paths
    script.PythonScript.generate_preamble = staticmethod(generate_preamble)
    script.ScriptBase.evaluate = evaluate


def workflow_paths(paths: Iterable[str]) -> list[str]:
    """Return those of the search path's directories that belong to the workflow, and not to this Python."""
    workdir = Path.cwd()
    added = [path for path in paths if path not in _PATH_AT_START or Path(path).is_relative_to(workdir)]
    return [path for path in added if not _is_of_this_python(path)]


def is_of_this_installation(file: str) -> bool:
    """Return True if a file belongs to this Python or to a package that is installed in it."""
    stdlib = sysconfig.get_paths()["stdlib"].rstrip("/") + "/"
    return file.startswith(stdlib) or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


@cache
def _is_of_this_python(path: str) -> bool:
    folders = {*sysconfig.get_paths().values(), site.getusersitepackages(), os.path.dirname(sys.executable)}
    return path in folders or not {"site-packages", "dist-packages"}.isdisjoint(Path(path).parts)


def with_node_paths(preamble: str, for_node: Callable[[str], str]) -> str:
    """Return Snakemake's preamble with the node's directories in the search path, and its path of the script."""

    def changed(match: re.Match[str]) -> str:
        value = ast.literal_eval(match[2])
        return match[1] + repr([for_node(path) for path in value] if isinstance(value, list) else for_node(value))

    for pattern in (_SEARCH_PATH, _FILE):
        preamble = pattern.sub(changed, preamble, count=1)
    return preamble


def with_stand_in(preamble: str) -> str:
    """Return Snakemake's preamble with the stand-in. The lines of the script keep their numbers."""
    comment, _, code = preamble.partition("\n")
    return f"{comment}\n{_stand_in()}{code}"


@cache
def _stand_in() -> str:
    """Return statements that install the stand-in, on one line. They have no bracket that Hy would take for an end."""
    import snakemake

    folder = files(__package__).joinpath("stand_in")
    texts = {name: folder.joinpath(f"{file}.py").read_text("utf-8") for name, file in SOURCES.items()}
    text = folder.joinpath("installation.py").read_text("utf-8")
    text += f"\n\ninstall({snakemake.__version__!r}, {texts!r})\n"
    code = base64.b64encode(text.encode()).decode()
    return (
        f"import binascii, sys, types;{STAND_IN} = sys.modules['{STAND_IN}'] = types.ModuleType('{STAND_IN}');"
        f"exec(compile(binascii.a2b_base64('{code}'), '<harbor: stand-in>', 'exec'), {STAND_IN}.__dict__);"
    )


class _Pickler(pickle.Pickler):
    """Notes the classes that an object needs, in the order in which they are met: an object before its parts."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, PROTOCOL)
        self.classes: dict[tuple[str, str], None] = {}

    def reducer_override(self, value: Any) -> Any:
        found = value if hasattr(value, "__qualname__") else type(value)
        module = str(getattr(found, "__module__", None) or "builtins")
        if isinstance(value, str) and module.split(".")[0].startswith("snakemake"):
            return str, (str.__str__(value),)  # A file name with flags, which a script does not need.
        if module not in ("builtins", "copyreg", CONTAINERS):
            self.classes[module, found.__qualname__] = None
        return NotImplemented


def _classes(value: Any) -> tuple[bytes, dict[tuple[str, str], None]]:
    """Pickle a value. Return this, and the classes that are needed to unpickle it."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(value)
    return file.getvalue(), pickler.classes


class _Code(str):
    """Python code that is inserted into the preamble."""


def pickled(snakemake: Any, modules: list[str]) -> _Code:
    """Return the code for the pickled object `snakemake`. If it needs other classes, the code checks them first.

    The files of classes that belong to the workflow are added to `modules`.
    """
    data, classes = _classes(snakemake)
    if not classes:
        return _Code(repr(data))
    for module in {module for module, _ in classes}:
        file = getattr(sys.modules.get(module), "__file__", None)
        if file and not is_of_this_installation(file):
            modules += files_of_module(module, file)
    places: dict[tuple[str, str], str] = {}
    for where, value in _values(snakemake):
        for name in _classes(value)[1]:
            places.setdefault(name, where)
    needed = [(*name, places.get(name, "the object snakemake")) for name in classes]
    return _Code(f"{STAND_IN}.checked({data!r}, {needed!r})")


def _values(snakemake: Any) -> Iterator[tuple[str, Any]]:
    """The values inside the object, each with its name in a script."""
    for attribute, value in vars(snakemake).items():
        # The object's own name for its params is `_params_store`.
        name = attribute.strip("_").removesuffix("_store")
        if named_list.is_named_list(value):
            for index, (key, item) in enumerate(named_list.items(value)):
                yield f"{name}.{key}" if key else f"{name}[{index}]", item
        elif isinstance(value, Mapping):
            yield from ((f"{name}[{key!r}]", item) for key, item in value.items())
        else:
            yield name, value
