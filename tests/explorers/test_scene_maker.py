"""Guards mtl_course.explorers.scene_maker."""

import base64
import io
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_course import networks, scenes, training
from mtl_course.explorers.scene_maker import SceneMaker


@pytest.fixture(scope="module")
def network() -> networks.Network:
    roads = scenes.draw(256, seed=1)
    made = networks.shared(roads.tasks, width=4, seed=0)
    training.fit(made, roads, steps=40, seed=0, learning_rate=0.02, progress=False)
    return made


@pytest.fixture
def maker(network) -> SceneMaker:
    return SceneMaker(network, seed=100)


def controls(maker: SceneMaker) -> dict:
    _, panel = maker.children[0].children
    return {control.description: control for control in panel.children if control.description}


def picture(maker: SceneMaker) -> str:
    return maker.children[0].children[0].value


def order(maker: SceneMaker, **chosen: str) -> str:
    """Puts these things on an empty road. Returns: what is said."""
    for name, control in controls(maker).items():
        if name in chosen:
            control.value = chosen[name]
        elif "absent" in control.options if hasattr(control, "options") else False:
            control.value = "absent"
    return maker.children[1].value


def test_it_shows_the_scene_its_answers_and_the_networks(maker, network):
    for place in (0, 3):
        controls(maker)["Surroundings"].value = place
        said = order(maker, car="near", cyclist="middle")
        there = scenes.distances("cyclist")
        things = dict.fromkeys(("pedestrian", "stop sign", "traffic light", "round sign"))
        things |= {"car": scenes.distances("car")[0], "cyclist": there[len(there) // 2]}
        data, pixels = scenes.compose(100, things, start=place)
        assert f"car ({pixels['car']} pixels)" in said
        assert "stop sign (" not in said
        with torch.inference_mode():
            logits = network.eval()(data.images)[0].tolist()
        for task, y, z in zip(data.tasks, data.labels[0].tolist(), logits, strict=True):
            assert f"{task} y = {y}, ŷ = {1 / (1 + math.exp(-z)):.2f}" in said


def test_far_in_fog_by_night_the_answer_follows_what_can_be_seen(maker):
    assert "stop sign y = 1" in order(maker, **{"stop sign": "near"})
    for name, value in (("stop sign", "far"), ("Time", "night"), ("Fog", "thick")):
        controls(maker)[name].value = value
    said = maker.children[1].value
    seen = scenes.compose(
        100,
        dict.fromkeys(("pedestrian", "car", "traffic light", "cyclist", "round sign"))
        | {"stop sign": scenes.distances("stop sign")[-1]},
        time="night",
        fog=2,
    )[1]["stop sign"]
    assert f"stop sign y = {int(seen >= scenes.VISIBLE)}" in said


def test_every_control_changes_what_is_seen(maker):
    order(maker, car="near")
    for name, control in controls(maker).items():
        options = control.options if hasattr(control, "options") else range(4)
        for value in [value for value in options if value != control.value]:
            before = maker.children[1].value + picture(maker)
            control.value = value
            assert maker.children[1].value + picture(maker) != before, (name, value)


@pytest.mark.parametrize("corner", [(0, 0), (0, 24), (24, 0)])
def test_what_made_it_say_so_hides_one_place_after_another(corner):
    """A network that only looks at how bright one corner is."""
    top, left = corner

    class Corner(torch.nn.Module):
        def forward(self, images):
            seen = images[:, :, top : top + 8, left : left + 8].mean(dim=(1, 2, 3))
            return seen[:, None].expand(-1, 4)

    head = torch.nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        head.weight.copy_(-100 * torch.eye(4) if top else 100 * torch.eye(4))  # the road is dark
    maker = SceneMaker(networks.Network(Corner(), head, scenes.THE_FOUR), seed=100)
    controls(maker)["What made it say"].value = "car"
    said = maker.children[1].value
    assert "What made it say car: the place around pixel" in said
    x, y = map(int, re.search(r"pixel (\d+) from the left, (\d+) from the top", said).groups())
    assert left - 3 <= x <= left + 8 + 3
    assert top - 3 <= y <= top + 8 + 3

    bytes_ = base64.b64decode(re.findall(r"data:image/png;base64,([^\"]+)", picture(maker))[1])
    red, _, blue = np.asarray(Image.open(io.BytesIO(bytes_)).convert("RGB").resize((32, 32))).T
    orange = red.T.astype(int) - blue.T
    row, column = np.unravel_index(orange.argmax(), orange.shape)
    assert orange.max() > 100
    assert left - 5 <= column <= left + 13
    assert top - 5 <= row <= top + 13


def test_it_refuses_other_tasks():
    with pytest.raises(ValueError, match="must answer"):
        SceneMaker(networks.shared(["night"], width=2), seed=0)


def test_the_picture_has_eight_scenes(maker):
    alt = maker.static()["text/plain"]
    assert alt.count("traffic light y = ") == 8
