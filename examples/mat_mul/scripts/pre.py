"""Pre-processor: this case's input from the template's settings. Larger matrices are cut into more blocks."""

import json
import os
from pathlib import Path


def main():
    with Path("settings.json").open() as f:
        settings = json.load(f)
    settings["blocks"] = max(settings["blocks"], int(os.environ["CASE_size"]) // 40)
    with Path("input.json").open("w") as f:
        json.dump(settings, f)
    print(f"case {os.environ['CASE']}: {settings['blocks']} blocks")


if __name__ == "__main__":
    main()
