"""A Snakemake job before its attempts (request, command, start message) and after them (report, adoption)."""
