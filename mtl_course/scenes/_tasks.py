"""What can be asked about a driving scene: more than a hundred yes/no tasks, in families."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_course.scenes._world import CHOICES, SLOTS, World, slots_of

VISIBLE = 7
"""Pixels of a 32 × 32 picture in which a thing must be seen for the answer to be 1; in other sizes
the same share of the picture."""


class Facts(NamedTuple):
    """What can be asked about n scenes: the world behind them, and what can be seen of it.

    pixels: int64 (n, slots). seen: bool (n, slots), at least `VISIBLE` pixels.
    """

    world: World
    pixels: Tensor
    seen: Tensor

    def count(self, kind: str, *conditions: Condition) -> Tensor:
        """How many things of this kind are seen that meet all conditions. Returns: int64 (n,)."""
        met = self.seen
        for condition in conditions:
            met = met & condition(self)
        return met[:, slots_of(kind)].sum(dim=1)


Condition = Callable[[Facts], Tensor]
"""What may hold of a thing. Returns: bool (n, slots)."""

Rule = Callable[[Facts], Tensor]
"""What may hold of a scene. Returns: bool (n,)."""


class Task(NamedTuple):
    """A yes/no question about a scene. family: the tasks that are about the same."""

    family: str
    rule: Rule


def _left(facts: Facts) -> Tensor:
    return facts.world.x * 5 < facts.world.size * 2


def _right(facts: Facts) -> Tensor:
    return facts.world.x * 5 >= facts.world.size * 3


def _near(facts: Facts) -> Tensor:
    return facts.world.distance <= 3


def _far(facts: Facts) -> Tensor:
    return facts.world.distance >= 4


def _look(*looks: int) -> Condition:
    return lambda facts: _among(facts.world.look, looks)


def _colour(*choices: int, part: int = 0, of: int = CHOICES) -> Condition:
    """The thing's part has one of these colours, of the `of` that there are."""
    return lambda facts: _among(facts.world.choice[..., part] % of, choices)


