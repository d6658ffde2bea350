"""Runs Snakemake's own tests with harbor in the place of the local executor."""
