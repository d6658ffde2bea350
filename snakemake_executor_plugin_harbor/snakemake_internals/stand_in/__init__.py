"""A stand-in for Snakemake, for Python scripts on nodes that have no Snakemake.

`node_python.py` writes these files into the preamble of a script, as one text. There installation.py is the module
`harbor_stand_in`, and it makes the others the modules `snakemake.iocontainers`, `snakemake.utils` and
`snakemake.shell`. They need Python >= 3.6 and only the standard library, and they import nothing else of this package.
"""
