"""Guards mtl_course.studies.classroom: thirty students, and what they may hand in."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core import display_functions
from matplotlib.figure import Figure

from mtl_course import __main__, studies
from mtl_course.studies import _handed_in, classroom
from mtl_course.studies.classroom import SEEDS, gather, line, report

ONLY = {"way": ["new head", "all layers"], "labels": [10, 300]}


@functools.cache
def shipped() -> pd.DataFrame:
    return studies.run("clothes", only=ONLY)


def student(number: int) -> pd.DataFrame:
    """Four rows of a student, made of a shipped seed's: up to 15 photographs more or fewer."""
    rows = shipped()[shipped()["seed"] == number % 10].assign(seed=SEEDS[number])
    moved = np.random.default_rng(number).integers(-15, 16, len(rows)) / 2_000
    return rows.assign(accuracy=rows["accuracy"] + moved)


def hand_in(folder: Path, number: int, how: str = "csv") -> Path:
    path, rows = folder / f"class_{SEEDS[number]}.{how}", student(number)
    if how == "csv":
        rows.to_csv(path, index=False)
    elif how == "json":
        rows.to_json(path, orient="records")
    else:
        path.write_text(f"Hello,\n> {line(rows)}\nAda", encoding="utf-8")
    return path


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def words(folder: Path, **how: object) -> str:
    return "\n".join(part for part in report(folder, **how) if isinstance(part, str))


@pytest.fixture
def thirty(tmp_path: Path) -> Path:
    """The folder of a class, in which every way of handing in is used."""
    for number in range(30):
        hand_in(tmp_path, number, ("csv", "json", "txt")[number % 3])
    return tmp_path


def test_thirty_students_are_thirty_seeds(thirty: Path):
    rows, left_out = gather(thirty)
    assert not left_out
    assert sorted(rows["seed"].unique()) == list(SEEDS[:30])
    want = pd.concat(map(student, range(30)))[["way", "labels", "seed", "accuracy"]]
    keys = ["way", "labels", "seed"]
    both = rows.merge(want, on=keys, validate="one_to_one")
    assert len(both) == 120
    np.testing.assert_allclose(both["accuracy_x"], both["accuracy_y"], atol=1e-9)


def test_the_class_has_its_own_interval_beside_the_shipped_one(thirty: Path):
    *_, figure, table, _ = report(thirty)
    own = studies.gain(gather(thirty)[0], "new head", over="all layers")
    for gain in (own, studies.gain(shipped(), "new head", over="all layers")):
        for row in gain.round(4).to_dict("records"):
            parts = (str(row["seeds"]), f"{row['mean']:.4f}", f"{row['low']:.4f}", row["verdict"])
            assert any(all(part in text for part in parts) for text in table.splitlines())
    assert "your class, 30 seeds: " in figure.alt
    assert "{mean:+.3f} ({low:+.3f} to {high:+.3f})".format(**own.iloc[0]) in figure.alt


def test_three_of_thirty_are_named_and_left_out_and_an_honest_looking_one_is_spoken_of(
    thirty: Path,
):
    changed(thirty / f"class_{SEEDS[2]}.txt", " 0.", " O.")  # damaged
    student(3).assign(seed=SEEDS[6]).to_csv(thirty / "again.csv", index=False)  # two with one seed
    path = thirty / f"class_{SEEDS[9]}.csv"
    student(9).assign(accuracy=0.91234).to_csv(path, index=False)  # invented
    rows, left_out = gather(thirty)
    assert set(SEEDS[:30]) - set(rows["seed"]) == {SEEDS[n] for n in (2, 3, 6, 9)}
    said = "\n".join(left_out)
    assert f"class_{SEEDS[2]}.txt: no rows, or a line that was not copied whole" in said
    assert f"again.csv: seed {SEEDS[6]} came with other results" in said
    assert f"class_{SEEDS[6]}.csv: seed {SEEDS[6]} came with other results" in said
    assert f"class_{SEEDS[9]}.csv: seed {SEEDS[9]}: '0.91234' is impossible" in said
    assert classroom.INVENTED in words(thirty)


