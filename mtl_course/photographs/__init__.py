"""Photographs on your disk: your own, CIFAR-10, STL-10, Fashion-MNIST and COCO as datasets."""

from mtl_course.photographs._archives import ARCHIVES, folder
from mtl_course.photographs._own import own
from mtl_course.photographs._reading import (
    COCO_NAMES,
    cifar10,
    coco,
    fashion_mnist,
    in_color,
    stl10,
)

__all__ = [
    "ARCHIVES",
    "COCO_NAMES",
    "cifar10",
    "coco",
    "fashion_mnist",
    "folder",
    "in_color",
    "own",
    "stl10",
]
