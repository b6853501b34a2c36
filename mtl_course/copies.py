"""A student's own copies of the lessons, which an update of the course never touches."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from mtl_course.base import HOME, atomic, check_writable

_PARTS = ("*.ipynb", "evidence/*.ipynb", "assignments/student/*/*.ipynb")
_RECORD = ".copied.json"  # the digest of each notebook as it was copied


def copy_lessons(folder: Path, source: Path = HOME / "notebooks") -> Iterator[str]:
    """Copy the notebooks for students into `folder`, except those that a student has changed.

    Yields: a line for each changed notebook of which there is a newer version, and one in the end.
    Raises: ValueError where the course is an installed package, without notebooks; OSError where
        nothing can be written.
    """
    lessons = sorted(path for part in _PARTS for path in source.glob(part))
    if not lessons:
        raise ValueError("an installed package has no lessons: start in a clone of the course.")
    check_writable(folder, "name another folder, such as ~/my_course")
    record, copied = folder / _RECORD, []
    before = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    after = dict(before)
    for path in lessons:
        name, new = path.relative_to(source).as_posix(), path.read_bytes()
        there = (folder / name).read_bytes() if (folder / name).exists() else None
        if there is None or _digest(there) in (before.get(name), _digest(new)):
            after[name] = _digest(new)
            if there != new:
                copied.append(name)
                with atomic(folder / name) as draft:
                    draft.write_bytes(new)
        elif before.get(name) != _digest(new):
            yield f"{folder / name} is yours and stays. To get the newer one, rename yours first."
    if after != before:
        with atomic(record) as draft:
            draft.write_text(json.dumps(after, indent=1), encoding="utf-8")
    yield f"{folder}: {len(copied)} notebooks copied, {len(lessons) - len(copied)} already there."


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
