"""Guards README's findings: every number in them is what the rows say."""

from __future__ import annotations

import re

import pytest
from notebook_files import ROOT

from mtl_course import studies
from mtl_course.studies import claims

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
