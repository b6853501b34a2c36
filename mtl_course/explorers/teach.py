"""Teach it yourself: some pictures of two or three things, from a camera or files; then it answers.

The page is `teach.js`. It sends each picture as a small JPEG to the kernel; the rest is done here:
the features of a frozen backbone, a new head on them, and its answers.
"""

import base64
import copy
import io
import time
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mtl_course import networks
from mtl_course.base import check_count, threads
from mtl_course.datasets import Dataset, normalise
from mtl_course.devices import on_cpu
from mtl_course.explorers._frame import Explorer, Front, output
from mtl_course.networks import Network

FOLDS = 5  # heads that each leave out a fifth of every thing's pictures
STEPS, RATE = 100, 1e-3  # of AdamW, all pictures at once
DARK = 16  # of 255: below it, in the mean, nobody can see anything
_UNSURE = 5  # pictures shown


class _Kept(NamedTuple):
    thing: int
    pixels: Tensor  # uint8 (1, 3, size, size)
    features: Tensor  # float32 (1, features)
    url: str


class Teach(Explorer):
    """A classifier that its reader teaches: a new head on the frozen trunk of a backbone.

    `network` is the classifier so far, `data` the pictures. Five further heads, each trained
    without a fifth of the pictures, say how sure one is of a picture that it has not seen.
    names: of two to five things. backbone: stays as it was; None takes "efficientnet_lite0", and
        where its weights are missing the widget says what to install.
    size: pixels on a side of the pictures that the backbone is given.
    Raises: ValueError for fewer names, more, or two alike, and for a `size` below 32.
    """

    def __init__(
        self, names: Sequence[str], backbone: Network | None = None, *, size: int = 128
    ) -> None:
        names = () if isinstance(names, str) else tuple(names)
        if not 2 <= len(set(names)) == len(names) <= 5:
            raise ValueError(f"names must be two to five things, all different; got {names}.")
        self.names, self._size = names, check_count("size", size, least=32)
        self.network, missing = None, ""
        self._kept: list[_Kept] = []
        try:
            source = backbone or networks.backbone("efficientnet_lite0", names)
        except FileNotFoundError as error:
            missing = str(error)
        else:
            self.network = _with_head(source, names)
        shown = {"names": list(names), "size": self._size, "missing": missing}
        self._front = Front("teach", shown, None)
        self._front.on_msg(lambda _, message, parts: self._front.send(self.reply(message, *parts)))
        self._about = output("about")
        self._about.value = f"<p>{escape(self._story())}</p>"
        super().__init__("teach", [self._about, self._front])

    @property
    def data(self) -> Dataset:
        """Return the pictures, uint8 (m, 3, size, size), in the order in which they came.

        Raises: ValueError if there are none yet.
        """
        if not self._kept:
            raise ValueError("there are no pictures yet: take some in the widget.")
        labels = torch.tensor([one.thing for one in self._kept], device="cpu")
        return Dataset(torch.cat([one.pixels for one in self._kept]), labels, classes=self.names)

    def static(self) -> dict[str, str]:
        """Return what the widget is for, in words."""
        return {"text/html": f"<p>{escape(self._story())}</p>", "text/plain": self._story()}

    def reply(self, message: dict, picture: bytes = b"") -> dict:
        """Return what the page is told, for one message of it.

        message: {do: "look", "keep", "learn", "drop", "forget" or "hello"; thing, place: numbers of
            what is kept or dropped}. picture: a file's content.
        """
        do, thing = message["do"], message.get("thing", 0)
        if do in ("look", "keep"):
            try:
                pixels = self._pixels(bytes(picture))
            except (OSError, ValueError) as error:
                return {"do": do, "refused": f"A picture cannot be read: {error}."}
            if pixels.float().mean() < DARK:
                return {"do": do, "refused": "A picture is almost black. Is the lens covered?"}
            if do == "look":
                return {"do": do, "sure": self._look(pixels)}
            url = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
            self._kept.append(_Kept(thing, pixels, self._features(pixels), url))
            return {"do": do, "thing": thing, "url": url}
        if do == "drop":
            mine = [place for place, one in enumerate(self._kept) if one.thing == thing]
            del self._kept[mine[message["place"]]]
        elif do == "forget":
            self._kept = [one for one in self._kept if one.thing != thing]
        things = range(len(self.names))
        urls = [[one.url for one in self._kept if one.thing == thing] for thing in things]
        return {"do": do, "pictures": urls} | self._learn()

    def _pixels(self, picture: bytes) -> Tensor:
        with Image.open(io.BytesIO(picture)) as file:
            small = file.convert("RGB").resize((self._size, self._size), Image.Resampling.BOX)
        # A copy: torch wants memory that it could write to.
        values = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8)
        return values.view(1, self._size, self._size, 3).permute(0, 3, 1, 2).contiguous()

    @threads(1)
    def _features(self, pixels: Tensor) -> Tensor:
        at = next(self.network.parameters()).device
        with torch.no_grad():
            return self.network.eval().trunk(normalise(pixels.to(at))).float().cpu()

    def _look(self, pixels: Tensor) -> list[float]:
        at = next(self.network.parameters()).device
        with torch.no_grad():
            return self.network.head(self._features(pixels).to(at))[0].softmax(dim=0).tolist()

    def _learn(self) -> dict[str, object]:
        """Train the head, and five more, if there are two pictures of each thing."""
        labels = [one.thing for one in self._kept]
        if few := [name for k, name in enumerate(self.names) if labels.count(k) < 2]:
            return {"said": f"It needs pictures of {' and of '.join(few)}.", "ready": False}
        start = time.perf_counter()
        features = torch.cat([one.features for one in self._kept])
        weight, bias, held_out = train_heads(features, self.data.labels, len(self.names))
        with torch.no_grad():
            self.network.head.weight.copy_(weight)
            self.network.head.bias.copy_(bias)
        seconds, true = time.perf_counter() - start, torch.arange(len(labels))
        sure = held_out[true, self.data.labels]  # of the right answer
        right = int((held_out.argmax(dim=1) == self.data.labels).sum())
        unsure = [
            [labels[i], labels[:i].count(labels[i]), sure[i].item(), int(held_out[i].argmax())]
            for i in sure.argsort()[:_UNSURE].tolist()
        ]
        said = (
            f"A new head was trained on {len(labels)} pictures in {seconds:.2f} s. Heads that had "
            f"not seen them get {right} of {len(labels)} right."
        )
        return {"said": said, "ready": True, "unsure": unsure}

    def _story(self) -> str:
        return (
            f"Teach it to tell {' from '.join(self.names)}: ten pictures of each, by camera or "
            "from files. The backbone stays frozen and turns each picture into features; only a "
            "new head is trained. The pictures go to this notebook's kernel, and nowhere else."
        )


