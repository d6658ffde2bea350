"""Real Snakemake workflows in this process, without running them."""

from tests.workflows import jobs, load

__all__ = ["jobs", "load"]
