"""Guards mtl_course.explorers.compass and figures.compass."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from mtl_course import aggregators, figures, networks, scenes, training
from mtl_course.base import derive_seed
from mtl_course.explorers.compass import Compass

TASKS = ("pedestrian", "car", "stop sign", "traffic light")
WAYS = ("plain sum", *aggregators.AGGREGATORS)


@pytest.fixture(scope="module")
def looks() -> dict[int, torch.Tensor]:
    """Gradients of a network in training."""
    roads = scenes.draw(128, seed=3)
    network = networks.shared(roads.tasks, width=4, seed=0)
    watch = aggregators.Watch(network, roads, at=(0, 5, 9))
    training.fit(network, roads, steps=10, seed=0, backward=watch, progress=False)
    return watch.gradients


@pytest.fixture(scope="module")
def compass(looks) -> Compass:
    return Compass(looks, TASKS)


def direction(each: torch.Tensor, way: str) -> np.ndarray:
    """Where a way goes, from torchjd itself; PCGrad draws from torch's generator."""
    if way == "plain sum":
        return each.sum(dim=0).numpy()
    torch.manual_seed(derive_seed(0, "step 0"))
    return aggregators.aggregator(way)(each).numpy()


@pytest.mark.parametrize("way", WAYS)
def test_the_angles_are_those_of_the_formula(compass, looks, way):
    for step, each in looks.items():
        towards, table = direction(each, way), compass.angles(step, way)
        for task, gradient in zip(TASKS, each.numpy(), strict=True):
            cosine = gradient @ towards / np.linalg.norm(gradient) / np.linalg.norm(towards)
            assert table.loc[task, "angle"] == pytest.approx(np.degrees(np.arccos(cosine)), abs=0.1)
            longest = max(np.linalg.norm(g) for g in each.numpy())
            assert table.loc[task, "length"] == pytest.approx(np.linalg.norm(gradient) / longest)


def test_it_shows_what_is_chosen(compass):
    step, way, said, both = compass.children
    dial, table = both.children
    seen = set()
    for number in step.options:
        for name in way.options:
            step.value, way.value = number, name
            angles = compass.angles(number, name)["angle"]
            assert said.value.startswith(f"Step {number}, {name}:")
            for task, angle in angles.items():
                assert f"{task} {angle:.0f}°" in said.value
                assert f"{task} {angle:.0f}°" in dial.value  # its alt text
                assert (f"{task} {angle:.0f}° (opposed)" in said.value) == (angle > 90)
            assert re.search(f'class=chosen><th scope="row">{name}<', table.value)
            seen.add(dial.value)
    assert len(seen) == len(step.options) * len(way.options)


def test_a_long_gradient_makes_the_sum_oppose_a_short_one():
    """What the lesson tells: the sum opposes the short gradient, UPGrad opposes none."""
    each = torch.tensor([[1.0, 0.0], [-4.0, 1.0]])
    compass = Compass({7: each}, ("short", "long"))
    table = compass.angles(7, "plain sum")
    assert table["angle"].tolist() == pytest.approx(
        [180 - np.degrees(np.arctan(1 / 3)), np.degrees(np.arctan(1 / 3) - np.arctan(1 / 4))],
        abs=0.01,
    )
    assert compass.angles(7, "UPGrad")["angle"].max() < 90.1
    assert "short 162° (opposed)" in compass.children[2].value


@pytest.mark.parametrize(("short", "opposed"), [(-0.9, False), (-1.1, True)])
def test_opposed_begins_at_a_right_angle(short, opposed):
    """The sum is (0.1, 8) or (-0.1, 8): just to either side of what the first task asks for."""
    compass = Compass({0: torch.tensor([[1.0, 0.0], [short, 8.0]])}, ("level", "steep"))
    angle = compass.angles(0, "plain sum").loc["level", "angle"]
    assert abs(angle - 90) < 1
    assert ("level 91° (opposed)" in compass.children[2].value) == opposed


def test_it_opens_where_the_sum_is_farthest_from_a_task(compass, looks):
    largest = {step: compass.angles(step, "plain sum")["angle"].max() for step in looks}
    assert Compass(looks, TASKS).children[0].value == max(largest, key=largest.get)


def test_a_task_without_a_gradient_is_said():
    each = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    compass = Compass({0: each}, ("known", "unknown"))
    assert "unknown has no gradient" in compass.children[2].value
    assert "unknown has no gradient" in compass.static()["text/html"]


def test_a_direction_of_0_is_not_taken_for_a_task_without_a_gradient():
    """Two opposite gradients cancel: there is no way to go, but both tasks have a gradient."""
    compass = Compass({0: torch.tensor([[1.0, 0.0], [-1.0, 0.0]])}, ("east", "west"))
    said, both = compass.children[2:]
    assert "no gradient" not in said.value
    assert "east no angle, for the direction is 0" in said.value
    assert "nan" not in both.children[1].value
    compass.static()
    nothing = Compass({0: torch.zeros(2, 3)}, ("east", "west"))
    assert "west has no gradient" in nothing.children[2].value


@pytest.mark.parametrize(
    "angles", [(55, 67, 65, 71), (1, 3, 4, 6), (89, 90, 91, 92), (120, 175, 178, 170)]
)
def test_labels_of_the_compass_lie_apart_and_inside(angles):
    table = pd.DataFrame({"angle": angles, "length": 1.0}, TASKS)
    figure = figures.compass({"one": table})
    figure.canvas.draw()
    texts = [t for t in figure.axes[0].texts if "°" in t.get_text()]
    boxes = [t.get_window_extent() for t in texts]
    assert len(boxes) == 4
    for number, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_the_picture_has_every_way(compass):
    alt = compass.static()["text/plain"]
    assert all(f"{way}: pedestrian" in alt for way in WAYS)
    panels = {way: compass.angles(0, way) for way in WAYS}
    titles = [axes.get_title() for axes in figures.compass(panels).axes]
    assert titles[: len(WAYS)] == list(WAYS)


def test_looking_leaves_random_numbers_as_they_were(looks):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    Compass(looks, TASKS)
    assert torch.equal(before, torch.random.get_rng_state())


def test_it_refuses_looks_that_do_not_fit():
    with pytest.raises(ValueError, match="at least one"):
        Compass({}, TASKS)
    for look in (torch.ones(2, 5), torch.ones(5)):
        with pytest.raises(ValueError, match="at 3 it is"):
            Compass({3: look}, TASKS)
