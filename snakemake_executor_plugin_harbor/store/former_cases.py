"""Finds what is left of cases that a sweep's configuration no longer has, for `harbor clean --cases`.

Reading the Snakefile writes which cases there are: `.snakemake/sweep/sweeps.json` names a file for each sweep. So a
case counts as former if it was not in the configuration when Snakemake read it last.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import HarborError
from .workdir import read_lock

SWEEPS = Path(".snakemake/sweep/sweeps.json")
PLACES = ("cases", "failed", *(f".steps/{name}" for name in ("prepared", "request", "run", "post", "state")))
LOGS = tuple(f"logs/{name}" for name in ("pre", "run", "post"))


@dataclass(frozen=True)
class FormerCase:
    """A case that has left its sweep. `elsewhere` is its directory if that is not below results/. It stays."""

    sweep: str
    case: str
    paths: tuple[Path, ...]
    bytes: int
    elsewhere: str = ""


def former_cases(workdir: Path) -> list[FormerCase]:
    """Return the cases that have left the sweeps of a working directory. Raises HarborError if none has been run."""
    found: list[FormerCase] = []
    for sweep, known in _known(workdir).items():
        paths: dict[str, list[Path]] = {}
        for case, path in _paths(workdir / "results" / sweep):
            if case not in known:
                paths.setdefault(case, []).append(path)
        found += [_former(sweep, case, of_case) for case, of_case in sorted(paths.items())]
    return found


def remove_former_cases(workdir: Path, cases: list[FormerCase]) -> None:
    """Remove what is left of these cases. Raises HarborError while a run goes on, because it may have an older list."""
    lock = read_lock(workdir / ".snakemake" / "harbor" / "lock")
    locks = workdir / ".snakemake" / "locks"
    if (lock and lock[0].alive(lock[1])) or (locks.is_dir() and any(locks.iterdir())):
        raise HarborError(
            f"a run goes on in {workdir}, so no case is removed.",
            "harbor status   # or, if no Snakemake works here: snakemake --unlock",
        )
    for path in (path for case in cases for path in case.paths):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise HarborError(f"{error.filename or path} cannot be removed: {error.strerror}.") from error


def _known(workdir: Path) -> dict[str, set[str]]:
    """Return the cases of each sweep, as Snakemake has read them last."""
    place = workdir / SWEEPS
    try:
        files: dict[str, str] = json.loads(place.read_text())
        tables = {sweep: json.loads((workdir / file).read_text()) for sweep, file in files.items()}
        return {sweep: {case["case"] for case in table["cases"]} for sweep, table in tables.items()}
    except FileNotFoundError:
        raise HarborError(f"no sweep has been run in {workdir}.", "snakemake -n   # with your options") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarborError(
            f"{place} cannot be read: {error}.", "snakemake -n   # with your options, writes it"
        ) from error


def _paths(results: Path) -> Iterator[tuple[str, Path]]:
    """Yield what belongs to single cases, each with the case's name."""
    for place in (*PLACES, *LOGS):
        try:
            names = os.listdir(results / place)
        except OSError:
            continue
        for name in names:
            case = name.removesuffix(".log") if place in LOGS else name
            if not name.startswith("."):
                yield case, results / place / name


def _former(sweep: str, case: str, paths: list[Path]) -> FormerCase:
    links = [os.readlink(path) for path in paths if path.is_symlink()]
    return FormerCase(sweep, case, tuple(paths), sum(map(_size, paths)), links[0] if links else "")


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a directory. A link counts as nothing."""
    if path.is_symlink() or not path.exists():
        return 0
    files = (Path(place, name) for place, _, names in os.walk(path) for name in names) if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files)
