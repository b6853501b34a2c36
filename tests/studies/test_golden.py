"""Guards mtl_course.studies.golden: deaf to rounding, and alert to every change of training."""

import contextlib
import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from notebook_files import ROOT
from torch import nn
from toy_study import unchanged

from mtl_course import base, datasets, losses
from mtl_course.datasets import _digits
from mtl_course.networks import _network
from mtl_course.studies import golden, spectrograms
from mtl_course.training import _fit, _run

WORLDS = sorted(golden.WORLDS)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A copy of the stored runs, which the test may change."""
    copy = tmp_path / "golden.json"
    copy.write_bytes(golden.FILE.read_bytes())
    monkeypatch.setattr(golden, "FILE", copy)
    return copy


# ---------------------------------------------------------------------- what is stored


@pytest.mark.parametrize("world", WORLDS)
def test_the_golden_run_is_repeatable(world):
    assert golden.run(world) == unchanged(world)
    assert np.isfinite(list(unchanged(world).values())).all()


@pytest.mark.parametrize("world", WORLDS)
def test_the_golden_run_agrees_with_the_one_in_assets(world):
    assert golden.differences(world) == [], (
        f"drawing, training or evaluating of {world} has changed. If that was meant, run "
        "`python -m mtl_course studies --golden` and train the shipped rows again."
    )
    assert golden.digest(world) == golden.stored(world)


def test_reading_the_stored_digest_trains_nothing(monkeypatch, clear):
    clear()
    monkeypatch.setattr(golden, "run", None)
    assert [len(golden.stored(world)) for world in WORLDS] == [8, 8, 8]


def test_differences_name_the_number_and_both_values(file):
    content = json.loads(file.read_text(encoding="utf-8"))
    numbers = content["scenes"]["numbers"]
    name = "shared: loss at step 2"
    here = numbers[name]
    numbers[name] = 1.01 * here
    lost = numbers.pop("softmax: loss at step 0")
    numbers["of old"] = 1.0
    file.write_text(json.dumps(content), encoding="utf-8")
    assert golden.differences("scenes") == [
        f"scenes, {name}: {here:.6g} here, {1.01 * here:.6g} stored",
        "scenes, of old: nan here, 1 stored",
        f"scenes, softmax: loss at step 0: {lost:.6g} here, nan stored",
    ]
    assert golden.digest("scenes") != golden.stored("scenes")
    assert golden.differences("digits") == []


def test_a_number_that_is_none_differs(monkeypatch, clear):
    broken = dict.fromkeys(unchanged("digits"), float("nan"))
    clear()
    monkeypatch.setattr(golden, "run", lambda world: broken)
    assert len(golden.differences("digits")) == len(broken)


@pytest.mark.parametrize(("factor", "agrees"), [(0.9995, True), (1.0005, True), (1.003, False)])
def test_the_digest_forgives_what_differs_between_processors(scaled, factor, agrees):
    scaled(dict.fromkeys(WORLDS, factor))
    for world in WORLDS:
        assert (golden.differences(world) == []) == agrees, world
        assert (golden.digest(world) == golden.stored(world)) == agrees, world


def test_a_run_that_fails_is_not_remembered(monkeypatch, clear):
    clear()
    with monkeypatch.context() as patch:
        patch.setattr(_run, "_WARM_UP", None)
        with pytest.raises(TypeError):
            golden.differences("scenes")
    assert golden.differences("scenes") == []


@pytest.mark.parametrize("world", WORLDS)
def test_an_interrupted_run_is_not_remembered(monkeypatch, clear, world):
    """`training.fit` would end with half a history, which must not pass for a change."""
    clear()
    step, steps = _fit.step, iter(range(100))

    def interrupted(run):
        if next(steps) == 9:
            raise KeyboardInterrupt
        step(run)

    with monkeypatch.context() as patch:
        patch.setattr(_fit, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            golden.differences(world)
    assert golden.differences(world) == []


# ---------------------------------------------------------------------- writing


def test_writing_the_golden_run_makes_it_the_known_one(file):
    file.unlink()
    digests = golden.write()
    content = json.loads(file.read_text(encoding="utf-8"))
    assert sorted(digests) == WORLDS
    assert len(set(digests.values())) == len(WORLDS), "worlds must have digests of their own"
    for world in WORLDS:
        assert content[world]["digest"] == digests[world] == golden.digest(world)
        assert content[world]["numbers"] == pytest.approx(unchanged(world), rel=1e-5)


def test_writing_the_golden_run_keeps_the_runs_that_agree(file, scaled):
    before = json.loads(file.read_text(encoding="utf-8"))
    old = {world: golden.digest(world) for world in WORLDS}
    scaled({"digits": 1.0003, "scenes": 0.9997})
    assert golden.write() == old
    assert json.loads(file.read_text(encoding="utf-8")) == before
    scaled({"scenes": 1.02})
    new = golden.write()
    after = json.loads(file.read_text(encoding="utf-8"))
    assert new["scenes"] == after["scenes"]["digest"] != old["scenes"]
    assert golden.digest("scenes") == new["scenes"]
    assert after.pop("scenes") != before.pop("scenes")
    assert after == before, "rows of other worlds would be stale for nothing"


# ---------------------------------------------------------------------- deaf to rounding


OLDEST = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}
NEWER = [
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"ATEN_CPU_CAPABILITY": "avx512", "MKL_CBWR": "AVX512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"},
]
RUNS = """
import json, sys
from mtl_course.studies import golden
print(json.dumps({world: golden.run(world) for world in sys.argv[1:]}))
"""


# The tests of this file run on whatever processor this is; the oldest is furthest from it.
@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [OLDEST, *(pytest.param(setting, marks=pytest.mark.full) for setting in NEWER)],
    ids=lambda setting: " ".join(setting.values()),
)
def test_processors_agree_far_within_the_tolerance(setting):
    """With AMX, without it, and far less; a processor that lacks some takes what it has."""
    done = subprocess.run(
        [sys.executable, "-c", RUNS, *WORLDS],
        env={**os.environ, **setting}, cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    known = json.loads(golden.FILE.read_text(encoding="utf-8"))
    for world, numbers in json.loads(done.stdout).items():
        assert numbers == pytest.approx(known[world]["numbers"], rel=golden._TOLERANCE / 10), world


@pytest.mark.parametrize("world", WORLDS)
def test_a_rounding_error_does_not_grow(world):
    """Even where each layer's output is off by as much as float32 can round a sum."""
    generator, calm = torch.Generator().manual_seed(0), unchanged(world)

    def off(layer, inputs, output):
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            size = output.detach().square().mean().sqrt()
            return output + 3e-7 * size * torch.randn(output.shape, generator=generator)
        return None

    hook = nn.modules.module.register_module_forward_hook(off)
    try:
        rounded = golden.run(world)
    finally:
        hook.remove()
    assert rounded != calm
    assert rounded == pytest.approx(calm, rel=golden._TOLERANCE / 5)


