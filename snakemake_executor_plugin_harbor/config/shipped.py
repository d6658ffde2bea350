"""Finds the workflow, the profiles and the examples that the package ships."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> Path:
    """Return the directory `name`: workflow, profiles, examples, or config with the page that explains a sweep's keys.

    A wheel holds them in the package's folder `data`. An editable install has them at the root of the checkout.
    """
    data = _PACKAGE / "data"
    return (data if data.is_dir() else _PACKAGE.parent) / name
