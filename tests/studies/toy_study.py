"""The study "toy", which trains nothing but lists what it is to train; and scripts that run it."""

import dataclasses
import functools
import itertools
import types

import torch

from mtl_course import studies, training
from mtl_course.studies import golden

unchanged = functools.cache(golden.run)  # one golden run of each world, before any change

GRID = [{"way": way, "labels": labels} for way in ("one", "two") for labels in (10, 30)]


class Toy:
    """What a study trains that trains nothing: it lists what it is to make and to train."""

    def __init__(self):
        self.sources, self.trained, self.broken = [], [], set()

    def source(self, seed, fit):
        self.sources.append(seed)
        return f"source {seed}"

    def train(self, source, seed, way, labels, fit):
        assert source == f"source {seed}", "a cell was given the source of another seed"
        if seed in self.broken:
            raise RuntimeError("the disk is full")
        self.trained.append((seed, way, labels))
        return {"accuracy": self.accuracy(seed, way, labels)}

    @staticmethod
    def accuracy(seed, way, labels):
        return (seed * 7 + len(way) * 3 + labels + (way == "two")) % 97 / 97


def run(store, seeds=None, **settings):
    return studies.run("toy", seeds, store=store, jobs=1, progress=False, **settings)


def change_settings(monkeypatch):
    newer = dataclasses.replace(studies.STUDIES["toy"], settings={"k": 2})
    monkeypatch.setitem(studies.STUDIES, "toy", newer)


def other_machine(monkeypatch, device, precision):
    """From now on this is another machine, which trains as the one of the shipped rows."""
    machine = types.SimpleNamespace(device=torch.device(device), precision=precision)
    monkeypatch.setattr(training, "machine", lambda: machine)
    monkeypatch.setattr(golden, "differences", lambda world: [])


def interrupt(fake, monkeypatch, at):
    """From now on the network of this number is interrupted."""
    train, left = fake.train, itertools.count(1)

    def interrupted(*arguments, **cell):
        if next(left) == at:
            raise KeyboardInterrupt
        return train(*arguments, **cell)

    toy = dataclasses.replace(studies.STUDIES["toy"], train=interrupted)
    monkeypatch.setitem(studies.STUDIES, "toy", toy)


A_TOY_STUDY = """
import sys, time
from pathlib import Path
import joblib
from mtl_course import studies
from mtl_course.studies import golden

golden.differences = lambda world: []  # a golden run takes seconds
folder = Path(sys.argv[1])

def source(seed, fit):
    return seed

def train(source, seed, way, fit):
    (folder / "asked").mkdir(exist_ok=True)
    mark = folder / "asked" / f"{seed} {way} {time.monotonic_ns()}"
    mark.touch()
    time.sleep(0.3)
    if seed == 2 and way == 1 and A_WORKER_DIES and not (folder / "died").exists():
        (folder / "died").touch()
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return {"accuracy": seed + way / 10}

toy = studies.Study("?", [{"way": way} for way in range(4)], source, train, range(4), {})
studies.STUDIES["toy"] = toy
RUN = {"store": folder, "progress": False}
"""