def _among(numbers: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """Which numbers are wanted ones. Returns: bool, the shape of `numbers`."""
    return torch.isin(numbers, torch.tensor(wanted, device=numbers.device))


def _some(kind: str, *conditions: Condition, least: int = 1) -> Rule:
    return lambda facts: facts.count(kind, *conditions) >= least


def _scene(name: str, *values: int) -> Rule:
    return lambda facts: _among(facts.world.scene[name], values)


def _all(*rules: Rule) -> Rule:
    return lambda facts: torch.stack([rule(facts) for rule in rules]).all(dim=0)


def _any(*rules: Rule) -> Rule:
    return lambda facts: torch.stack([rule(facts) for rule in rules]).any(dim=0)


def _not(rule: Rule) -> Rule:
    return lambda facts: ~rule(facts)


def _tasks() -> dict[str, Task]:
    where = {"on the left": _left, "on the right": _right, "near": _near, "far": _far}
    families = {
        "pedestrian": "pedestrians",
        "car": "cars",
        "stop sign": "stop signs",
        "traffic light": "traffic lights",
        "cyclist": "cyclists",
        "round sign": "look-alikes",
        "yellow diamond": "look-alikes",
        "lamp post": "look-alikes",
        "mailbox": "look-alikes",
        "building": "buildings",
        "tree": "trees",
        "cloud": "sky",
    }
    tasks = {kind: Task(family, _some(kind)) for kind, family in families.items()}
    for kind, family in families.items():
        for name, condition in where.items():
            if kind not in ("lamp post", "building", "tree", "cloud") or name.startswith("on"):
                tasks[f"{kind} {name}"] = Task(family, _some(kind, condition))

    def add(family: str, **rules: Rule) -> None:
        for name, rule in rules.items():
            tasks[name.replace("_", " ")] = Task(family, rule)

    add(
        "pedestrians",
        two_pedestrians=_some("pedestrian", least=2),
        exactly_one_pedestrian=_all(_some("pedestrian"), _not(_some("pedestrian", least=2))),
        child=_some("pedestrian", _look(3)),
        adult=_some("pedestrian", _look(0, 1, 2)),
        pedestrian_who_stands=_some("pedestrian", _look(0)),
        pedestrian_in_dark_clothes=_some("pedestrian", _colour(2, 4, 5, 7)),
        pedestrian_in_bright_clothes=_some("pedestrian", _colour(0, 1, 3, 6)),
        pedestrian_on_the_road=_some("pedestrian", _on_the_road),
        pedestrian_beside_the_road=_some("pedestrian", lambda facts: ~_on_the_road(facts)),
    )
    add(
        "cars",
        two_cars=_some("car", least=2),
        exactly_one_car=_all(_some("car"), _not(_some("car", least=2))),
        red_car=_some("car", _colour(0, 1)),
        blue_car=_some("car", _colour(2, 3)),
        white_car=_some("car", _colour(4, 5)),
        car_from_the_side=_some("car", _look(2, 3)),
        car_from_the_end=_some("car", _look(0, 1)),
        van=_some("car", _look(1)),
        car_that_comes_towards_us=_some("car", _look(0, 1), _colour(0, part=3, of=2)),
        car_that_drives_ahead=_some("car", _look(0, 1), _colour(1, part=3, of=2)),
    )
    add(
        "traffic lights",
        red_light=_some("traffic light", _look(0)),
        yellow_light=_some("traffic light", _look(1)),
        green_light=_some("traffic light", _look(2)),
        light_that_is_not_green=_some("traffic light", _look(0, 1)),
    )
    add(
        "cyclists",
        cyclist_who_rides_to_the_left=_some("cyclist", _look(0)),
        cyclist_who_rides_to_the_right=_some("cyclist", _look(1)),
        cyclist_in_dark_clothes=_some("cyclist", _colour(2, 4, 5, 7)),
    )
    add(
        "look-alikes",
        round_sign_or_stop_sign=_any(_some("round sign"), _some("stop sign")),
        any_look_alike=_any(_some("round sign"), _some("yellow diamond"), _some("mailbox")),
    )
    add(
        "buildings",
        two_buildings=_some("building", least=2),
        house_with_a_gable=_some("building", _look(0)),
        tower=_some("building", _look(2)),
        lit_windows=_some("building", _colour(0, part=1, of=2)),
        brick_building=_some("building", _colour(0, 1)),
    )
    add(
        "trees",
        two_trees=_some("tree", least=2),
        round_tree=_some("tree", _look(0)),
        conifer=_some("tree", _look(1)),
        tree_in_autumn=_some("tree", _colour(3, of=4)),
    )
    add(
        "road",
        road_bends_left=_scene("bend", 0, 1),
        road_bends_right=_scene("bend", 3, 4),
        road_is_straight=_scene("bend", 2),
        wide_road=_scene("width", 1),
        line_on_the_road=_scene("line", 1),
        kerb=_scene("kerb", 1),
        high_horizon=_scene("horizon", 0),
        snow=_scene("earth", 2),
        grass=_scene("earth", 0),
        paved_ground=_scene("earth", 3),
    )
    add(
        "sky",
        night=_scene("time", 2),
        day=_scene("time", 0),
        dusk=_scene("time", 1),
        fog=_scene("fog", 1, 2),
        thick_fog=_scene("fog", 2),
        noisy_picture=_scene("noise", 2),
        sun_or_moon=_some("sun"),
        clear_day=_all(_scene("time", 0), _scene("fog", 0)),
    )
    add(
        "traffic",
        more_pedestrians_than_cars=lambda f: f.count("pedestrian") > f.count("car"),
        pedestrian_and_car=_all(_some("pedestrian"), _some("car")),
        anyone_on_foot_or_bicycle=_any(_some("pedestrian"), _some("cyclist")),
        neither_pedestrian_nor_car=_not(_any(_some("pedestrian"), _some("car"))),
        must_stop=_any(_some("stop sign"), _some("traffic light", _look(0))),
        pedestrian_after_sunset=_all(_some("pedestrian"), _scene("time", 1, 2)),
        something_is_hidden=_hidden,
        many_things=lambda f: f.seen.sum(dim=1) >= 8,
    )
    # New tasks are added here, behind those of which lesson 05's stored companions were drawn.
    return tasks


def _on_the_road(facts: Facts) -> Tensor:
    """Things whose slot is in the road; the same for every scene. Returns: bool (1, slots)."""
    road = [slot.aside[1] <= 66 for slot in SLOTS]
    return torch.tensor([road], device=facts.seen.device)


def _hidden(facts: Facts) -> Tensor:
    """A pedestrian, car or cyclist stands in the picture, and too little of it can be seen."""
    inside = (facts.world.x >= 0) & (facts.world.x < facts.world.size)
    lost = facts.world.there & inside & ~facts.seen
    slots = [*slots_of("pedestrian"), *slots_of("car"), *slots_of("cyclist")]
    return lost[:, slots].any(dim=1)


TASKS: dict[str, Task] = _tasks()
"""Every task by name: the lecture's four first."""

SETTLED = tuple(TASKS)[:115]
"""The tasks that rows in ``assets`` were drawn from; those that came later stand behind them."""

THE_FOUR = ("pedestrian", "car", "stop sign", "traffic light")
"""The lecture's tasks: y = (pedestrians, cars, stop signs, traffic lights)."""
