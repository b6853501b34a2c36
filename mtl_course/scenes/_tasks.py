"""What can be asked about a driving scene: more than a hundred yes/no tasks, in families."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mtl_course.scenes._sprites import KINDS
from mtl_course.scenes._world import SLOTS, World, slots_of

VISIBLE = 7
"""Pixels in which a thing must be seen for the answer 1, of 32 × 32; that share of other sizes."""


class Facts(NamedTuple):
    """The facts of n scenes: the world, and how many pixels of its things are seen, (n, slots)."""

    world: World
    pixels: Tensor

    @property
    def seen(self) -> Tensor:
        """Whether at least `VISIBLE` pixels of a thing can be seen, bool (n, slots)."""
        return self.pixels * 32 * 32 >= VISIBLE * self.world.size**2

    def count(self, kind: str, condition: Tensor | bool = True) -> Tensor:
        """Return how many things of this kind that meet the condition are seen, int64 (n,)."""
        return (self.seen & condition)[:, slots_of(kind)].sum(dim=1)

    def has(self, kind: str, condition: Tensor | bool = True) -> Tensor:
        """Return whether a thing of this kind that meets the condition is seen, bool (n,)."""
        return self.count(kind, condition) >= 1

    def scene(self, name: str, *values: int) -> Tensor:
        """Return whether a fact of the scene (`World.scene`) has one of `values`, bool (n,)."""
        return _among(self.world.scene[name], values)

    def look(self, *looks: int) -> Tensor:
        """Return which things have one of these looks in `_sprites.KINDS`, bool (n, slots)."""
        return _among(self.world.look, looks)

    def color(self, *choices: int, part: int = 0) -> Tensor:
        """Return which things' part has one of these colors (`World.choice`), bool (n, slots)."""
        return _among(self.world.choice[..., part], choices)

    def on_the_road(self) -> Tensor:
        """Return which slots are in the road, the same for every scene, bool (1, slots)."""
        return torch.tensor([[slot.outer <= 66 for slot in SLOTS]], device=self.pixels.device)

    def hidden(self, *kinds: str) -> Tensor:
        """Return whether such a thing stands in the picture and too little is seen, bool (n,)."""
        hidden = ~self.seen & self.world.present
        hidden &= (self.world.x >= 0) & (self.world.x < self.world.size)
        return torch.stack([hidden[:, slots_of(kind)].any(dim=1) for kind in kinds]).any(dim=0)


def _among(numbers: Tensor, wanted: tuple[int, ...]) -> Tensor:
    return torch.isin(numbers, torch.tensor(wanted, device=numbers.device))


class Task(NamedTuple):
    """A yes/no question about a scene."""

    family: str  # tasks about the same subject
    rule: Callable[[Facts], Tensor]  # returns bool (n,)


_PLACES: dict[str, Callable[[World], Tensor]] = {
    "on the left": lambda world: world.x * 5 < world.size * 2,
    "on the right": lambda world: world.x * 5 >= world.size * 3,
    "near": lambda world: world.distance <= 3,
    "far": lambda world: world.distance >= 4,
}
_LOOK_ALIKES = ("round sign", "yellow diamond", "lamp post", "mailbox")
_FAMILIES = {"cloud": "sky"} | dict.fromkeys(_LOOK_ALIKES, "look-alikes")  # of others, the plural

