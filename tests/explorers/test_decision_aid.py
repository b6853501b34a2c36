"""Guards mtl_course.explorers.decision_aid, and its module in Chromium, without a kernel."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pandas as pd
import pytest

from mtl_course.explorers.decision_aid import DecisionAid
from mtl_course.studies import advice

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
)

import kernelless  # noqa: E402 - what they import needs playwright
import lab  # noqa: E402

TOPICS = ("transfer", "multi_task")
LABELS = {"a tenth as many": 0.1, "as many": 1, "10 times": 10, "100 times": 100}
KIN = {"related": advice.KIN[0], "unrelated": advice.KIN[1], "some of each": advice.KIN[2]}
KNOWN: dict = {}  # the tables of rows


@pytest.fixture(scope="module")
def aids() -> dict[str, DecisionAid]:
    return {topic: DecisionAid(topic) for topic in TOPICS}


def front(aid: DecisionAid):
    return aid.children[0]


def asked(topic: str, texts: list[str]) -> pd.DataFrame:
    """What `advice` says of a case, read off what the dials say."""
    if topic == "transfer":
        (a, b), (x, kinship) = map(number, texts[:2]), texts[2:]
        return advice.transfer(a, b, x=x, kinship=kinship, known=KNOWN)
    tasks, labels, width = (number(texts[k]) for k in (0, 1, 4))
    each = next((n for name, n in LABELS.items() if texts[2].startswith(name)), None)
    others = each and round(each * labels * (tasks - 1))
    kin = next(kind for name, kind in KIN.items() if texts[3].startswith(name))
    return advice.multi_task(tasks, labels, others=others, kin=kin, width=width, known=KNOWN)


def number(text: str) -> int:
    return int(text.split(":")[0].replace(",", ""))


@pytest.mark.parametrize("topic", TOPICS)
def test_its_table_is_what_advice_says(topic: str, aids: dict):
    """Of a random sample of its cases; `advice` is the only place that knows an answer."""
    data = front(aids[topic]).data
    cases = list(itertools.product(*(options for _, options in data["dials"])))
    assert len(cases) == len(data["at"]) == len(data["times"])
    for number in random.Random(0).sample(range(len(cases)), 12):
        said = asked(topic, list(cases[number]))
        assert data["questions"] == said.index.tolist()
        for (_, row), at, times in zip(
            said.iterrows(), data["at"][number], data["times"][number], strict=True
        ):
            name, *gain, verdict = data["answers"][at]
            assert (name, verdict) == (row["nearest measured"], row["verdict"])
            if pd.isna(row["mean"]):
                assert gain == [None] * 3 and times is None
            else:
                wanted = [row[name] for name in ("mean", "low", "high")]
                assert gain == pytest.approx(wanted, abs=1e-4)
                assert times == row["times"]


@pytest.mark.parametrize("topic", TOPICS)
def test_its_picture_is_the_case_that_it_opens_with(topic: str, aids: dict):
    data, value = front(aids[topic]).data, front(aids[topic]).value
    texts = [options[k] for (_, options), k in zip(data["dials"], value, strict=True)]
    for page in aids[topic].static().values():
        assert all(text in page for text in texts)
        for name, mean, *_ in asked(topic, texts)[["nearest measured", "mean"]].itertuples():
            assert name in page
            assert pd.isna(mean) or mean
    assert len(front(aids[topic]).attributes()) < 40_000, "a page holds it"


def test_it_refuses_another_topic():
    with pytest.raises(ValueError, match="topic must be one of transfer, multi_task"):
        DecisionAid("luck")


# ------------------------------------------------------------------------------------ in a page


def opened(tab: lab.Tab, folder: Path, aid: DecisionAid, style: str = kernelless.LIGHT):
    tab.page.goto(kernelless.write(folder, "decision_aid", front(aid).attributes(), style))
    found = tab.page.locator(".mtl-aid")
    found.wait_for()
    return found


@pytest.mark.parametrize("topic", TOPICS)
def test_the_page_says_what_advice_says(tab: lab.Tab, tmp_path: Path, aids: dict, topic: str):
    """By keys alone; each dial to its ends, and what is shown is that case's."""
    page, keys = opened(tab, tmp_path, aids[topic]), tab.page.keyboard
    chosen = "s => [...s.querySelectorAll('select')].map(c => c.options[c.selectedIndex].text)"
    keys.press("Tab")
    for _ in front(aids[topic]).data["dials"]:
        for key in ("End", "Home", "ArrowDown"):
            before = page.locator(".mtl-answer").inner_text()
            keys.press(key)
            assert page.locator(".mtl-answer").inner_text() != before
            said = asked(topic, page.evaluate(chosen))
            rows = [row.inner_text() for row in page.locator(".question").all()]
            for text, (question, row) in zip(rows, said.iterrows(), strict=True):
                assert question in text and row["nearest measured"] in text
                if row["verdict"]:
                    for name in ("mean", "low", "high"):
                        assert f"{row[name]:+.3f}".replace("-", "−") in text
                    assert row["verdict"] in text
                    away = "exactly" if row["times"] == 1 else f"{row['times']:,g} times away"
                    assert away in text
        keys.press("Tab")


@pytest.mark.parametrize("topic", TOPICS)
def test_it_can_be_read_everywhere(tab: lab.Tab, tmp_path: Path, aids: dict, topic: str):
    """At 150 % of a projector's 1366 × 768 pixels, on a phone; light and dark; at once."""
    page = opened(tab, tmp_path, aids[topic])
    kernelless.check_sizes(tab, page, tall=900)
    for style in (kernelless.LIGHT, kernelless.DARK):
        opened(tab, tmp_path, aids[topic], style)
        found = axe.Axe().run(tab.page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]
