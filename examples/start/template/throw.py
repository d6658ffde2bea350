"""The program of the sweep: the path of a thrown ball, from input.json to path.csv. Put your own in its place."""

import json
import math


def main():
    with open("input.json") as f:
        given = json.load(f)
    x, y, step = 0.0, 0.0, given["time_step"]
    vx = given["speed"] * math.cos(math.radians(given["angle"]))
    vy = given["speed"] * math.sin(math.radians(given["angle"]))
    with open("path.csv", "w") as f:
        while y >= 0:
            f.write(f"{x:.3f},{y:.3f}\n")
            speed = math.hypot(vx, vy)
            vx -= given["drag"] * speed * vx * step
            vy -= (9.81 + given["drag"] * speed * vy) * step
            x, y = x + vx * step, y + vy * step
    print(f"the ball flew {x:.1f} m")


if __name__ == "__main__":
    main()
