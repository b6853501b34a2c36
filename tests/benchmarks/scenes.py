"""Driving scenes drawn a second, with their four answers.

python tests/benchmarks/scenes.py --write assets/benchmarks/scenes.json
"""

from __future__ import annotations

import torch
from common import finish, interleaved, options

from mtl_course import scenes, training


def main() -> None:
    """Measure, print, and write when asked."""
    parser = options(__doc__, runs=7)
    parser.add_argument("--device", default=training.machine().device.type)
    parser.add_argument("--count", type=int, help="default: 100,000, on a GPU 2,000,000")
    asked = parser.parse_args()
    count = asked.count or (100_000 if asked.device == "cpu" else 2_000_000)

    def draw(jobs: int | None) -> None:
        scenes.draw(count, seed=0, device=asked.device, jobs=jobs)
        if asked.device == "cuda":
            torch.cuda.synchronize()

    contenders = {"draw": lambda: draw(None)}
    if asked.device == "cpu":
        contenders["draw on one core"] = lambda: draw(1)
    results = interleaved(contenders, asked.runs)
    for row in results.values():
        row["scenes_per_s"] = round(count / row["median_s"])
    where = {"device": asked.device, "scenes": count}
    finish({"benchmark": "scenes", **where, "results": results}, asked.write)


if __name__ == "__main__":
    main()
