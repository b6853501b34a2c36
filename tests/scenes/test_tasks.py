"""Guards scenes._tasks: answers are what can be seen, and what the facts say."""

import pandas as pd
import pytest
from scene_helpers import colors

from mtl_course import networks, training
from mtl_course.scenes import TASKS, THE_FOUR, VISIBLE, _drawing, _world, draw, facts
from mtl_course.scenes._sprites import KINDS


@pytest.fixture(scope="module")
def many():
    """Facts and labels of the same 3,000 scenes."""
    data = draw(3000, seed=5, tasks=list(TASKS), jobs=1)
    labels = pd.DataFrame(data.labels.numpy().astype(bool), columns=data.tasks)
    table = facts(3000, seed=5)
    assert set(table["scene"]) == set(range(3000)), "this test wants scenes that hold something"
    return table, labels


def test_there_are_a_hundred_tasks_in_families_the_lectures_first():
    assert tuple(TASKS)[:4] == THE_FOUR == ("pedestrian", "car", "stop sign", "traffic light")
    assert len(TASKS) >= 100
    assert not [name for name in TASKS if "_" in name or name != name.strip()]
    families = pd.Series({name: task.family for name, task in TASKS.items()})
    assert len(families.unique()) >= 8
    assert families.value_counts().min() >= 4, families.value_counts().to_dict()
    assert len({families[task] for task in THE_FOUR}) == 4
    assert families["red light"] == families["traffic light"]


def test_both_answers_of_every_task_are_common():
    labels = draw(20_000, seed=11, tasks=list(TASKS)).labels
    often = labels.double().mean(dim=0)
    rare = {t: round(p, 3) for t, p in zip(TASKS, often.tolist(), strict=True) if not 0.1 < p < 0.9}
    assert not rare
    assert len({column.numpy().tobytes() for column in labels.T}) == len(TASKS), "two are the same"


def per_scene(table, mask):
    """How many rows of the mask each scene has."""
    return table[mask].groupby("scene").size().reindex(range(3000), fill_value=0)


RULES = {
    **{kind: (lambda f, k=kind: f["thing"] == k, 1) for kind in KINDS if kind != "sun"},
    "sun or moon": (lambda f: f["thing"] == "sun", 1),
    "two cars": (lambda f: f["thing"] == "car", 2),
    "two pedestrians": (lambda f: f["thing"] == "pedestrian", 2),
    "two trees": (lambda f: f["thing"] == "tree", 2),
    "car on the left": (lambda f: (f["thing"] == "car") & (f["x"] < 0.4 * 32), 1),
    "cyclist on the right": (lambda f: (f["thing"] == "cyclist") & (f["x"] >= 0.6 * 32), 1),
    "stop sign near": (lambda f: (f["thing"] == "stop sign") & (f["distance"] <= 3), 1),
    "traffic light far": (lambda f: (f["thing"] == "traffic light") & (f["distance"] > 3), 1),
    "red light": (lambda f: (f["thing"] == "traffic light") & (f["look"] == 0), 1),
    "green light": (lambda f: (f["thing"] == "traffic light") & (f["look"] == 2), 1),
    "light that is not green": (lambda f: (f["thing"] == "traffic light") & (f["look"] != 2), 1),
    "child": (lambda f: (f["thing"] == "pedestrian") & (f["look"] == 3), 1),
    "car from the side": (lambda f: (f["thing"] == "car") & (f["look"] >= 2), 1),
    "conifer": (lambda f: (f["thing"] == "tree") & (f["look"] == 1), 1),
    "round sign or stop sign": (lambda f: f["thing"].isin(["round sign", "stop sign"]), 1),
    "must stop": (
        lambda f: (
            (f["thing"] == "stop sign") | ((f["thing"] == "traffic light") & (f["look"] == 0))
        ),
        1,
    ),
    "pedestrian after sunset": (lambda f: (f["thing"] == "pedestrian") & (f["time"] != "day"), 1),
    "many things": (lambda f: f["seen"], 8),
}


@pytest.mark.parametrize("task", RULES)
def test_an_answer_is_what_the_facts_say(many, task):
    table, labels = many
    rule, least = RULES[task]
    want = per_scene(table, rule(table) & table["seen"]) >= least
    assert (labels[task] == want).all()


