"""The only place that touches what Snakemake's plugin interfaces do not promise."""
