"""Prints the minor releases of Snakemake that harbor supports. It needs nothing installed."""

import ast
from pathlib import Path

CONTRACT = Path(__file__).parents[2] / "snakemake_executor_plugin_harbor/snakemake_internals/contract.py"


def supported() -> list[str]:
    """From OLDEST to NEWEST of the contract."""
    for node in ast.parse(CONTRACT.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "(OLDEST, NEWEST)":
            (major, oldest), (_, newest) = ast.literal_eval(node.value)
            return [f"{major}.{minor}" for minor in range(oldest, newest + 1)]
    raise AssertionError(f"{CONTRACT} has no OLDEST, NEWEST")


if __name__ == "__main__":
    print(*supported())
