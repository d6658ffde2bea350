"""Product of two random integer matrices, in blocks of rows: `python3 mat_mul.py SIZE SEED`.

Prints a progress marker for each block. Integers, so that every machine gets the same result to the last digit.
"""

import json
import sys
from pathlib import Path

import numpy as np


def progress(done, total):
    print(f"\x02{done}/{total}\x03", flush=True)


def main():
    size, seed = int(sys.argv[1]), int(sys.argv[2])
    with Path("input.json").open() as f:
        settings = json.load(f)
    rng = np.random.default_rng(seed)
    a = rng.integers(settings["low"], settings["high"], (size, size))
    b = rng.integers(settings["low"], settings["high"], (size, size))
    blocks = np.array_split(np.arange(size), settings["blocks"])
    product = np.empty_like(a)
    progress(0, len(blocks))
    for done, rows in enumerate(blocks, 1):
        product[rows] = a[rows] @ b
        progress(done, len(blocks))
    np.savez("matrices.npz", a=a, b=b, product=product)
    result = {
        "mean": round(float(np.abs(product).mean()), 6),
        "trace": int(np.trace(product)),
        "total": int(product.sum()),
        "multiplications": size**3,
    }
    with Path("result.json").open("w") as f:
        json.dump(result, f)
    print(f"{size} x {size}: the sum of all elements is {result['total']}")


if __name__ == "__main__":
    main()