def test_a_copy_under_another_number_is_found(thirty: Path):
    student(0).assign(seed=SEEDS[40]).to_csv(thirty / "copy.csv", index=False)
    rows, left_out = gather(thirty)
    assert not {SEEDS[0], SEEDS[40]} & set(rows["seed"]) and len(left_out) == 2
    assert all("in every cell: a copy?" in text for text in left_out)


def test_who_hands_in_twice_counts_once(thirty: Path):
    (thirty / "more.txt").write_text(f"{line(student(0))}\n{line(student(0))}", encoding="utf-8")
    rows, left_out = gather(thirty)
    assert rows["seed"].nunique() == 30
    (text,) = left_out
    assert text == (
        f"more.txt: seed {SEEDS[0]} was handed in twice, with the same results. It counts once."
    )


def test_a_line_survives_a_mail_and_a_notebook(tmp_path: Path):
    text = line(student(0))
    (tmp_path / "mail.txt").write_text(text.replace(" 0.", "\r\n  0."), encoding="utf-8-sig")
    cell = {"outputs": [{"data": {"text/markdown": ["```text\n", f"{line(student(1))}\n", "```"]}}]}
    (tmp_path / "lesson.ipynb").write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    rows, left_out = gather(tmp_path)
    assert sorted(rows["seed"].unique()) == list(SEEDS[:2]) and not left_out


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (f"{SEEDS[0]}", "7", "seed 7 is none of a class"),
        (f"{SEEDS[0]}", "99999", "seed 99999 is none of a class"),
        (f"{SEEDS[0]}", "1e999", "seed 1e999 is none of a class"),
        (f"{SEEDS[0]}", "\x1b[2J", "seed \\x1b[2J is none of a class"),
        (studies.recipe("clothes"), "00000000", "an older course, or a computer"),
        ("clothes,", "digits,", "is not of clothes"),
        (",accuracy,", ",accuracy,evil,", "has a column 'evil', which no such row has"),
        (",300,", ",30,", "has not the 4 rows of a student, each once"),
        ("all layers,300", "new head,300", "twice"),
        (f"{student(0)['accuracy'].iloc[0]}", "nan", "'nan' is impossible"),
        (f"{student(0)['accuracy'].iloc[0]}", "inf", "'inf' is impossible"),
        (f"{student(0)['accuracy'].iloc[0]}", "1.2", "'1.2' is impossible"),
        (f"{student(0)['accuracy'].iloc[0]}", "-0.5", "'-0.5' is impossible"),
        (f"{student(0)['accuracy'].iloc[0]}", "0.9003", "'0.9003' is impossible"),
        (f"{student(0)['accuracy'].iloc[0]}", "__import__('os')", "is impossible"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_result_is_named(tmp_path: Path, old: str, new: str, why: str):
    hand_in(tmp_path, 1)
    changed(hand_in(tmp_path, 0), old, new)
    rows, left_out = gather(tmp_path)
    assert set(rows["seed"]) == {SEEDS[1]}
    assert any(why in text for text in left_out), left_out
    assert "\x1b" not in "".join(left_out)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"", "a.csv: no rows"),
        ("a.csv", b"x,y\n1,2\n", "a.csv is damaged"),
        ("a.csv", b"\xff\xfe\x00", "a.csv is damaged"),
        ("a.csv", b'seed\n"' + b"x" * 200_000, "a.csv is damaged"),
        ("a.csv", b"x" * 4_000_001, "a.csv is larger than 4 MB"),
        ("a.json", b"[" * 200_000, "a.json is damaged"),
        ("a.json", b'{"seed": 10001}', "a.json is damaged"),
        ("a.json", b"[1, 2]", "a.json is damaged"),
        ("a.json", b'[{"seed": ' + b"9" * 9_000 + b"}]", "a.json is damaged"),
        ("a.json", b'[{"seed": 10001, "way": {}, "accuracy": [[]]}]', "a.json: seed 10001"),
        ("a.txt", b"I forgot it.", "a.txt: no rows, or a line"),
        ("a.txt", b"mtl-class: " + b"1 " * 400_000, "a.txt: no rows, or a line"),
        ("a.pkl", b"cos\nsystem\n(S'touch harm'\ntR.", "a.pkl is not read"),
    ],
)  # fmt: skip
def test_no_file_stops_the_class(tmp_path: Path, name: str, content: bytes, why: str):
    hand_in(tmp_path, 1)
    (tmp_path / name).write_bytes(content)
    rows, left_out = gather(tmp_path)
    assert set(rows["seed"]) == {SEEDS[1]}
    (text,) = left_out
    assert text.startswith(why) and len(text) < 200


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither")
def test_links_and_pipes_are_left_alone(tmp_path: Path):
    secret, folder = hand_in(tmp_path, 0), tmp_path / "class"
    (folder / ".hidden").mkdir(parents=True)
    (folder / "mine.csv").symlink_to(secret)
    (folder / "all").symlink_to("/")
    os.mkfifo(folder / "pipe.csv")
    hand_in(folder / ".hidden", 1)
    rows, left_out = gather(folder)
    assert rows.empty
    assert [text.partition("(")[0] for text in left_out] == [
        "mine.csv is a link, or cannot be read ", "pipe.csv is no file."
    ]  # fmt: skip


