"""One network a task, side by side: what sharing is measured against (M7)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_course.base import derive_seed
from mtl_course.networks._network import Network, check_names, shared


def separate(tasks: Sequence[str], *, width: int = 16, seed: int = 0, channels: int = 3) -> Network:
    """One network per task, side by side: what `shared` is measured against (M7).

    Task j has a `shared` network of its own, with weights from a stream of (seed, its name).
    AdamW changes every weight by that weight's gradient alone and no weight serves two tasks, so
    training them together on the lecture's loss is training each alone on the same batches.

    The arguments, and what is raised, are as in `shared`; `width` is that of each part.
    """
    tasks, size = check_names(tasks), {"width": width, "channels": channels}
    parts = [shared([t], seed=derive_seed(seed, f"network for {t}"), **size) for t in tasks]
    return Network(Trunks(p.trunk for p in parts), Heads(p.head for p in parts), tasks)


class Trunks(nn.ModuleList):
    """Trunks that see the same images and put their features side by side."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([trunk(images) for trunk in self], dim=1)  # (m, parts × features)


class Heads(nn.ModuleList):
    """Linear heads that each read their own share of the features, for a logit each."""

    def __init__(self, heads: Sequence[nn.Linear]) -> None:
        super().__init__(heads)
        self.in_features = sum(head.in_features for head in self)
        self.out_features = sum(head.out_features for head in self)

    def forward(self, features: Tensor) -> Tensor:
        shares = features.split([head.in_features for head in self], dim=1)
        return torch.cat([head(x) for head, x in zip(self, shares, strict=True)], dim=1)
