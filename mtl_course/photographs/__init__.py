"""Photographs on your disk: CIFAR-10, STL-10 and COCO as datasets, read once and kept."""

from mtl_course.photographs._archives import ARCHIVES, folder, there
from mtl_course.photographs._reading import COCO_NAMES, cifar10, coco, stl10

__all__ = ["ARCHIVES", "COCO_NAMES", "cifar10", "coco", "folder", "stl10", "there"]