_RULES: dict[str, dict[str, Callable[[Facts], Tensor]]] = {
    "pedestrians": {
        "two pedestrians": lambda f: f.count("pedestrian") >= 2,
        "exactly one pedestrian": lambda f: f.count("pedestrian") == 1,
        "child": lambda f: f.has("pedestrian", f.look(3)),
        "adult": lambda f: f.has("pedestrian", f.look(0, 1, 2)),
        "pedestrian who stands": lambda f: f.has("pedestrian", f.look(0)),
        "pedestrian in dark clothes": lambda f: f.has("pedestrian", f.color(2, 4, 5, 7)),
        "pedestrian in bright clothes": lambda f: f.has("pedestrian", f.color(0, 1, 3, 6)),
        "pedestrian on the road": lambda f: f.has("pedestrian", f.on_the_road()),
        "pedestrian beside the road": lambda f: f.has("pedestrian", ~f.on_the_road()),
    },
    "cars": {
        "two cars": lambda f: f.count("car") >= 2,
        "exactly one car": lambda f: f.count("car") == 1,
        "red car": lambda f: f.has("car", f.color(0, 1)),
        "blue car": lambda f: f.has("car", f.color(2, 3)),
        "white car": lambda f: f.has("car", f.color(4, 5)),
        "car from the side": lambda f: f.has("car", f.look(2, 3)),
        "car from the end": lambda f: f.has("car", f.look(0, 1)),
        "van": lambda f: f.has("car", f.look(1)),
        "car that comes towards us": lambda f: f.has("car", f.look(0, 1) & f.color(0, part=3)),
        "car that drives ahead": lambda f: f.has("car", f.look(0, 1) & f.color(1, part=3)),
    },
    "traffic lights": {
        "red light": lambda f: f.has("traffic light", f.look(0)),
        "yellow light": lambda f: f.has("traffic light", f.look(1)),
        "green light": lambda f: f.has("traffic light", f.look(2)),
        "light that is not green": lambda f: f.has("traffic light", f.look(0, 1)),
    },
    "cyclists": {
        "cyclist who rides to the left": lambda f: f.has("cyclist", f.look(0)),
        "cyclist who rides to the right": lambda f: f.has("cyclist", f.look(1)),
        "cyclist in dark clothes": lambda f: f.has("cyclist", f.color(2, 4, 5, 7)),
    },
    "look-alikes": {
        "round sign or stop sign": lambda f: f.has("round sign") | f.has("stop sign"),
        "any look alike": lambda f: (
            f.has("round sign") | f.has("yellow diamond") | f.has("mailbox")
        ),
    },
    "buildings": {
        "two buildings": lambda f: f.count("building") >= 2,
        "house with a gable": lambda f: f.has("building", f.look(0)),
        "tower": lambda f: f.has("building", f.look(2)),
        "lit windows": lambda f: f.has("building", f.color(0, 2, 4, 6, part=1)),
        "brick building": lambda f: f.has("building", f.color(0, 1)),
    },
    "trees": {
        "two trees": lambda f: f.count("tree") >= 2,
        "round tree": lambda f: f.has("tree", f.look(0)),
        "conifer": lambda f: f.has("tree", f.look(1)),
        "tree in autumn": lambda f: f.has("tree", f.color(3, 7)),
    },
    "road": {
        "road bends left": lambda f: f.scene("bend", 0, 1),
        "road bends right": lambda f: f.scene("bend", 3, 4),
        "road is straight": lambda f: f.scene("bend", 2),
        "wide road": lambda f: f.scene("width", 1),
        "line on the road": lambda f: f.scene("line", 1),
        "kerb": lambda f: f.scene("kerb", 1),
        "high horizon": lambda f: f.scene("horizon", 0),
        "snow": lambda f: f.scene("earth", 2),
        "grass": lambda f: f.scene("earth", 0),
        "paved ground": lambda f: f.scene("earth", 3),
    },
    "sky": {
        "night": lambda f: f.scene("time", 2),
        "day": lambda f: f.scene("time", 0),
        "dusk": lambda f: f.scene("time", 1),
        "fog": lambda f: f.scene("fog", 1, 2),
        "thick fog": lambda f: f.scene("fog", 2),
        "noisy picture": lambda f: f.scene("noise", 2),
        "sun or moon": lambda f: f.has("sun"),
        "clear day": lambda f: f.scene("time", 0) & f.scene("fog", 0),
    },
    "traffic": {
        "more pedestrians than cars": lambda f: f.count("pedestrian") > f.count("car"),
        "pedestrian and car": lambda f: f.has("pedestrian") & f.has("car"),
        "anyone on foot or bicycle": lambda f: f.has("pedestrian") | f.has("cyclist"),
        "neither pedestrian nor car": lambda f: ~(f.has("pedestrian") | f.has("car")),
        "must stop": lambda f: f.has("stop sign") | f.has("traffic light", f.look(0)),
        "pedestrian after sunset": lambda f: f.has("pedestrian") & f.scene("time", 1, 2),
        "something is hidden": lambda f: f.hidden("pedestrian", "car", "cyclist"),
        "many things": lambda f: f.seen.sum(dim=1) >= 8,
    },
}

TASKS: dict[str, Task] = {
    kind: Task(_FAMILIES.get(kind, f"{kind}s"), lambda f, kind=kind: f.has(kind))
    for kind in KINDS
    if kind != "sun"  # "sun or moon" asks about it
}
"""Every task by name: the lecture's four first."""

TASKS |= {
    f"{kind} {place}": Task(family, lambda f, kind=kind, meets=meets: f.has(kind, meets(f.world)))
    for kind, (family, _) in TASKS.items()
    for place, meets in _PLACES.items()
    if kind not in ("lamp post", "building", "tree", "cloud") or place.startswith("on")
}
TASKS |= {name: Task(family, rule) for family in _RULES for name, rule in _RULES[family].items()}

SETTLED = tuple(TASKS)
"""The tasks that rows in ``assets`` were drawn from; those that came later stand behind them."""

TASKS |= {
    # New tasks are added here: "name": Task("family", lambda f: …),
}

THE_FOUR = ("pedestrian", "car", "stop sign", "traffic light")
"""The lecture's tasks: y = (pedestrians, cars, stop signs, traffic lights)."""
