"""Pre-processor: this case's values as variables of LAMMPS."""

import os
from pathlib import Path

lines = [f"variable {name} equal {os.environ['CASE_' + name]}\n" for name in ("temperature", "density")]
Path("parameters.in").write_text("".join(lines))