def test_a_folder_has_an_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(_handed_in, "_FILES", 2)
    for number in range(3):
        hand_in(tmp_path, number)
    with pytest.raises(ValueError, match="holds more than 2 files"):
        gather(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no folder"):
        gather(tmp_path / "elsewhere")


def test_one_student_is_no_class(tmp_path: Path):
    hand_in(tmp_path, 0)
    assert words(tmp_path).splitlines()[-1] == "An interval takes at least two seeds."


# ---------------------------------------------------------------------- the command, the lesson


def test_the_command_saves_the_figure_and_prints_the_table(thirty: Path, tmp_path, capsys):
    picture = tmp_path / "out" / "class.png"
    __main__.main(["class", str(thirty), "--figure", str(picture)])
    text = capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "30 seeds can be used." in text and str(picture) in text
    assert "the lesson's seeds" in text and classroom.INVENTED in text


@pytest.fixture
def trained(monkeypatch, tmp_path: Path) -> list:
    """Every seed is trained as `student` says. Returns: the seeds, and how they were asked for."""
    calls, real = [], classroom.run

    def run(name, seeds=None, *, only, **how):
        if seeds is None:
            return real(name, only=only)
        calls.append((list(seeds), how))
        return pd.concat(student(SEEDS.index(seed)) for seed in seeds)

    monkeypatch.setattr(classroom, "run", run)
    monkeypatch.setattr(classroom, "results_folder", lambda: tmp_path / "results")
    return calls


@pytest.fixture
def shown(monkeypatch) -> list:
    """What is displayed, by MIME type."""
    found: list = []

    def display(*things, raw=False, **_):
        found.extend(thing if raw else {"text/markdown": thing.data} for thing in things)

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(display_functions, "display", display)
    return found


def test_a_check_trains_again_and_finds_what_was_invented(thirty: Path, trained: list):
    assert "All agree." in words(thirty, check=30)
    path = thirty / f"class_{SEEDS[0]}.csv"
    student(0).assign(accuracy=lambda rows: rows["accuracy"] - 0.03).to_csv(path, index=False)
    assert f"invented or changed: [{SEEDS[0]}]." in words(thirty, check=30)
    (seeds, how) = trained[-1]
    assert sorted(seeds) == list(SEEDS[:30]) and how["shipped"] is False
    words(thirty, check=3)
    assert len(trained[-1][0]) == 3 and not Path(how["store"]).exists()


def test_a_check_may_not_be_negative(thirty: Path):
    with pytest.raises(ValueError, match="check must be at least 0"):
        words(thirty, check=-1)


def test_a_student_trains_one_seed_and_can_hand_it_in(trained: list, shown: list, tmp_path: Path):
    folder = tmp_path / "shared"
    classroom.take_part(7, folder)
    assert [seeds for seeds, _ in trained] == [[SEEDS[6]]]
    figure, text = shown
    assert f"your seed, {SEEDS[6]}: " in figure["text/plain"]
    pasted = text["text/markdown"].partition("```text\n")[2].partition("\n```")[0]
    (path,) = folder.iterdir()
    assert path.name.startswith(f"class_{SEEDS[6]}_")
    rows, _ = gather(folder)
    (folder / "pasted.txt").write_text(pasted, encoding="utf-8")
    path.unlink()
    pd.testing.assert_frame_equal(gather(folder)[0], rows)
    assert len(rows) == 4


def test_two_students_with_one_number_do_not_overwrite_each_other(
    trained: list, shown: list, monkeypatch, tmp_path: Path
):
    classroom.take_part(7, tmp_path / "shared")
    classroom.take_part(7, tmp_path / "shared")
    assert len(list((tmp_path / "shared").iterdir())) == 1, "run again, it is the same result"
    real = student
    monkeypatch.setattr(
        classroom, "_rows", lambda *_, **__: real(7).assign(seed=SEEDS[6]) if _ else shipped()
    )
    classroom.take_part(7, tmp_path / "shared")
    rows, left_out = gather(tmp_path / "shared")
    assert rows.empty and len(left_out) == 2


def test_without_a_number_nothing_is_trained(trained: list, shown: list):
    classroom.take_part(None)
    assert not trained and "set `number`" in shown[0]["text/markdown"]


@pytest.mark.parametrize("number", [0, -1, 10_000, 1.5, "7"])
def test_a_number_is_one_of_the_class(trained: list, number: object):
    with pytest.raises(ValueError, match="number must be"):
        classroom.take_part(number)
    assert not trained


def test_a_folder_that_cannot_be_written_to_is_told_before_the_training(trained: list, tmp_path):
    (tmp_path / "shared").write_text("a file, in which nobody can write another, root neither")
    with pytest.raises(OSError, match="name another folder"):
        classroom.take_part(1, tmp_path / "shared")
    assert not trained


def test_a_notebook_shows_the_class(thirty: Path, shown: list):
    classroom.show(thirty)
    assert [next(iter(part)) for part in shown] == ["text/plain", "text/html", *["text/plain"] * 2]


def test_a_figure_needs_no_class():
    assert isinstance(classroom.figure(student(0), "your seed"), Figure)


def test_no_other_study_has_a_students_seed():
    for path in studies.SHIPPED.rglob("*.csv"):
        assert not set(pd.read_csv(path)["seed"]) & set(SEEDS), path


@pytest.mark.slow
def test_a_students_seed_trains_as_the_shipped_ones_do(tmp_path: Path, monkeypatch, shown):
    """With a pretraining of two steps: the file is the study's own, by today's recipe."""
    monkeypatch.setattr("mtl_course.studies.lesson_01.PRETRAINING", 2)
    monkeypatch.setattr("mtl_course.studies.lesson_01.STEPS", 2)
    monkeypatch.setattr(classroom, "results_folder", lambda: tmp_path / "results")
    classroom.take_part(1, tmp_path / "shared")
    shipped = pd.read_csv(studies.SHIPPED / "clothes.csv")
    (path,) = (tmp_path / "shared").iterdir()
    assert list(pd.read_csv(path).columns) == list(shipped.columns)
    assert set(shipped.columns) == _handed_in._COLUMNS
    rows, left_out = gather(tmp_path / "shared")
    assert list(rows["seed"].unique()) == [SEEDS[0]] and not left_out
