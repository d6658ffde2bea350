"""Lay down a new project: a sweep that runs as it is, its profiles, and a Snakefile that uses harbor's workflow.

For a new sweep, edit config/config.yaml, template/ and scripts/ in it. No file is overwritten.
"""

import argparse
import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..config.importers.parallel_task_harbor import read
from ..config.profile import host_list_text
from ..config.shipped import shipped
from ..errors import HarborError

START = "start"
EXAMPLE = "mat_mul"
CONFIG = "config/config.yaml"
Files = Mapping[str, Path | str]
"""Relative paths of files. Each has the file that is copied, or a text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="the project's directory; it may exist")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--example",
        type=_example,
        nargs="?",
        const=EXAMPLE,
        default=START,
        metavar="NAME",
        help=f"lay down this example: {', '.join(_examples())}; without NAME: {EXAMPLE}",
    )
    kind.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE.cfg",
        help="take the sweep and the hosts of this configuration of Parallel-Task-Harbor",
    )


def run(arguments: argparse.Namespace) -> int:
    directory: Path = arguments.directory
    if arguments.source is None:
        files, profile = project(arguments.example), "profiles/local"
    else:
        files, profile = imported_project(arguments.source, directory)
    written = lay_down(directory, files)
    commands = [f"snakemake --profile {profile}"]
    if directory != Path():
        commands.insert(0, f"cd {shlex.quote(str(directory))}")
    if arguments.json:
        print(json.dumps({"directory": str(directory), "files": [str(path) for path in written], "next": commands}))
        return 0
    for path in written:
        print(path)
    keys = f" Its config/README.md explains every key of {CONFIG}." if CONFIG in files else ""
    print(f"\nThe project runs as it is.{keys} Type:\n")
    for command in commands:
        print(f"  {command}")
    return 0


def project(example: str) -> Files:
    """Return the files of an example. If it is a sweep, its own files win over those that all sweeps have."""
    own = _tree(shipped("examples") / example)
    if CONFIG not in own:
        return own
    return {**_common_files(), "README.md": shipped("examples") / START / "README.md", **own}


def imported_project(source: Path, directory: Path) -> tuple[Files, str]:
    """Return the files for a configuration of Parallel-Task-Harbor, and the profile that has its hosts.

    README.md is left out, because users of Parallel-Task-Harbor have one in their directory. Raises HarborError.
    """
    found = read(source)
    if (found.pre or found.post) and directory.resolve() != Path.cwd():
        raise HarborError(
            f"{source} has a --pre_proc or --post_proc. It belongs to the directory {Path.cwd()}, and {directory} is"
            " another one.",
            f"harbor init . --from {shlex.quote(str(source))}",
        )
    files = {**_common_files(), CONFIG: found.text()}
    if found.remote:
        files["profiles/pool/hosts"] = host_list_text(found.hosts(), "profiles/pool")
        return files, "profiles/pool"
    local = (shipped("profiles") / "local" / "config.yaml").read_text()
    hosts = " ".join(found.hosts())
    files["profiles/local/config.yaml"] = local.replace("harbor-hosts: localhost\n", f"harbor-hosts: {hosts}\n")
    return files, "profiles/local"


def _common_files() -> dict[str, Path | str]:
    return {
        "Snakefile": shipped("examples") / START / "Snakefile",
        "config/README.md": shipped("config") / "README.md",
        **_tree(shipped("profiles"), "profiles"),
    }


def lay_down(directory: Path, files: Files) -> list[Path]:
    """Write the files into the directory, and return their paths. Raises HarborError before that if one exists."""
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
            with path.open("xb") as new:
                new.write(source.encode() if isinstance(source, str) else source.read_bytes())
            if isinstance(source, Path):
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