# ---------------------------------------------------------------------- alert to changes


def adamw(**changed):
    made = torch.optim.AdamW
    return torch.optim, "AdamW", lambda *given, **settings: made(*given, **settings | changed)


def larger(kind):
    drawn = kind.reset_parameters

    def reset(layer):
        drawn(layer)
        with torch.no_grad():
            layer.weight.mul_(1.1)

    return kind, "reset_parameters", reset


CHANGES = {
    "a longer warm-up": lambda: (_run, "_WARM_UP", 0.2),
    "a shorter warm-up": lambda: (_run, "_WARM_UP", 0.05),
    "no weight decay": lambda: (_run, "_WEIGHT_DECAY", 0.0),
    "twice the weight decay": lambda: (_run, "_WEIGHT_DECAY", 2e-4),
    "a constant rate": lambda: (_run, "_schedule", lambda at, steps: 1.0),
    "a shorter memory of gradients": lambda: adamw(betas=(0.85, 0.999)),
    "another order of batches": lambda: (_run, "derive_seed", lambda seed, role: seed),
    "a shorter memory of statistics": lambda: (
        nn, "BatchNorm2d", functools.partial(nn.BatchNorm2d, momentum=0.11)),
    "larger first weights in the trunk": lambda: larger(nn.Conv2d),
    "larger first weights in the head": lambda: larger(nn.Linear),
    "other first weights": lambda: (_network, "derive_seed", lambda seed, role: seed),
}  # fmt: skip


PICTURES = [functools.cache(f) for f in (datasets.printed_digits, datasets.handwritten_digits)]


@pytest.fixture
def drawn_once(monkeypatch):
    """Keeps pictures of digits, which take most of the time of a golden run, for the next test."""
    for draw in PICTURES:
        monkeypatch.setattr(datasets, draw.__name__, draw)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_training_shows_in_every_world(drawn_once, monkeypatch, change, world):
    monkeypatch.setattr(*CHANGES[change]())
    assert farthest(world) > 10 * golden._TOLERANCE


def farthest(world):
    """The largest relative deviation from the golden run of unchanged training."""
    known = json.loads(golden.FILE.read_text(encoding="utf-8"))[world]["numbers"]
    return max(abs(x / known[name] - 1) for name, x in golden.run(world).items())


def zeros_for_unknown(logits, labels):
    return SUMS(logits, labels.clamp(min=0))


SUMS = losses.multi_task_sums


@pytest.mark.parametrize(
    ("world", "change"),
    [
        ("digits", (_digits, "_PAPER", 16)),
        ("scenes", (losses, "multi_task_sums", zeros_for_unknown)),
        ("dials", (spectrograms, "RATE", 4_200)),
        ("dials", (spectrograms, "_QUIET", 48.0)),
        (
            "dials",
            (spectrograms, "derive_seed", lambda seed, role: base.derive_seed(seed + 1, role)),
        ),
    ],
    ids=["paper", "unknown labels", "pitch", "loudness", "other sounds"],
)
def test_a_change_of_one_world_shows_there_and_not_elsewhere(monkeypatch, world, change):
    other = "scenes" if world != "scenes" else "digits"
    before = unchanged(other)
    monkeypatch.setattr(*change)
    assert farthest(world) > 10 * golden._TOLERANCE
    assert golden.run(other) == before, "rows of another world would be stale for nothing"


def test_the_golden_run_is_the_same_on_another_default_device():
    with contextlib.ExitStack() as after:
        after.callback(torch.set_default_device, None)
        torch.set_default_device("meta")
        assert golden.run("scenes") == unchanged("scenes")
