"""What crosses the sandbox's wall, and how answers are compared."""

from __future__ import annotations

import json
import tracemalloc
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from mtl_course.grading import wire
from mtl_course.grading.checks import Wrong, same

VALUES = [
    None, True, 7, -0.5, "text, 文", [1, [2.0, "a"]], {"a": {"b": []}}, np.float32(2), np.int64(3),
    np.arange(6).reshape(2, 3), np.zeros((0, 4), np.float32), np.array(True),
    np.array([np.nan, np.inf]),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_cross_unchanged(value):
    got = wire.unpack(wire.pack(value))
    np.testing.assert_equal(got, value)
    if isinstance(value, np.ndarray):
        assert got.dtype == value.dtype and got.flags.writeable


def test_columns_and_arrays_of_text_cross_as_lists():
    for value in (pd.Series(["a", "b"]), np.array(["a", "b"])):
        assert wire.unpack(wire.pack(value)) == ["a", "b"]
    assert wire.unpack(wire.pack(np.str_("a"))) == "a"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.array([1, 0.5, None, "a"], object), [1, 0.5, None, "a"]),
        (pd.DataFrame({"a": ["yes", "no"]}).replace({"yes": 1, "no": 0}).to_numpy(), [[1], [0]]),
        (pd.Series(["a", "b"]).to_numpy(), ["a", "b"]),
        (pd.Series([1, pd.NA], dtype="Int64"), [1, np.nan]),
        (np.array([1, 2], np.uint64), [1, 2]),
        (np.array([1, 2], np.uint32), [1, 2]),
        (Fraction(1, 4), 0.25),
        (np.array([1, 2], ">i4"), [1, 2]),
        (np.array([1.5, 2], ">f8"), [1.5, 2]),
    ],
    ids=repr,
)
def test_odd_numbers_arrive_as_numbers(value, wanted):
    np.testing.assert_equal(np.asarray(wire.unpack(wire.pack(value))).tolist(), wanted)


@pytest.mark.parametrize(
    "value", [print, {(1,): 2}, {2}, np.array([print]), 1j, b"bytes"], ids=repr
)
def test_other_things_do_not_cross(value):
    with pytest.raises(wire.Malformed):
        wire.pack(value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000, "9" * 5000, "{", '{"kind of thing": "array"}',
        *(
            json.dumps({"kind of thing": "array", "dtype": dtype, "shape": shape, "data": data})
            for dtype, shape, data in [
                ("object", [1], "AAAAAAAA8D8="), ("complex64", [1], "AAAAAAAA8D8="),
                ("float64", [1], "AAAA"), ("uint8", [-3], "AAAA"),
                ("uint8", [2**25] * 8, ""), ("uint8", [1] * 9, "AA=="),
                ("uint8", 3, "AAAA"), ("uint8", [3], ["AAAA"]), ("uint8", [3.0], "AAAA"),
                ("uint8", [3], "é==="),
            ]
        ),
    ],
    ids=lambda text: text[-60:],
)  # fmt: skip
def test_what_is_no_answer_is_not_taken_for_one(text):
    with pytest.raises(wire.Malformed):
        wire.unpack(text)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (1.0, 1.1), (1, 1.1), ([1.0, 2.0], [1.0, 2.1]), (np.nan, 1.0), (1.0, np.nan), (np.inf, 1.0),
        (True, 1.0), (1.0, True), ("1.0", 1.0), (None, 1.0), (1.0, None), ([1.0], 1.0),
        ([[1.0]], [1.0]), ([[1.0], [1.0, 2.0]], [1.0]), ("a", "b"), (["a"], "a"), ({"a": 1}, 1),
        (np.ones(3), np.ones(4)), (1_000_001, 1_000_000),
        ({"a": [1], "b": [1, 2]}, [[1, 1]]), ([True, False], [True, True]), ([], [1.0]),
    ],
)  # fmt: skip
def test_same_finds_what_differs(got, wanted):
    with pytest.raises(Wrong) as wrong:
        same(
            got, wanted if wanted is None or isinstance(wanted, str) else np.asarray(wanted), "here"
        )
    assert str(wrong.value).startswith("here: ")


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (1.000001, 1.0), (1, 1.0), ([1, 2], np.array([1.0, 2.0])), (np.nan, np.nan),
        ([np.inf], [np.inf]), (np.float32(0.1), 0.1), (True, True), ("a", "a"), (None, None),
        ([], np.zeros(0)), (1_000_001.0, 1_000_000.0),
        ({"a": [1, 2], "b": [3, 4]}, [[1, 3], [2, 4]]),
    ],
)  # fmt: skip
def test_same_takes_what_is_right(got, wanted):
    same(got, wanted, "here")


def test_same_never_tells_the_answer():
    for got in ([1.0, 2.0], [1.0, 0.0]):
        with pytest.raises(Wrong) as wrong:
            same(got, np.array([1.0, 7777.0]), "here")
        assert not {"7", "8"} & set(str(wrong.value))


def test_a_small_answer_does_not_become_large():
    tracemalloc.start()
    with pytest.raises(Wrong, match="it has text"):
        same(["x" * 400_000] + [""] * 1000, np.zeros(1001), "here")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_students_names_are_not_the_checks():
    names = {"list": [1, 2], "int": 3, "double": lambda x: 2 * x}
    code = "answer = [int(value) for value in list(map(double, given))]"
    reply = json.loads(wire._answer(names, code, {"given": [1, 2]}))
    assert reply == {"answer": [2, 4]}
