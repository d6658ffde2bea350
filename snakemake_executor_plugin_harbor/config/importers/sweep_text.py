"""Writes a sweep as YAML with a comment for each key."""

from typing import Any

import yaml

COMMENTS = {
    "template": "[PATH] BASE_TMP: this directory is copied for every case.",
    "directory": "[PATH] BASE_PATH: a case runs here, in a fresh copy.",
    "words": "[PATH]: a word of `run` that is one of these names, or a parameter, becomes the value, without quotes.",
    "cases": "[SIM_LIST], with the names of --sim_params.",
    "run": "[CMD_LIST], joined by &&.",
    "pre": "--pre_proc: a script, which runs in the case's directory before the commands.",
    "post": "--post_proc: a script, which runs in the case's directory when the commands have succeeded.",
    "pre_class": "--pre_proc: the module of the class PreProcessor, which makes the directory of each case.",
    "post_class": "--post_proc: the module of the class PostProcessor, which is called when a case has ended.",
}


def sweep_text(source: str, name: str, sweep: dict[str, Any]) -> str:
    """Return config/config.yaml with one sweep."""
    lines = [
        f"# harbor import has made this from {' '.join(source.split())}, a configuration of Parallel-Task-Harbor.",
        "# The page config/README.md of harbor explains the keys. `result` brings the results into the table.",
        "sweeps:",
        f"  {_flow(name)}:",
    ]
    for key, value in sweep.items():
        lines += [f"    # {COMMENTS[key]}", *_entry(key, value)]
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any) -> list[str]:
    if isinstance(value, list):
        return [f"    {key}:", *(f"      - {_flow(item)}" for item in value)]
    if isinstance(value, dict):
        return [f"    {key}:", *(f"      {_flow(name)}: {_flow(item)}" for name, item in value.items())]
    return [f"    {key}: {_flow(value)}"]


def _flow(value: Any) -> str:
    """Return a value on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
