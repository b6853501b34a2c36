"""The two graded assignments: notebooks, hidden checks, and visible checks, without a sandbox.

The checks ask a stand-in that runs a notebook's cells in this process; everything that crosses goes
through `wire`, as it does in the sandbox. What a sandbox adds is tested where grading is.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import linecache
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from nbformat import NotebookNode
from notebook_files import NOTEBOOKS, code_cells, faults, read, result
from submissions import MUTANTS, ODD, Answer

from mtl_course.grading import intake, sandbox, visible, wire
from mtl_course.grading.checks import Wrong

INSTRUCTOR = NOTEBOOKS / "assignments" / "instructor"
NAMES = ("transfer", "multi_task")
SEEDS = 20  # with each, every wrong answer loses points and no right one does
# Fewer where each check makes networks or trains them.
SEEDS_OF = {"features": 4, "fine_tune_step": 4, "four_outputs": 3, "train": 2}
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"

every_assignment = pytest.mark.parametrize("name", NAMES)


@functools.cache
def source(name: str) -> NotebookNode:
    return read(INSTRUCTOR / name / f"{name}.ipynb")


@functools.cache
def checks(name: str) -> dict:
    spec = importlib.util.spec_from_file_location(name, INSTRUCTOR / f"{name}_checks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EXERCISES


def about(cell: NotebookNode) -> dict:
    return cell.metadata.get("nbgrader", {})


def kinds(name: str) -> dict[str, list[NotebookNode]]:
    """The cells of a source: given, answer, check, words."""
    kind = {(0, 0): "given", (0, 1): "answer", (1, 0): "check", (1, 1): "words"}
    found: dict[str, list[NotebookNode]] = {"given": [], "answer": [], "check": [], "words": []}
    for cell in source(name).cells:
        if about(cell):
            found[kind[bool(about(cell)["grade"]), bool(about(cell)["solution"])]].append(cell)
    return found


def cleared(text: str) -> str:
    """An answer cell as nbgrader releases it."""
    head, _, rest = text.partition(f"    {BEGIN}\n")
    return f"{head}    # YOUR CODE HERE\n    raise NotImplementedError(){rest.partition(END)[2]}"


class InProcess:
    """What a check takes for a student: a source's cells, with some answers replaced."""

    def __init__(self, name: str, answers: dict[str, str] | None = None, checked: bool = False):
        self.names: dict = {"__name__": "student"}
        for number, cell in enumerate(code_cells(source(name))):
            wanted = {"setup", "parameters"} | ({about(cell)["grade_id"]} if checked else set())
            text = (answers or {}).get(about(cell)["grade_id"], cell.source)
            if about(cell)["solution"] or about(cell)["grade_id"] in wanted:
                self.execute(text, f"/ipykernel_{name}/{number}.py")

    def execute(self, text: str, place: str) -> None:
        linecache.cache[place] = (len(text), None, text.splitlines(True), place)
        exec(compile(text, place, "exec"), self.names)

    def run(self, code: str, /, **inputs: object) -> object:
        scope = {**self.names, **wire.unpack(wire.pack(inputs), tensors=True)}
        try:
            exec(compile(code, "<check>", "exec"), scope)
            return wire.unpack(wire.pack({"answer": scope["answer"]}))["answer"]
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}") from error

    def call(self, name: str, *arguments: object) -> object:
        return self.run(f"answer = {name}(*arguments)", arguments=list(arguments))


def said(part: Callable, number: int, student: InProcess, seed: int) -> str:
    """What a part of an exercise says; nothing if it passes. Any exception but Wrong goes on."""
    try:
        part(student, np.random.default_rng([seed, number]))
    except Wrong as wrong:
        return f"{part.__name__}: {wrong}"
    return ""


def failures(name: str, exercise: str, student: InProcess, seed: int = 0) -> Iterator[str]:
    """What each part that does not pass says."""
    for number, part in enumerate(checks(name)[exercise]):
        if text := said(part, number, student, seed):
            yield text


# ------------------------------------------------------------------------------------ notebooks


