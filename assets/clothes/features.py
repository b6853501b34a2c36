"""Make features.json beside this file from the photographs and source.pt, for `TrainHead`.

    python assets/clothes/features.py

Holds the 128 features that A's trunk gives for photographs of B, each rounded to one of 16 levels
(in eight draws, heads trained on them were as accurate as on the features themselves to 0.005):
`pool`, the first 1,000 of each kind to learn from, and `test`, all 2,000 of the test. `features`
holds two of them a byte, the first in the low half, in base64; a feature is its level times its
entry in `step`. `pictures` are those of the test, 50 in a row, 28 × 28 pixels each, as ink on white
paper, only to look at.
"""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mtl_course import datasets, networks
from mtl_course.studies import lesson_01

HERE = Path(__file__).parent
OF_EACH_KIND = 1_000
LEVELS = 16
TOP = 0.998  # of a feature's values lie below its highest level
COLUMNS = 50


def features(network: networks.Network, data: datasets.Dataset) -> torch.Tensor:
    """Return what the trunk gives for each image: (m, 128)."""
    with torch.inference_mode():
        return network.eval().trunk(datasets.normalise(data.images))


def packed(values: torch.Tensor, step: torch.Tensor) -> str:
    """Return features (m, 128) as base64, two a byte."""
    levels = (values / step).round().clamp(0, LEVELS - 1).numpy().astype(np.uint8)
    return base64.b64encode(levels[:, ::2] | levels[:, 1::2] << 4).decode("ascii")


def pictures(data: datasets.Dataset) -> str:
    """Return the images as one picture, a URL that holds it."""
    tiles = 255 - data.images[:, 0].numpy().reshape(-1, COLUMNS, 28, 28)
    whole = Image.fromarray(tiles.transpose(0, 2, 1, 3).reshape(-1, 28 * COLUMNS))
    whole.save(file := io.BytesIO(), "WEBP", quality=15, method=6)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def main(folder: Path) -> None:
    """Write the file into the folder."""
    train, test = (datasets.only(part, lesson_01.B) for part in lesson_01.photographs())
    rows = [torch.nonzero(train.labels == kind)[:OF_EACH_KIND, 0] for kind in range(2)]
    pool, network = train.subset(torch.cat(rows).sort().values), lesson_01.pretrained()
    drawn = {"pool": (pool, features(network, pool)), "test": (test, features(network, test))}
    step = (torch.quantile(drawn["pool"][1], TOP, dim=0) / (LEVELS - 1)).clamp(min=1e-6)
    made = {
        name: {"labels": "".join(map(str, data.labels.tolist())), "features": packed(values, step)}
        for name, (data, values) in drawn.items()
    }
    made |= {"step": [float(f"{s:.5g}") for s in step], "pictures": pictures(test)}
    (folder / "features.json").write_text(json.dumps(made) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
