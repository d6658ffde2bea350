"""The modules of the workflow that a Python script needs. They lie beside the script or beside the Snakefile."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path


def modules_of(script: str, directories: Iterable[str]) -> list[str]:
    """Return the files of the modules and packages in these directories that a script imports, also by way of others.

    Of a package, all its Python files are returned. Imports whose names are computed are not found.
    """
    places = [Path(script).parent, *map(Path, directories)]
    found: dict[Path, None] = {}
    waiting = [Path(script)]
    while waiting:
        file = waiting.pop()
        new = (path for name in _imports(file) for place in places for path in _files(place, name))
        for path in new:
            if path not in found and path != Path(script):
                found[path] = None
                waiting.append(path)
    return sorted(map(str, found))


def files_of_module(name: str, file: str) -> list[str]:
    """Return the files of a module that was imported from `file` under this name, and of those that it imports."""
    levels = name.count(".") + (Path(file).name == "__init__.py")
    place = Path(file).parents[levels]
    return sorted({*map(str, _files(place, name)), *modules_of(file, [str(place)])})


def _files(directory: Path, name: str) -> Iterator[Path]:
    """Yield the files of a module, or of a package, that has this dotted name below the directory."""
    for part in name.split("."):
        module, directory = directory / f"{part}.py", directory / part
        if module.is_file():
            yield module
            return
        if (directory / "__init__.py").is_file():
            yield from directory.rglob("*.py")
            return
        if not directory.is_dir():
            return


def _imports(file: Path) -> tuple[str, ...]:
    try:
        return _names(file, file.stat().st_mtime_ns)
    except (OSError, ValueError, SyntaxError):
        return ()  # Python says so when the script runs.


@cache
def _names(file: Path, mtime_ns: int) -> tuple[str, ...]:
    """Return the dotted names that a file imports. Those relative to its package belong to the whole package."""
    names: dict[str, None] = {}
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names.update((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update((f"{node.module}.{alias.name}", None) for alias in node.names)
    return tuple(names)