@every_assignment
def test_every_exercise_has_an_answer_cell_a_visible_check_and_hidden_ones(name: str):
    cells, exercises = kinds(name), checks(name)
    assert [about(cell)["grade_id"] for cell in cells["check"]] == list(exercises)
    assert [about(cell)["grade_id"] for cell in cells["answer"]] == [
        f"{e}_answer" for e in exercises
    ]
    assert 6 <= len(exercises) <= 8
    for cell in cells["check"]:
        assert cell.source.splitlines()[0] == f'with checking("{about(cell)["grade_id"]}"):'


@every_assignment
def test_the_points_are_forty(name: str):
    cells = kinds(name)
    assert sum(about(cell)["points"] for cell in cells["check"] + cells["words"]) == 40
    assert [about(cell)["points"] for cell in cells["words"]] == [6]
    assert "Rubric" in cells["words"][0].source
    assert "Sample answer" in cells["words"][0].source


@every_assignment
def test_cells_are_what_nbgrader_takes(name: str):
    ids = [about(cell)["grade_id"] for cell in source(name).cells if about(cell)]
    assert len(set(ids)) == len(ids)
    for cell in source(name).cells:
        if cell.cell_type == "code":
            assert about(cell), "a code cell without a grade_id would come back as the student's"
        if about(cell):
            assert about(cell)["schema_version"] == 3
            assert about(cell)["locked"] is not about(cell)["solution"]


@every_assignment
def test_solutions_stand_in_answer_cells_alone(name: str):
    cells = kinds(name)
    for cell in cells["answer"]:
        lines = [line.strip() for line in cell.source.splitlines()]
        assert lines.count(BEGIN) == lines.count(END) == 1
        before = cell.source.partition(BEGIN)[0]
        assert before.startswith("def ") and "Returns:" in before, "the signature and what it means"
    for cell in cells["given"] + cells["check"]:
        assert "SOLUTION" not in cell.source


@every_assignment
def test_students_read_the_limits_that_the_grader_keeps(name: str):
    limits, text = sandbox.Limits(), "".join(cell.source for cell in source(name).cells)
    for words in (
        f"{limits.seconds:.0f} seconds for a cell or for one answer",
        f"{limits.total_seconds:.0f} seconds for the whole notebook",
        f"{limits.memory / 1e9:.0f} GB of memory",
        f"more than {intake.TEXT_LIMIT:,} characters",
    ):
        assert words in text


@every_assignment
def test_committed_outputs_say_that_all_visible_checks_pass(name: str):
    notebook = source(name)
    assert not faults(notebook)
    assert result(notebook)["verdicts"] == dict.fromkeys(checks(name), True)


@every_assignment
def test_visible_checks_hold_nothing_of_the_hidden_ones(name: str):
    hidden = [part.__name__ for parts in checks(name).values() for part in parts]
    text = "".join(cell.source for cell in source(name).cells)
    assert not [part for part in hidden if part in text]


@every_assignment
def test_parts_tell_the_student_what_they_look_at(name: str):
    parts = [part for parts in checks(name).values() for part in parts]
    first = [(part.__doc__ or "").splitlines()[0] for part in parts]
    assert all(line.endswith(".") and len(line) > 20 for line in first)
    assert len({part.__name__ for part in parts}) == len(parts)


# ------------------------------------------------------------------------------- hidden checks


@every_assignment
@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 5), marks=pytest.mark.slow)], ids=str
)
def test_the_solutions_pass(name: str, seeds: range):
    student = InProcess(name)
    for seed in seeds:
        assert not [
            text for exercise in checks(name) for text in failures(name, exercise, student, seed)
        ]


def called(answer: Answer) -> str:
    return f"{answer.exercise}: {answer.name}"


@pytest.mark.parametrize("answer", MUTANTS, ids=called)
@pytest.mark.parametrize("seed", [0])
def test_mutants_lose_points(answer: Answer, seed: int):
    student = InProcess(answer.assignment, {f"{answer.exercise}_answer": answer.code})
    lost = failures(answer.assignment, answer.exercise, student, seed)
    assert next(lost, None), "passes every hidden check"


