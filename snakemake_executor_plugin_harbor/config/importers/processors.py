"""Finds the module or script that `--pre_proc` or `--post_proc` names. It imports no code of the user."""

import ast
import shlex
from dataclasses import dataclass
from pathlib import Path

from ...errors import HarborError
from .ini import IniFile, Option, did_you_mean

SCRIPTS = (".py", ".sh", ".R", ".r", ".pl", ".rb", ".jl")


@dataclass(frozen=True)
class Processor:
    """A class, with the dotted name of its module, or a script, with its path."""

    name: str
    is_class: bool


def find_processor(file: IniFile, option: Option, kind: str) -> Processor:
    """Return the class `kind` of the module that the option names, or the script. Raises HarborError."""
    given = option.value.strip()
    path = Path(given)
    if "/" in given or path.suffix in SCRIPTS:
        if not path.is_file():
            raise _missing(file, option, path, "script")
        if path.suffix != ".py" or kind not in (_names(file, option, path) or ()):
            return Processor(given, is_class=False)
        parts = path.absolute().relative_to(Path.cwd()) if path.absolute().is_relative_to(Path.cwd()) else None
        if parts is None:
            raise file.error(option, f"the module of a class must lie below the working directory {Path.cwd()}.")
        return Processor(".".join(parts.with_suffix("").parts), is_class=True)
    if not all(part.isidentifier() for part in given.split(".")):
        raise file.error(option, f"{given!r} is neither the name of a module nor the path of a script.")
    base = Path(*given.split("."))
    found = next((each for each in (base.with_suffix(".py"), base / "__init__.py") if each.is_file()), None)
    if found is None:
        raise _missing(file, option, base.with_suffix(".py"), f"module {given}")
    names = _names(file, option, found)
    if names is not None and kind not in names:
        raise file.error(
            option,
            f"{found} has no class {kind}; {did_you_mean(kind, names) if names else 'it has no class.'}"
            " A script without the class is given by its path.",
        )
    return Processor(given, is_class=True)


def _missing(file: IniFile, option: Option, path: Path, what: str) -> HarborError:
    """Return the error, with the directory below which the file is, or with a similar name."""
    home = next((each for each in file.path.absolute().parents if (each / path).is_file()), None)
    if home is not None:
        return file.error(
            option, f"there is no {what} below the working directory {Path.cwd()}.", f"cd {shlex.quote(str(home))}"
        )
    near = sorted(each.stem if what.startswith("module") else each.name for each in path.parent.glob("*.*"))
    close = did_you_mean(path.stem if what.startswith("module") else path.name, near) if near else ""
    return file.error(option, f"there is no {what}: {path.absolute()} does not exist{'; ' + close if close else '.'}")


def _names(file: IniFile, option: Option, path: Path) -> list[str] | None:
    """Return the classes and other capitalised names that a file defines. Return None if it may import any name."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise file.error(option, f"{path}{line} is no valid Python: {getattr(error, 'msg', error)}.") from error
    except OSError as error:
        raise file.error(option, f"{path} cannot be read: {error.strerror}.") from error
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            if any(alias.name == "*" for alias in node.names) and not _abstract(node):
                return None
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [name for name in names if name[:1].isupper()]


def _abstract(node: ast.ImportFrom | ast.Import) -> bool:
    """Return True for `from abc import *`, which defines no processor."""
    return isinstance(node, ast.ImportFrom) and node.module == "abc"
