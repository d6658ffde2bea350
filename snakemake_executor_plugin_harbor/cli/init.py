"""Lay down a new project: a sweep that runs as it is, its profiles, and a Snakefile that uses harbor's workflow.

For a new sweep, edit config/config.yaml, template/ and scripts/ in it. No file is overwritten.
"""

import argparse
import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..config.shipped import shipped
from ..errors import HarborError

START = "start"
EXAMPLE = "mat_mul"
RUN = "snakemake --profile profiles/local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="the project's directory; it may exist")
    parser.add_argument(
        "--example",
        type=_example,
        nargs="?",
        const=EXAMPLE,
        default=START,
        metavar="NAME",
        help=f"lay down this example: {', '.join(_examples())}; without NAME: {EXAMPLE}",
    )


def run(arguments: argparse.Namespace) -> int:
    directory: Path = arguments.directory
    written = lay_down(directory, project(arguments.example))
    commands = [*([] if directory == Path() else [f"cd {shlex.quote(str(directory))}"]), RUN]
    if arguments.json:
        print(json.dumps({"directory": str(directory), "files": [str(path) for path in written], "next": commands}))
        return 0
    for path in written:
        print(path)
    print("\nThe project runs as it is. README.md in it says what to edit for a sweep of your own. Type:\n")
    for command in commands:
        print(f"  {command}")
    return 0


def project(example: str) -> dict[str, Path]:
    """Return the files of a project: relative path and source. An example's files win over those of all projects."""
    examples = shipped("examples")
    start = examples / START
    files = {name: start / name for name in ("README.md", "Snakefile")}
    files["config/README.md"] = shipped("config") / "README.md"
    return {**files, **_tree(shipped("profiles"), "profiles"), **_tree(examples / example)}


def lay_down(directory: Path, files: Mapping[str, Path]) -> list[Path]:
    """Copy the files into the directory, and return their paths. Raises HarborError before it writes if one exists."""
    wanted = {directory / name: source for name, source in sorted(files.items())}
    there = [path for path in wanted if path.exists() or path.is_symlink()]
    if there:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise HarborError(
            f"{there[0]}{more} exists, and harbor init overwrites nothing.",
            f"harbor init {shlex.quote(str(directory / 'new_sweep'))}",
        )
    for path, source in wanted.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as given, path.open("xb") as new:
                shutil.copyfileobj(given, new)
            shutil.copymode(source, path)
        except OSError as error:
            raise HarborError(
                f"{path} cannot be written: {error.strerror or error}.", f"ls -ld {shlex.quote(str(path.parent))}"
            ) from error
    return list(wanted)


def _tree(directory: Path, prefix: str = "") -> dict[str, Path]:
    """Return the files below a directory, without what running it in a checkout has left there."""
    names = {path.relative_to(directory): path for path in directory.rglob("*") if path.is_file()}
    left = {"__pycache__", ".snakemake", "results"}
    return {str(Path(prefix, name)): path for name, path in names.items() if not left & {*name.parts}}


def _examples() -> list[str]:
    return sorted(path.name for path in shipped("examples").iterdir() if path.is_dir())


def _example(name: str) -> str:
    if name not in _examples():
        raise argparse.ArgumentTypeError(
            f"there is no example {name!r}; there are {', '.join(_examples())}. Type: harbor init DIR --example NAME"
        )
    return name
