"""The only folder that uses what Snakemake's plugin interfaces do not promise. `contract.py` lists it."""
