"""One run as Snakemake's process sees it: its start, its end, its signals and its log lines."""