@pytest.mark.slow
@pytest.mark.parametrize("answer", MUTANTS, ids=called)
def test_mutants_lose_points_whatever_is_drawn(answer: Answer):
    student = InProcess(answer.assignment, {f"{answer.exercise}_answer": answer.code})
    parts = list(enumerate(checks(answer.assignment)[answer.exercise]))
    for seed in range(1, SEEDS_OF.get(answer.exercise, SEEDS)):  # 0 is the quick test's
        for number, part in parts:
            if said(part, number, student, seed):
                parts.sort(key=lambda one: one[1] is not part)  # it is asked first next time
                break
        else:
            pytest.fail(f"passes every hidden check with seed {seed}")


@pytest.mark.parametrize("answer", ODD, ids=called)
@pytest.mark.parametrize("seed", range(2))
def test_odd_but_right_answers_lose_none(answer: Answer, seed: int):
    student = InProcess(answer.assignment, {f"{answer.exercise}_answer": answer.code})
    assert not list(failures(answer.assignment, answer.exercise, student, seed))


GARBAGE = ("None", "[]", "{}", "'yes'", "0", "float('nan')", "[[1], [2, 3]]", "print", "arguments")


@every_assignment
@pytest.mark.parametrize("value", GARBAGE)
def test_garbage_earns_nothing(name: str, value: str):
    """Neither a part that passes nor one that stumbles: each says Wrong."""
    for exercise, parts in checks(name).items():
        code = f"def {exercise}(*arguments):\n    return {value}\n"
        lost = failures(name, exercise, InProcess(name, {f"{exercise}_answer": code}))
        assert len(list(lost)) == len(parts), f"{exercise} gives points for {value}"


@every_assignment
def test_nothing_written_earns_nothing(name: str):
    stubs = {about(c)["grade_id"]: cleared(c.source) for c in kinds(name)["answer"]}
    student = InProcess(name, stubs)
    for exercise, parts in checks(name).items():
        lost = list(failures(name, exercise, student))
        assert len(lost) == len(parts)
        assert all("NotImplementedError" in text for text in lost)


class Echo(InProcess):
    """A notebook without answers that replies with what was sent, wherever that is right.

    It knows the right answer's form, and all of it but numbers that were not sent.
    """

    def run(self, code: str, /, **inputs: object) -> object:
        sent = list(arrays(wire.unpack(wire.pack(inputs))))
        return echoed(super().run(code, **inputs), sent)


def arrays(tree: object) -> Iterator[np.ndarray]:
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, (dict, list)):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from arrays(branch)


def echoed(tree: object, sent: list[np.ndarray]) -> object:
    """Copy a right answer, with 0 for every number that was not sent."""
    if isinstance(tree, dict):
        return {key: echoed(branch, sent) for key, branch in tree.items()}
    if isinstance(tree, list):
        return [echoed(branch, sent) for branch in tree]
    if isinstance(tree, np.ndarray) and not any(np.array_equal(tree, one) for one in sent):
        return np.zeros_like(tree)
    return tree


@pytest.mark.parametrize("exercise", ["new_head", "freeze", "features", "fine_tune_step"])
def test_what_was_sent_earns_nothing(exercise: str):
    for seed in range(3):
        lost = list(failures("transfer", exercise, Echo("transfer"), seed))
        assert len(lost) == len(checks("transfer")[exercise]), f"others than {lost} pass"


@pytest.mark.parametrize("exercise", ["four_outputs", "train"])
def test_what_was_sent_earns_nothing_for_multi_task(exercise: str):
    lost = list(failures("multi_task", exercise, Echo("multi_task")))
    assert len(lost) == len(checks("multi_task")[exercise]), f"others than {lost} pass"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("freeze: nothing done, and lies about it", 4),
        ("fine_tune_step: the trunk stands still, and lies about it", 3),
        ("new_head: trunk aliased, weights concealed", 1),
    ],
)
def test_lies_earn_nothing(name: str, parts: int):
    """What is left are points for what was done: a loss that is right, a head that is."""
    (answer,) = [one for one in MUTANTS if called(one) == name]
    student = InProcess(answer.assignment, {f"{answer.exercise}_answer": answer.code})
    assert len(list(failures(answer.assignment, answer.exercise, student))) == parts