@on_cpu()
@threads(1)
@torch.enable_grad()
def train_heads(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Train a head on all features, and `FOLDS` side by side that each leave a fifth out.

    A fifth is a row of a class's pictures, in order: neighbors look alike.
    features: floating point (m, features). labels: int64 (m,).
    Returns: the head's weight (classes, features) and bias (classes,); and for each picture the
        probabilities (m, classes) by the head that did not see it.
    """
    features, labels = features.detach().float().cpu(), labels.cpu()
    counts, fold = [0] * classes, torch.empty_like(labels)
    for i, label in enumerate(labels.tolist()):
        fold[i] = FOLDS * counts[label] // int((labels == label).sum())
        counts[label] += 1
    size = features.square().mean().sqrt()  # backbones differ in it; the steps do not
    features = features / size
    seen = torch.ones(1 + FOLDS, len(labels))  # head 0 sees all
    seen[1:] = (fold[None] != torch.arange(FOLDS)[:, None]).float()
    weight = torch.zeros(1 + FOLDS, features.shape[1], classes, requires_grad=True)
    bias = torch.zeros(1 + FOLDS, 1, classes, requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=RATE)
    for _ in range(STEPS):
        logits = features @ weight + bias  # (heads, m, classes)
        loss = functional.cross_entropy(
            logits.flatten(0, 1), labels.repeat(1 + FOLDS), reduction="none"
        )
        optimizer.zero_grad()
        (loss.view(seen.shape) * seen).sum().div(len(labels)).backward()
        optimizer.step()
    with torch.no_grad():
        logits = (features @ weight + bias)[fold + 1, torch.arange(len(labels))]
        return (weight[0].T / size).contiguous(), bias[0, 0].clone(), logits.softmax(dim=1)


def _with_head(source: Network, names: Sequence[str]) -> Network:
    trunk = networks.freeze(copy.deepcopy(source.trunk))
    head = torch.nn.Linear(source.head.in_features, len(names), device="cpu")
    return Network(trunk, head, names).to(next(source.parameters()).device).eval()
