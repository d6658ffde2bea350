"""Post-processor: from the mean values that LAMMPS has written to the compressibility factor p / (density * T)."""

import json
import os
from pathlib import Path


def main():
    _, temperature, virial = map(float, Path("mean.txt").read_text().splitlines()[-1].split())
    density = float(os.environ["CASE_density"])
    result = {
        "mean_temperature": round(temperature, 4),
        "pressure": round(density * temperature + virial, 5),
        "compressibility": round(1 + virial / (density * temperature), 5),
    }
    Path("result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
