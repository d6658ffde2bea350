"""Write the sweep configuration that a configuration of Parallel-Task-Harbor means, and show the next command."""

import argparse
import json
import shlex
from pathlib import Path

from ..config.importers.parallel_task_harbor import Import, read
from ..config.shipped import shipped
from ..errors import HarborError

DEFAULT = Path("config/config.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.cfg", help="the configuration of Parallel-Task-Harbor")
    parser.add_argument(
        "-o", "--output", type=Path, default=DEFAULT, metavar="PATH", help=f"the file to write; default: {DEFAULT}"
    )
    parser.add_argument("--force", action="store_true", help="replace the files that exist")


def run(arguments: argparse.Namespace) -> int:
    found, output = read(arguments.file), arguments.output
    files = {output: found.text()}
    hostfile = output.parent / "hosts" if found.remote else None
    if hostfile is not None:
        files[hostfile] = "\n".join([f"# From {arguments.file}", *found.hosts()]) + "\n"
    if not arguments.force:
        _check_new(arguments.file, files)
    for path, text in files.items():
        _write(path, text)
    command = _next_command(found, output, hostfile)
    if arguments.json:
        shown = {"sweep": found.name, "cases": len(found.cases), "config": str(output), "hosts": found.hosts()}
        print(json.dumps({**shown, "hostfile": str(hostfile) if hostfile else None, "command": command}))
    else:
        print(f"{output}: the sweep {found.name} with {len(found.cases)} cases")
        if hostfile is not None:
            print(f"{hostfile}: the {len(found.hosts())} hosts")
        print(f"Type: {command}")
    return 0


def _check_new(source: Path, files: dict[Path, str]) -> None:
    for path, text in files.items():
        if path.exists() and not (path.is_file() and path.read_bytes() == text.encode()):
            raise HarborError(
                f"{path} exists, and `harbor import` does not replace it.",
                f"harbor import {shlex.quote(str(source))} -o OTHER.yaml   # or --force",
            )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HarborError(f"{path} cannot be written: {error.strerror}.", f"ls -ld {path.parent}") from error


def _next_command(found: Import, output: Path, hostfile: Path | None) -> str:
    profile = shipped("profiles") / ("local" if hostfile is None else "pool")
    words = ["snakemake", "--profile", str(profile)]
    words += ["--harbor-hosts", *found.hosts()] if hostfile is None else ["--harbor-hostfile", str(hostfile)]
    words += ["--snakefile", str(shipped("workflow") / "Snakefile")]
    if output != DEFAULT:
        words += ["--configfile", str(output)]
    return shlex.join(words)
