"""Pre-processor: write the input of this case. It runs in the case's copy of the template; CASE_angle is its angle."""

import json
import os


def main():
    with open("settings.json") as f:
        given = json.load(f)
    for name in ("angle", "drag"):
        given[name] = float(os.environ["CASE_" + name])
    with open("input.json", "w") as f:
        json.dump(given, f)


if __name__ == "__main__":
    main()
