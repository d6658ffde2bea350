"""Pre-processor: this case's values as parameters of the netlist."""

import os
from pathlib import Path

resistance, capacitance = os.environ["CASE_resistance_ohm"], os.environ["CASE_capacitance_nF"]
Path("parameters.inc").write_text(f".param r={resistance} c={capacitance}n\n")
