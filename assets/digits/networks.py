"""Make networks.json beside this file, for `DrawDigit`: small networks that read a digit.

    python assets/digits/networks.py

They are those of seed 0 of the study "digits": A's network, which knows printed digits, and from 10
or 100 handwritten ones a new head, every layer trained, and training from scratch. `trunks` are
three blocks each, of weights and biases with batch normalization folded in; `heads` weights and
biases. All are int16 in base64, times `scale`. `networks` says which trunk and head belong
together, and how much of the handwritten test they get right. `examples` are digits of that test:
64 pixels, each one of 0 … 9, a … g for 0 … 16.
"""

import base64
import json
import sys
from pathlib import Path

from torch import Tensor, nn

from mtl_course.base import derive_seed, threads
from mtl_course.datasets import Dataset, handwritten_digits
from mtl_course.networks import Network
from mtl_course.studies import common, lesson_01_digits

HERE = Path(__file__).parent
SEED = 0
LABELS = (10, 100)
AS_IT_IS = "A's network as it is"
WAYS = ("new head", "all layers", "from scratch")
HIGHEST = 2**15 - 1
EVERY = 44  # of the test's 897


def packed(values: Tensor) -> dict:
    """Return numbers as int16 in base64, and what they are to be multiplied by."""
    scale = values.detach().abs().max().item() / HIGHEST
    levels = (values.detach().flatten() / scale).round().numpy().astype("<i2")
    return {"scale": scale, "values": base64.b64encode(levels.tobytes()).decode("ascii")}


def folded(block: nn.Sequential) -> list[dict]:
    """Return weights and biases of a convolution with its batch normalization."""
    convolution, norm, *_ = block
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()  # (channels,)
    bias = norm.bias - norm.running_mean * factor
    return [packed(convolution.weight * factor[:, None, None, None]), packed(bias)]


def networks() -> dict[tuple[str, int], Network]:
    """Return the networks, trained as the study trains them, by way and number of labels."""
    source = lesson_01_digits.printed_source(SEED)
    pool, made = handwritten_digits().train, {(AS_IT_IS, 0): source}
    for labels in LABELS:
        sample = pool.sample(labels, seed=derive_seed(SEED, "B"))
        for way in WAYS:
            made[way, labels] = common.adapted(source, sample, way, SEED, common.STEPS, None)
    return made


def examples(test: Dataset) -> list[str]:
    """Return every 44th digit of the test as text, with the ink that scikit-learn's file holds."""
    inked = (test.images[::EVERY, 0].float() * (16 / 255)).round().long()  # (20 or more, 8, 8)
    return ["".join("0123456789abcdefg"[ink] for ink in image.flatten()) for image in inked]


def main(folder: Path) -> None:
    """Write the file into the folder."""
    with threads(1):  # as the rows were trained
        made, test = networks(), handwritten_digits().test
    trunks, heads, about = [], [], []
    for (way, labels), network in made.items():
        network.eval()
        if way != "new head":  # its trunk is A's, the first
            trunks.append([folded(block) for block in list(network.trunk)[:3]])
        heads.append([packed(network.head.weight), packed(network.head.bias)])
        trunk = 0 if way == "new head" else len(trunks) - 1
        about.append({
            "way": way, "labels": labels, "trunk": trunk, "head": len(heads) - 1,
            "accuracy": round(common.accuracy(network, test), 4),
        })  # fmt: skip
    kept = {"networks": about, "trunks": trunks, "heads": heads, "examples": examples(test)}
    (folder / "networks.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