def test_answers_about_a_whole_scene_are_what_the_facts_say(many):
    table, labels = many
    scene = table.groupby("scene")[["time", "fog"]].first()
    for name in ("day", "dusk", "night"):
        assert (labels[name] == (scene["time"] == name)).all()
    assert (labels["fog"] == (scene["fog"] > 0)).all()
    assert (labels["thick fog"] == (scene["fog"] == 2)).all()
    count = {
        kind: per_scene(table, (table["thing"] == kind) & table["seen"])
        for kind in ("pedestrian", "car")
    }
    assert (labels["more pedestrians than cars"] == (count["pedestrian"] > count["car"])).all()
    neither = (count["pedestrian"] == 0) & (count["car"] == 0)
    assert (labels["neither pedestrian nor car"] == neither).all()
    assert (labels["exactly one car"] == (count["car"] == 1)).all()
    moving = table["thing"].isin(["pedestrian", "car", "cyclist"])
    hidden = moving & ~table["seen"] & table["x"].between(0, 31)
    assert (labels["something is hidden"] == (per_scene(table, hidden) > 0)).all()


COLORS = {  # which colors of red, green, blue a task is about, and of which part of what
    "red car": ("car", 0, lambda r, g, b: r > 2 * max(g, b)),
    "blue car": ("car", 0, lambda r, g, b: b > 1.4 * max(r, g)),
    "white car": ("car", 0, lambda r, g, b: min(r, g, b) > 210),
    "pedestrian in dark clothes": ("pedestrian", 0, lambda r, g, b: r + g + b < 300 and r < 100),
    "lit windows": ("building", 1, lambda r, g, b: r > 200),
    "tree in autumn": ("tree", 0, lambda r, g, b: r > g),
    "brick building": ("building", 0, lambda r, g, b: r > 1.6 * b and g < 100),
}


def test_answers_about_colors_mean_the_colors_that_are_painted(many):
    _, labels = many
    ((_, _, piece), *rest) = _drawing._pieces(500, 5, 0, 32, "cpu", 1)
    assert not rest
    for task, (kind, part, is_meant) in COLORS.items():
        choices = colors(kind, part)
        slots = _world.slots_of(kind)
        choice, seen = piece.world.choice[:, slots, part], piece.seen[:, slots]
        want = [
            any(
                s and is_meant(*choices[c % len(choices)])
                for c, s in zip(row, visible, strict=True)
            )
            for row, visible in zip(choice.tolist(), seen.tolist(), strict=True)
        ]
        assert labels[task][:500].tolist() == want, task


@pytest.mark.parametrize(("size", "least"), [(32, 7), (64, 28), (48, 16), (16, 2)])
def test_a_thing_is_seen_from_the_stated_number_of_pixels(size, least):
    table = facts(300, seed=5, size=size)
    assert VISIBLE == 7
    assert (table["seen"] == (table["pixels"] >= least)).all()
    assert {least - 1, least} <= set(table["pixels"]), "no thing is at the border"
    labels = draw(300, seed=5, size=size).labels
    for column, task in enumerate(THE_FOUR):
        seen = table[(table["thing"] == task) & (table["pixels"] >= least)]["scene"]
        assert labels[:, column].nonzero()[:, 0].tolist() == sorted(set(seen)), task


def test_a_stop_sign_detector_is_not_fooled_by_round_signs():
    # With 5,000 scenes and seeds 0, 1, 2, over 20,000 fresh scenes: stop signs found 0.84 to 0.87;
    # false alarms 0.048, 0.080, 0.083 where there is a round sign, 0.010, 0.007, 0.009 where there
    # is neither. So a round sign does count, but far from what "something red on a pole" would do.
    data = draw(5000, seed=1, tasks=("stop sign",))
    network = networks.shared(data.tasks, width=8, seed=1)
    quick = {"device": "cpu", "precision": "float32", "progress": False}
    training.fit(network, data, steps=400, batch_size=64, learning_rate=1e-2, seed=1, **quick)
    fresh, table = draw(6000, seed=77, tasks=("stop sign",)), facts(6000, seed=77)
    says_yes = (training.predict(network, fresh, "cpu", "float32")[:, 0] > 0).numpy()
    pixels = {
        kind: table[table["thing"] == kind].set_index("scene")["pixels"].reindex(range(6000))
        for kind in ("stop sign", "round sign")
    }
    stop, round_sign = (pixels[kind].fillna(0).to_numpy() for kind in pixels)
    found = says_yes[stop >= VISIBLE].mean()
    fooled = says_yes[(stop == 0) & (round_sign >= VISIBLE)].mean()
    neither = says_yes[(stop == 0) & (round_sign == 0)].mean()
    rates = f"found {found:.3f}, fooled {fooled:.3f}, alarms at neither {neither:.3f}"
    assert found > 0.75, rates
    assert fooled < 0.16, rates
    assert neither < 0.03, rates
    assert neither < fooled, f"a round sign should be harder than none: {rates}"
