"""Post-processor: write what the table gets from this case. Each key of the JSON object becomes a column."""

import csv
import json


def main():
    with open("path.csv", newline="") as f:
        path = [(float(x), float(y)) for x, y in csv.reader(f)]
    with open("result.json", "w") as f:
        json.dump({"distance": round(path[-1][0], 1), "height": round(max(y for _, y in path), 1)}, f)


if __name__ == "__main__":
    main()
