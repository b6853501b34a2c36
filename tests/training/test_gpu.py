"""Guards the path on a GPU: it gives what a CPU gives. The rest of it is in the files of the parts.

    python -m pytest -m gpu

Where there is no Jupyter, ``-o addopts=`` leaves out what only notebooks need. Without a GPU the
pretended tensors of test_devices.py and the CPU runs of test_side_by_side.py stand in.
"""

import pandas as pd
import pytest
import torch
from test_side_by_side import KINDS, RUN

from mtl_course import networks, studies, training
from mtl_course.base import HOME
from mtl_course.studies import lesson_01_digits

DEVICE = "cuda"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_networks_in_one_pass_learn_what_each_learns_alone_on_the_cpu(kind):
    build, make = KINDS[kind]
    data, seeds = [make(m, seed=m) for m in (21, 13, 4)], [5, 6, 7]
    alone, together = ([build(seed) for seed in range(3)] for _ in range(2))
    want = [
        training.fit(network, own, seed=seed, device="cpu", progress=False, **RUN)
        for network, own, seed in zip(alone, data, seeds, strict=True)
    ]
    found = training.fit_many(together, data, seeds=seeds, device=DEVICE, progress=False, **RUN)
    for network, other, history, expected in zip(together, alone, found, want, strict=True):
        pd.testing.assert_frame_equal(history, expected, rtol=1e-2, atol=1e-3)
        for name, value in other.state_dict().items():
            assert network.state_dict()[name].device.type == "cpu", "it did not come back"
            assert torch.allclose(network.state_dict()[name], value, rtol=5e-2, atol=1e-2), name


@pytest.mark.parametrize("make", [networks.shared, networks.separate])
def test_one_seed_is_one_network_where_the_gpu_is_torchs_default_too(make):
    want = make(["car", "sign"], width=2, seed=3)
    with torch.device(DEVICE):
        network = make(["car", "sign"], width=2, seed=3)
    assert all(
        torch.equal(one, other)
        for one, other in zip(network.parameters(), want.parameters(), strict=True)
    )


def of_the_cell(rows, cell):
    return rows[pd.concat([rows[key] == value for key, value in cell.items()], axis=1).all(axis=1)]


def steadiest(name):
    """The cell whose score differs least from seed to seed, of those that are soon trained.

    It learns something from an A where the study has one. Returns: the cell and its shipped rows.
    """
    rows, chosen = pd.read_csv(studies.SHIPPED / f"{name}.csv"), studies.STUDIES[name]
    rows = rows[rows[chosen.score].notna()]
    untrained = (lesson_01_digits.MACHINE, lesson_01_digits.ZERO_SHOT)
    cells = [
        cell
        for cell in chosen.grid
        if cell.get("way") not in untrained
        and not any(cell[key] == value for key, value in chosen.blank.items())
    ]
    parts = [(cell, own) for cell in cells if len(own := of_the_cell(rows, cell)) > 1]

    def seconds(part):
        return (part[1]["seconds"] + part[1]["source_seconds"]).mean()

    soon = 3 * min(map(seconds, parts))
    soon_trained = [part for part in parts if seconds(part) <= soon]
    return min(soon_trained, key=lambda part: part[1][chosen.score].std(ddof=1))


@pytest.mark.parametrize("name", studies.STUDIES)
def test_a_row_of_each_study_is_one_that_a_cpu_might_have_given(name, tmp_path):
    """Of two seeds side by side, each as near to the CPU's as seeds lie to each other."""
    cell, rows = steadiest(name)
    chosen = studies.STUDIES[name]
    only = {key: [value] for key, value in cell.items()}
    rows = rows.set_index("seed")[chosen.score]
    seeds = list(rows.index[:2])
    new = studies.run(name, seeds, only=only, shipped=False, store=tmp_path, progress=False)
    assert set(new["device"]) == {DEVICE}
    assert set(new["precision"]) == {"float32"}
    near = min(max(4 * rows.std(ddof=1), 0.02), 0.1)
    for seed, here in new.set_index("seed")[chosen.score].items():
        assert abs(here - rows[seed]) < near, f"{cell}: {here} here, {rows[seed]} on a CPU"


LESSONS = sorted((HOME / "notebooks").glob("0*.ipynb"))


def run_lesson(path, parameters, timeout):
    pytest.importorskip("papermill", reason="papermill runs the lessons: pip install papermill")
    from test_notebooks import run_with  # needs Jupyter too

    run_with(path, parameters, timeout=timeout)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_runs_at_scale_quick(path):
    run_lesson(path, {"seed": 5}, timeout=600)


def test_lesson_01_runs_at_scale_class():
    run_lesson(LESSONS[1], {"scale": "class"}, timeout=600)
