"""List the options of a run with their defaults: `python docs/list_options.py > docs/options.md`."""

from dataclasses import fields

from snakemake_executor_plugin_harbor.config.settings import ExecutorSettings

INTRO = """\
# Options

`docs/list_options.py` makes this page from `config/settings.py`, as Snakemake makes `snakemake --help`.
Each option is a key of a profile, too: `harbor-nice: 5` is `--harbor-nice 5`. The command line wins over a profile.
[further.md](further.md) explains more.
"""


def rows() -> list[str]:
    """Return one row per option."""
    found = []
    for field in fields(ExecutorSettings):
        meaning, _, default = field.metadata["help"].partition(" Default: ")
        option = f"--harbor-{field.name.replace('_', '-')}"
        value = field.metadata.get("metavar", "").replace("|", "\\|")
        found.append(f"| `{f'{option} {value}'.rstrip()}` | {default.rstrip('.') or 'none'} | {meaning} |")
    return found


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRO, "| option | default | meaning |", "|---|---|---|", *rows()])


if __name__ == "__main__":
    print(page())
