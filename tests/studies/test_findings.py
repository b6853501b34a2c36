"""Guards README's findings and the instructors' page: what they say is what the rows say."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from notebook_files import ROOT, read, result

from mtl_course import studies
from mtl_course.studies import claims, classroom

README = (ROOT / "README.md").read_text(encoding="utf-8")
# What README says, and the claim that says it; {} stands for the gain and its interval.
SAID = {
    "a B of 1,000 by {auc}": ("02", "T2, 1,000,000 → 1,000: A gains"),
    "better than one softmax: {accuracy}": (
        "03",
        "M3: four sigmoids answer better than one softmax",
    ),
    "better than calling '?' 0: {auc}": (
        "04",
        "half unknown: the mask ranks better than calling '?' 0",
    ),
    "for unrelated tasks, by {auc}": ("06", "four unrelated tasks: width 16 gains over MGDA"),
    "beats training from scratch by {accuracy}": ("01", "10 labels: new head beats from scratch"),
    "fine-tuning, which leads it by {}": ("01", "1,000 labels: all layers beats new head"),
    "differs from training from scratch: {}": ("01", "1,000 labels: all layers beats from scratch"),
    "hurts a B of images: {auc}": ("02", "T1: sounds gain"),
    "other things hurts, too: {}": ("02", "T3: other things gain"),
    "such a trunk costs {}": ("02", "… held frozen"),
    "with a first network gains {over the mask}": (
        "04",
        "half unknown: guessing ranks better than the mask",
    ),
    "the mask trains as long: {}": (
        "04",
        "half unknown: guessing ranks better than the mask with twice the steps",
    ),
    "images of their own help: {auc}": ("05", "M6: 9 related tasks help"),
    "unrelated ones hurt: {}": ("05", "M6: 9 unrelated tasks help"),
    "one big network beats four small ones: {}": (
        "05",
        "M7, 4,000 scenes: a big one, of width 32, gains over four of width 8",
    ),
    "loses a little: {auc}": ("02", "given the shipped trunk: round sign gains"),
    "we cannot tell: {}": ("02", "given the shipped trunk: cyclist gains"),
}
UNITS = {"": "", "auc": " AUC", "accuracy": " accuracy", "over the mask": " AUC over the mask"}


@pytest.mark.parametrize("words", SAID)
def test_a_finding_says_what_the_rows_say(words: str):
    lesson, claim = SAID[words]
    register = claims.LESSONS[lesson]
    gain = (register.claims | register.expensive)[claim].found()
    before, unit = words.rstrip("}").split("{")
    text = f"{gain['mean']:+.3f}{UNITS[unit]} ({gain['low']:.3f} to {gain['high']:.3f})"
    assert before + text.replace("-", "−") in README


def test_the_accuracies_of_the_first_lesson_are_means_of_its_rows():
    means = studies.run("clothes", only={"labels": [10]}).groupby("way")["accuracy"].mean()
    text = f"accuracy is {means['new head']:.3f} with a pretrained trunk and a new head, "
    assert f"10 labeled photographs, {text}and {means['from scratch']:.3f} from scratch" in README


def test_the_results_page_has_the_gains_of_the_first_lesson():
    rows, text = studies.run("clothes"), (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    columns = [("new head", "from scratch"), ("new head", "all layers")]
    columns += [("all layers", "from scratch")]
    gains = [studies.gain(rows, way, over=over).set_index("labels") for way, over in columns]
    for labels in gains[0].index:
        cells = (
            "{mean:+.3f} ({low:.3f} to {high:.3f})".format(**gain.loc[labels]) for gain in gains
        )
        assert f"| {labels:,} | {' | '.join(cells)} |".replace("-", "−") in text


def test_no_other_number_is_put_into_a_finding_by_hand():
    table = README.partition("## The lessons")[2].partition("## A world")[0]
    assert len(re.findall(r"[+−]\d\.\d{3}.*?\(", table)) == len(SAID)
    assert len(re.findall(r"(?<!\d)0\.\d{3}", table)) == 3 * len(SAID) + 2


# ---------------------------------------------------------------------- for instructors

INSTRUCTORS = (ROOT / "notebooks" / "INSTRUCTORS.md").read_text(encoding="utf-8")
# Each item of the lecture, the claims that decide its verdict, and what these must say.
DECIDED = {
    "T1": ("02", {"T1, the same x: the four gain": "supported"}),
    "T2": ("02", {"T2, 1,000,000 → 1,000: A gains": "supported"}),
    "T3": ("02", {"T3: the four gain over other things": "supported"}),
    "surgery": (
        "02",
        {
            "B = 100: new head beats all layers": "supported",
            "B = 30,000: new head beats all layers": "opposite",
        },
    ),
    "M3": ("03", {"M3: four sigmoids answer better than one softmax": "supported"}),
    "M4": ("04", {"half unknown: the mask ranks better than calling '?' 0": "supported"}),
    "M5": ("05", {"… over those with their labels hidden": "supported"}),
    "M6": ("05", {"M6: 9 related tasks help": "supported"}),
    "M7": (
        "05",
        {"M7, 4,000 scenes: a big one, of width 32, gains over four of width 8": "supported"},
    ),
}


def test_each_item_of_the_lecture_has_one_verdict():
    table = re.findall(r"^\| (T\d|M\d|surgery) \| .* \| ([^|]*) \|$", INSTRUCTORS, re.MULTILINE)
    assert dict(table) == dict.fromkeys(DECIDED, "supported") | {
        "M1": "a definition",
        "M2": "a definition",
    }
    assert len(table) == len(DECIDED) + 2


@pytest.mark.parametrize("item", DECIDED)
def test_the_verdict_of_an_item_is_that_of_its_claims(item: str):
    """In the rows, with ten other seeds, and where a lesson or its evidence shows it."""
    lesson, decided = DECIDED[item]
    shown = [
        result(read(path))["verdicts"] for path in (ROOT / "notebooks").rglob(f"{lesson}_*.ipynb")
        if path.parent.name in ("notebooks", "evidence")
    ]  # fmt: skip
    for claim, verdict in decided.items():
        comparison = claims.LESSONS[lesson].claims[claim]
        assert comparison.found()["verdict"] == verdict
        assert comparison.found(claims.OTHER_SEEDS)["verdict"] == verdict
        assert {there[claim] for there in shown if claim in there} == {verdict}
        words = claim.removeprefix("… ").partition(": new head")[0]
        assert f"*{words}" in INSTRUCTORS


def test_each_plan_adds_up():
    for heading, minutes in (("One lecture of 90 minutes", 90), ("Half a day", 240)):
        plan = INSTRUCTORS.partition(f"### {heading}\n")[2].partition("\n#")[0]
        assert sum(map(int, re.findall(r"^\| (\d+) \|", plan, re.MULTILINE))) == minutes
    weeks = INSTRUCTORS.partition("### Seven weeks\n")[2].partition("\n#")[0]
    assert re.findall(r"^\| (\d) \|", weeks, re.MULTILINE) == [*"1234567"]


def test_what_a_class_is_told_about_luck_is_what_the_rows_say():
    text = INSTRUCTORS.partition("## The class is the experiment")[2].partition("\n## ")[0]
    rows = studies.run("clothes", only={"way": [classroom.WAY, classroom.OVER]})
    gain = studies.gain(rows, classroom.WAY, classroom.OVER).set_index("labels")
    assert gain.loc[10, "verdict"] == "cannot tell" and "*cannot tell* whether a new head" in text
    assert gain.loc[300, "verdict"] == "no difference"
    assert "at 300 they find no difference larger than 0.01" in text
    scores = rows[rows["labels"] == 10].pivot(index="seed", columns="way", values="accuracy")
    gains = scores[classroom.WAY] - scores[classroom.OVER]
    assert (gains < 0).sum() == 2 and "In two of the ten, all layers was ahead" in text
    width = {n: scipy.stats.t.ppf(0.975, n - 1) / np.sqrt(n) for n in (10, 30)}
    assert f"about half as wide as that of ten ({width[30] / width[10]:.2f} times)" in text
    assert f"{gain.loc[10, 'detectable']:.3f} for the lesson's ten at 10 labels" in text
    thirty = np.resize([1.0, -1.0], 30)
    thirty *= gains.std() / thirty.std(ddof=1)
    alike = [
        {"way": way, "labels": 10, "seed": seed, "accuracy": by * (way == classroom.WAY)}
        for seed, by in enumerate(thirty) for way in (classroom.WAY, classroom.OVER)
    ]  # fmt: skip
    noticed = studies.gain(pd.DataFrame(alike), classroom.WAY, classroom.OVER, keys=["labels"])
    assert f"thirty would notice {noticed['detectable'].iloc[0]:.3f}" in text
