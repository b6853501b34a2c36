"""Photographs on your disk: CIFAR-10, STL-10 and COCO as datasets, read once and kept."""

from mtl_course.photographs._reading import (
    ARCHIVES,
    COCO_NAMES,
    DRAWN,
    Archive,
    cifar10,
    coco,
    place,
    stl10,
    there,
)

__all__ = [
    "ARCHIVES",
    "COCO_NAMES",
    "DRAWN",
    "Archive",
    "cifar10",
    "coco",
    "place",
    "stl10",
    "there",
]
