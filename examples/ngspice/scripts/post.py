"""Post-processor: from the frequencies that ngspice has measured to the filter's centre, bandwidth and quality."""

import csv
import json
import math
import sys
from pathlib import Path


def center(corner):
    return math.sqrt(float(corner["lower"]) * float(corner["upper"]))


def main():
    with Path("corners.csv").open(newline="") as f:
        corners = list(csv.DictReader(f))
    # ngspice goes on after a failed measurement and leaves its cell empty.
    if len(corners) != 9 or not all(corner["lower"] and corner["upper"] for corner in corners):
        sys.exit("corners.csv is incomplete. The file `stdout` of this case says which measurement failed.")
    nominal, centers = corners[0], [center(corner) for corner in corners]
    bandwidth = float(nominal["upper"]) - float(nominal["lower"])
    result = {
        "center_Hz": round(centers[0], 1),
        "bandwidth_Hz": round(bandwidth, 1),
        "quality": round(centers[0] / bandwidth, 4),
        "center_min_Hz": round(min(centers), 1),
        "center_max_Hz": round(max(centers), 1),
    }
    Path("result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