# ------------------------------------------------------------------------------- visible checks


def test_a_released_notebook_says_that_nothing_is_written(capsys):
    for name in NAMES:
        stubs = {about(c)["grade_id"]: cleared(c.source) for c in kinds(name)["answer"]}
        student = InProcess(name, stubs, checked=True)
        said = capsys.readouterr()
        for exercise in checks(name):
            assert f"{exercise}: not written yet." in said.out
        assert not said.err
        assert not any(student.names["visible"].passed().values())


@pytest.mark.parametrize("variant", range(1, 8))
@every_assignment
def test_visible_checks_pass_in_every_variant(name: str, variant: int, capsys):
    parameters = f"variant, seed, scale = {variant}, {100 + variant}, 'quick'"
    InProcess(name, {"parameters": parameters}, checked=True)
    out = capsys.readouterr().out
    assert [e for e in checks(name) if f"{e}: the visible checks pass." not in out] == []


@every_assignment
def test_variants_show_other_numbers(name: str):
    shown = []
    for variant in (0, 1):
        parameters = f"variant, seed, scale = {variant}, 100, 'quick'"
        names = InProcess(name, {"parameters": parameters}, checked=True).names
        kept = ("notes", "labels", "z", "rows", "train_images", "curve", "images")
        shown.append({key: str(names[key]) for key in kept if key in names})
    first, second = shown
    assert len(first) >= 3
    assert not [key for key in first if first[key] == second[key]]


def test_what_checking_says(capsys):
    def written() -> None:
        raise NotImplementedError

    with visible.checking("a"):
        pass
    with visible.checking("b"):
        raise AssertionError("one is not two")
    with visible.checking("written"):
        written()
    with visible.checking("d"):
        written()
    with visible.checking("e"):
        print(1 / 0)
    assert capsys.readouterr().out.splitlines() == [
        "a: the visible checks pass.",
        "b: not yet: one is not two",
        "written: not written yet.",
        "d: not written yet.",
        "e: stopped by ZeroDivisionError: division by zero",
    ]
    outcome = visible.passed()
    assert [outcome[name] for name in ("a", "b", "written", "d", "e")] == [True] + 4 * [False]


def test_checking_names_the_students_line(capsys):
    student = InProcess(
        "multi_task", {"masked_loss_answer": "def masked_loss(z, y):\n\n    return z / 'a'\n"}
    )
    student.execute(
        "with checking('masked_loss'):\n    masked_loss(1, 2)\n", "/ipykernel_x/check.py"
    )
    told = capsys.readouterr().out
    assert told.startswith("masked_loss: stopped by TypeError")
    assert told.endswith(", line 3 of your cell\n")


def test_checking_names_what_it_waits_for(capsys):
    stub = "def masked_loss(z, y):\n    raise NotImplementedError()\n"
    student = InProcess("multi_task", {"masked_loss_answer": stub})
    student.execute("with checking('train'):\n    masked_loss(1, 2)\n", "/ipykernel_x/check.py")
    told = capsys.readouterr().out
    assert told == "train: waits for masked_loss, which is not written yet.\n"


def test_without_assertions_nothing_passes():
    """`python -O` leaves them out."""
    code = "from mtl_course.grading import visible\nwith visible.checking('a'):\n    assert 0\n"
    code += "print(visible.passed())"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True)
    assert done.stdout == "a: not checked, since Python runs with -O.\n{'a': False}\n"


def test_an_interrupt_goes_on():
    with pytest.raises(KeyboardInterrupt), visible.checking("interrupted"):
        raise KeyboardInterrupt


def test_clearing_leaves_the_signature():
    """As nbgrader does; its own preprocessor runs where grading is tested."""
    for name in NAMES:
        for cell in kinds(name)["answer"]:
            stub = cleared(copy.deepcopy(cell).source)
            assert stub.startswith(cell.source.partition(BEGIN)[0].rstrip())
            assert "SOLUTION" not in stub
            compile(stub, "stub", "exec")
