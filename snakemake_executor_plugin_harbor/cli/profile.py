"""Install a profile where Snakemake finds it by name from every project: `snakemake --profile NAME`.

The host list is checked first. It becomes a file beside the profile, and a run reads it again when it changes.
"""

import argparse
import json
import re
import shlex
from pathlib import Path

from ..config.allocation import KINDS
from ..config.pool_config import host_list
from ..config.profile import host_list_text, profile_file, user_profiles
from ..config.settings import ExecutorSettings
from ..config.shipped import shipped
from ..errors import HarborError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="harbor", metavar="NAME", help="the profile's name; default: harbor")
    nodes = parser.add_mutually_exclusive_group()
    nodes.add_argument("--hosts", nargs="+", metavar="HOST", help="the machines, as --harbor-hosts")
    nodes.add_argument("--hostfile", type=Path, metavar="PATH", help="a file that names them, as --harbor-hostfile")
    nodes.add_argument("--local", action="store_true", help="this machine only, without SSH")
    parser.add_argument("--force", action="store_true", help="overwrite a profile of this name")


def run(arguments: argparse.Namespace) -> int:
    name: str = arguments.name
    if not NAME.fullmatch(name) or name == "none":
        raise HarborError(f"{name!r} cannot be the name of a profile.", "harbor profile lab --hosts 8/ada carol@grace")
    files = _files(arguments)
    directory = user_profiles() / name
    # A profile may have another file, such as config.v9+.yaml, which Snakemake would take instead of ours.
    main = profile_file(str(directory)) or directory / "config.yaml"
    written = {main if file == "config.yaml" else directory / file: text for file, text in files.items()}
    there = [path for path in written if path.exists() or path.is_symlink()]
    if there and not arguments.force:
        raise HarborError(f"{there[0]} exists.", f"{_command(arguments)}   # overwrites it")
    for path, text in written.items():
        _write(path, text)
    commands = [f"harbor doctor --profile {name}", f"snakemake --profile {name}"]
    if arguments.json:
        print(json.dumps({"profile": name, "files": [str(path) for path in written], "next": commands}))
        return 0
    for path, text in written.items():
        print(f"--- {path}\n{text}")
    print("Type, in the directory of any project:\n")
    for command in commands:
        print(f"  {command}")
    return 0


def _command(arguments: argparse.Namespace) -> str:
    """Return the user's command with --force."""
    hosts = ["--hosts", *arguments.hosts] if arguments.hosts else ["--local"]
    options = ["--hostfile", str(arguments.hostfile)] if arguments.hostfile else hosts
    return shlex.join(["harbor", "profile", arguments.name, "--force", *options])


def _files(arguments: argparse.Namespace) -> dict[str, str]:
    """Return names and texts of the profile's files. Raises HarborError if the host list has a mistake."""
    if arguments.local:
        return {"config.yaml": (shipped("profiles") / "local" / "config.yaml").read_text()}
    words = " ".join(arguments.hosts or ()).replace(",", " ").split()
    if arguments.hostfile is not None:
        host_list(ExecutorSettings(hostfile=arguments.hostfile, hosts=[]))
        file = "hosts.yaml" if arguments.hostfile.suffix in (".yaml", ".yml") else "hosts"
        hosts = arguments.hostfile.read_text("utf-8-sig")
    elif words:
        file, hosts = "hosts", _checked_hosts(words, arguments.name)
    else:
        raise HarborError(
            "no machines are given.",
            f"harbor profile {arguments.name} --hosts 8/ada carol@grace   # or --hostfile PATH, or --local",
        )
    text = (shipped("profiles") / "pool" / "config.yaml").read_text()
    text = text.replace("`hosts`", f"`{file}`").replace("harbor-hostfile: hosts\n", f"harbor-hostfile: {file}\n")
    return {"config.yaml": text, file: hosts}


def _checked_hosts(hosts: list[str], name: str) -> str:
    for word in KINDS:
        if word in hosts:
            raise HarborError(
                f"--hosts {word}: these are the machines of an allocation, which a profile outlives.",
                f"harbor profile {name} --local && snakemake --profile {name} --harbor-hosts {word}",
            )
    host_list(ExecutorSettings(hosts=hosts))
    return host_list_text(hosts, name)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise HarborError(
            f"{path} cannot be written: {error.strerror or error}.", f"ls -ld {shlex.quote(str(path.parent))}"
        ) from error
