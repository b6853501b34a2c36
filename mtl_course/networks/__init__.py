"""Networks: trunk and head, the surgery on them, one network a task, ImageNet's backbones."""

from mtl_course.networks._backbones import BACKBONES, backbone, imagenet_file
from mtl_course.networks._inspection import layers, moved, signature, trainable
from mtl_course.networks._network import Network, classifier, frozen, shared
from mtl_course.networks._separate import Heads, Trunks, separate
from mtl_course.networks._surgery import blocks, freeze, new_head, reinitialized, with_copied_layers
