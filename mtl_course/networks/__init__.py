"""Networks: trunk and head, the surgery on them, one network a task, ImageNet's backbones."""

from mtl_course.networks._backbones import BACKBONES, backbone, imagenet_file
from mtl_course.networks._inspection import layers, moved, signature, trainable
from mtl_course.networks._network import Network, classifier, frozen, shared
from mtl_course.networks._separate import Heads, Trunks, separate
from mtl_course.networks._surgery import (
    blocks,
    freeze,
    new_head,
    reinitialized,
    with_copied_layers,
)

__all__ = [
    "BACKBONES",
    "Heads",
    "Network",
    "Trunks",
    "backbone",
    "blocks",
    "classifier",
    "freeze",
    "frozen",
    "imagenet_file",
    "layers",
    "moved",
    "new_head",
    "reinitialized",
    "separate",
    "shared",
    "signature",
    "trainable",
    "with_copied_layers",
]
