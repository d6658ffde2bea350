"""A Snakemake job on its way in (request, command, start message) and out (report, adoption)."""
