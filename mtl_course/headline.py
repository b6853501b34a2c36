"""The lecture's own figures: A = 1,000,000 images, B = 1,000, as one command.

    python -m mtl_course.headline

It draws a million scenes, learns their four answers, and lets ten seeds learn a fifth question from
1,000 scenes each, with that trunk and without. An interrupted run resumes where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mtl_course import checkpoints, studies
from mtl_course.base import Interrupted, check_writable, printable_output, results_folder
from mtl_course.experiments import lecture
from mtl_course.networks import Network
from mtl_course.training import fit, machine


def pretrained(file: Path, count: int, device: str | None = None, progress: bool = True) -> Network:
    """The network that has learned A; it is in `file`, or is trained and put there.

    An interrupted run is in the file beside it, and resumes from there.
    count: scenes of A; each is seen once. Raises: what `training.fit` and `training.load` raise.
    """
    network, run = lecture.untrained(), file.with_suffix(".run.pt")
    if file.exists():
        return checkpoints.load(network, file)
    place = str(machine(device).device)
    scenes = lecture.million(count, device=place, progress=progress)
    history = fit(
        network, scenes, steps=count // lecture.MILLION_BATCH, seed=0,
        batch_size=lecture.MILLION_BATCH, learning_rate=lecture.MILLION_RATE,
        device=device, checkpoint=run, progress=progress,
    )  # fmt: skip
    if history.attrs["interrupted"]:
        there = f"{run} keeps the last checkpoint: run the same command to resume"
        there = there if run.exists() else "nothing is kept yet"
        steps = f"{len(history)} of {count // lecture.MILLION_BATCH}"
        raise Interrupted(f"Interrupted after {steps} steps on A: {there}.")
    checkpoints.save(network, file)
    run.unlink()
    return network


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws 1,000,000 scenes, pretrains on them, and adapts to 1,000 with ten seeds."""
    parser = argparse.ArgumentParser(prog="python -m mtl_course.headline", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=results_folder() / "headline",
                        help="for the trunk and the rows; default: results/headline")  # fmt: skip
    parser.add_argument("--count", type=int, default=lecture.MILLION, help="scenes of A")
    parser.add_argument("--device", help="default: the fastest here")
    parser.add_argument("--ship", action="store_true", help="put the trunk into assets, no more")
    printable_output()
    asked = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    start = time.perf_counter()
    try:
        check_writable(asked.folder, "name another --folder")
        trunk = pretrained(asked.folder / "trunk.pt", asked.count, asked.device)
        if asked.ship:
            checkpoints.save(trunk, lecture.TRUNK)
            parser.exit(message=f"{lecture.TRUNK}\n")
        middle = time.perf_counter()
        rows = studies.run("headline", store=asked.folder, source=trunk)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt as stop:
        parser.exit(130, f"{str(stop) or 'Interrupted.'}\n")
    end = time.perf_counter()
    sys.stdout.write(report(rows) + "\n")
    parser.exit(message=f"{middle - start:.0f} s for A, {end - middle:.0f} s for B\n")


def report(rows: pd.DataFrame) -> str:
    """What all layers gain over from scratch, given this trunk, as a table."""
    tables = {
        f"all layers − from scratch, {score}": studies.gain(
            rows, "all layers", over="from scratch", score=score
        )
        for score in ("accuracy", "auc")
    }
    return pd.concat(tables).droplevel(-1).round(3).to_string()


if __name__ == "__main__":
    main()
