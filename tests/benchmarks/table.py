"""The table of BENCHMARKS.md, made from the files in assets/benchmarks.

python tests/benchmarks/table.py
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "benchmarks"
TARGETS = (  # file, the ratio's name in it, what the table calls it, the target
    ("training", "fit against bare step", "`fit` against the bare step", 0.87),
    ("training", "fit against a DataLoader loop", "`fit` against a `DataLoader` loop", 1.25),
    ("training", "fit against Lightning", "`fit` against Lightning", 1.25),
    ("training", "fit against fastai", "`fit` against fastai", 1.25),
    (
        "training",
        "fit beside a busy core keeps",
        "`fit` beside a busy core, of its idle speed",
        0.4,
    ),
    (
        "training",
        "new head: features once against trunk in a DataLoader loop",
        "new head, features once, against the trunk at every step of a `DataLoader` loop",
        10,
    ),
    ("studies", "studies.run against a plain loop", "`studies.run`, 60 runs, against a loop", 2.2),
    ("studies", "studies.run against Lightning", "`studies.run`, 60 runs, against Lightning", 2.5),
    (
        "studies",
        "studies.run, processes not started, against a plain loop",
        "the same with its processes still to start, against a loop that runs already",
        None,
    ),
    (
        "studies",
        "studies.run beside a busy core keeps",
        "`studies.run` beside a busy core, of its idle speed",
        0.4,
    ),
)


TARGETS_ON_A_GPU = (  # a ratio's name in training_cuda.json, what the table calls it, the target
    ("fit against a DataLoader loop", "`fit` against a `DataLoader` loop, 64 steps", 4),
    (
        "fit, 1,280 steps against a DataLoader loop, 1,280 steps",
        "`fit` against a `DataLoader` loop, 1,280 steps",
        8,
    ),
    (
        "fit_many of 64, digits against 64 calls of fit, digits",
        "64 networks on digits at once, against one after another",
        8,
    ),
    (
        "fit_many of 64, scenes against 64 calls of fit, scenes",
        "64 networks on scenes at once, against one after another",
        4,
    ),
)


def read(name: str) -> dict:
    """What a benchmark has written."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def table() -> str:
    """Markdown: what was compared, times as fast, the target, and the script that measures it."""
    lines = ["| what | measured | at least | script |", "|---|---|---|---|"]
    for name, key, words, target in TARGETS:
        value = read(name)["ratios"][key]
        least = "" if target is None else f"{target:g}"
        lines.append(f"| {words} | {value:.2f} | {least} | `{name}.py` |")
    headline, scenes = read("headline")["results"]["headline"], read("scenes")["results"]["draw"]
    beyond = read("notebooks")["imports"]["beyond torch"]["median_s"]
    minutes, memory = headline["median_s"] / 60, headline["peak_memory_MB"] / 1024
    widgets = read("explorers")["results"].values()
    graded = read("grading")["results"]

    def slowest(key: str) -> float:
        return max(row[key] for row in widgets)

    lines += [
        f"| the headline, all of it | {minutes:.1f} min | under 4 | `headline.py` |",
        f"| its peak memory | {memory:.1f} GB | under 6 | `headline.py` |",
        f"| scenes drawn a second | {scenes['scenes_per_s']:,} | 20,000 | `scenes.py` |",
        "| widgets: key to changed picture, the slowest one's median | "
        f"{slowest('median_s'):.2f} s | under 0.2 | `explorers.py` |",
        f"| the same, 95th percentile | {slowest('p95_s'):.2f} s | under 0.4 | `explorers.py` |",
        f"| {graded['submissions']} submissions graded, hostile ones among them, killed half way | "
        f"{graded['minutes']:.0f} min | under 75 | `grading.py` |",
        f"| imports of lesson 01 beyond torch | {beyond:.2f} s | under 1 | `notebooks.py` |",
    ]
    return "\n".join(lines)


def table_of_a_gpu() -> str:
    """The same for a GPU; empty until the benchmarks have run on one with ``--device cuda``."""
    if not all(
        (FOLDER / f"{name}_cuda.json").exists() for name in ("training", "headline", "scenes")
    ):
        return ""
    lines = ["", "", "| on a GPU | measured | target | script |", "|---|---|---|---|"]
    for key, words, target in TARGETS_ON_A_GPU:
        value = read("training_cuda")["ratios"][key]
        lines.append(f"| {words} | {value:.2f} | {target:g} | `training.py` |")
    seconds = read("headline_cuda")["results"]["headline"]["median_s"]
    drawn = read("scenes_cuda")["results"]["draw"]["scenes_per_s"]
    lines += [
        f"| the headline, all of it | {seconds:.1f} s | under 12 s | `headline.py` |",
        f"| scenes drawn a second | {drawn:,} | 2,000,000 | `scenes.py` |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table() + table_of_a_gpu())
