"""Checks of the cells that students fill in: each answers at once, and says what is missing."""

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor, nn

from mtl_course.aggregators import aggregator
from mtl_course.datasets import CLOTHES, UNKNOWN, Dataset
from mtl_course.gradients import cosines
from mtl_course.losses import multi_task
from mtl_course.networks import Network, blocks, frozen, trainable

_RIGHT = "✓ Right."


def fine_tuning(make: Callable[[Network], nn.Module], source: Network, outputs: int) -> str:
    """Say whether `make` returns a network with the trunk of `source` and a new head, all free."""
    try:
        net = make(source)
        got = net.head(torch.zeros(1, source.head.in_features)).shape[1]
    except Exception as error:
        return f"Not yet: it stopped with {type(error).__name__}: {str(error)[:200]}"
    if got != outputs:
        return f"Not yet: the head has {got} outputs, and the question has {outputs} answers."
    here, there = net.trunk.state_dict(), source.trunk.state_dict()
    if not all(torch.equal(here[name], there[name]) for name in there):
        return "Not yet: the trunk does not have the weights that learned A."
    if not all(p.requires_grad for p in net.parameters()):
        return "Not yet: some weights are frozen, and fine-tuning trains every layer."
    return _RIGHT


def last_block(thaw: Callable[[Network], Network], source: Network) -> str:
    """Say whether `thaw` returns a copy of `source` in which head and last block train, no more."""
    try:
        net = thaw(source)
        parts, there = blocks(net), source.state_dict()
    except Exception as error:
        return f"Not yet: it stopped with {type(error).__name__}: {str(error)[:200]}"
    if net is source or not frozen(source.trunk):
        return "Not yet: the trunk you were given must stay frozen. Change the copy."
    if not all(torch.equal(value, there[name]) for name, value in net.state_dict().items()):
        return "Not yet: a weight has changed. Training comes later."
    if not all(p.requires_grad for p in [*parts[-1].parameters(), *net.head.parameters()]):
        return "Not yet: some weights of the last block or the head do not train."
    if not all(map(frozen, parts[:-1])):
        return f"Not yet: only the last of the {len(parts)} blocks should train."
    return f"{_RIGHT} {trainable(net):,} weights train."


def question(answers: str) -> str:
    """Say whether `answers` has a 0, 1 or ? for each of the ten kinds of clothes (M4)."""
    if not isinstance(answers, str) or len(answers) != len(CLOTHES) or {*answers} - {*"01?"}:
        return f"Not yet: got {answers!r}. One of 0, 1 and ? for each of {len(CLOTHES)} kinds."
    kinds = {
        mark: [kind for kind, answer in zip(CLOTHES, answers, strict=True) if answer == mark]
        for mark in "10?"
    }
    if not kinds["1"] or not kinds["0"]:
        return "Not yet: without a yes and a no there is nothing to learn."
    yes, no, unknown = (", ".join(kinds[mark]) or "none" for mark in "10?")
    return f"{_RIGHT} Yes: {yes}. No: {no}. Unknown, so masked: {unknown}."


def paired_gain(mean: float, table: pd.DataFrame, way: str, over: str) -> str:
    """Say whether `mean` is the mean gain of one column of `table` over another, seed by seed."""
    gains = table[way] - table[over]
    if not isinstance(mean, (int, float)) or abs(mean - float(gains.mean())) > 1e-6:
        return f"Not yet: got {mean}. Subtract seed by seed, then take the mean."
    return _RIGHT


def vectorised_loss(loss: Callable[[Tensor, Tensor], Tensor], roads: Dataset) -> str:
    """Say whether `loss(logits, labels)` is the lecture's (M2), and has its gradient."""
    logits = torch.randn(roads.labels.shape, generator=torch.Generator().manual_seed(0))
    mine, own = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    try:
        got = loss(mine, roads.labels)
    except Exception as error:
        return f"Not yet: it stopped with {type(error).__name__}: {error}"
    if not isinstance(got, Tensor) or got.ndim:
        return "Not yet: it must return one number, a tensor without dimensions."
    want = multi_task(own, roads.labels)
    if got.isnan():
        return "Not yet: got nan. A logarithm of a number below 0? Logits are no probabilities yet."
    if not torch.isclose(got, want, rtol=1e-4):
        by = got.item() / want.item()
        return f"Not yet: got {got.item():.4f}, {by:.3g} times what two loops give."
    got.backward()
    want.backward()
    if mine.grad is None or not torch.allclose(mine.grad, own.grad, atol=1e-6):
        return "Not yet: the value is right, but not its gradient. Did you detach something?"
    return _RIGHT


def above_usual(above: pd.Series, accuracy: pd.Series, usual: pd.Series) -> str:
    """Say whether `above` is each task's accuracy less that of its more frequent answer."""
    want = accuracy - usual
    if not isinstance(above, pd.Series) or not above.index.equals(want.index):
        return f"Not yet: got {above}. Subtract the two series; pandas goes task by task."
    if (above - want).abs().max() > 1e-6:
        return "Not yet: it must be the accuracy minus `usual`, task by task."
    return f"{_RIGHT} " + ", ".join(f"{task} {by:+.3f}" for task, by in above.items())


def masked_gradient(gradient: Callable[[Tensor, Tensor], Tensor], roads: Dataset) -> str:
    """Say whether `gradient(logits, labels)` is that of the lecture's loss, with gaps (M4)."""
    logits = torch.randn(roads.labels.shape, generator=torch.Generator().manual_seed(0))
    own = logits.clone().requires_grad_()
    multi_task(own, roads.labels).backward()
    try:
        got = gradient(logits, roads.labels)
    except Exception as error:
        return f"Not yet: it stopped with {type(error).__name__}: {error}"
    if not isinstance(got, Tensor) or got.shape != logits.shape:
        return f"Not yet: it must have the shape of the logits, {tuple(logits.shape)}."
    if (got[roads.labels == UNKNOWN] != 0).any():
        return "Not yet: it pulls where the label is '?'; there it must be 0."
    if not torch.allclose(got, own.grad, atol=1e-6):
        by = got.norm() / own.grad.norm()
        return f"Not yet: 0 at each '?', but {by:.3g} times as long as that of the loss."
    return _RIGHT


def thresholds(cuts: Tensor, logits: Tensor, share: Tensor, test: Dataset) -> str:
    """Say whether the logits exceed `cuts` as often as `share` says, (tasks,); then how accurate.

    logits: of a network for `test`, (m, tasks).
    """
    if not isinstance(cuts, Tensor) or cuts.shape != share.shape:
        return f"Not yet: got {cuts}. One number a task, a tensor of shape {tuple(share.shape)}."
    for task, wanted, got in zip(
        test.tasks, share, (logits > cuts).double().mean(dim=0), strict=True
    ):
        if abs(got - wanted) > 0.005:
            return f"Not yet: it says yes to {got:.1%} for {task}, and should to {wanted:.1%}."
    old, new = (((logits > c) == (test.labels == 1)).double().mean() for c in (0, cuts))
    return f"{_RIGHT} Its accuracy goes from {old:.3f} to {new:.3f}."


def ranking(auc: Callable[[Tensor, Tensor], float], seed: int = 0) -> str:
    """Say whether `auc(logits, labels)` is how often a 1 has the larger logit, among all pairs."""
    draw = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(60, generator=draw), torch.rand(60, generator=draw) < 0.3
    want = (logits[labels][:, None] > logits[~labels]).double().mean().item()
    try:
        got = float(auc(logits, labels.to(torch.int8)))
    except Exception as error:
        return f"Not yet: it stopped with {type(error).__name__}: {str(error)[:200]}"
    if abs(got - want) < 1e-6:
        return _RIGHT
    turned = " You have it the wrong way round." if abs(got - (1 - want)) < 1e-6 else ""
    return f"Not yet: got {got:.4f}, and counting pair by pair gives {want:.4f}.{turned}"


def dealing(deal: Callable[[Tensor], Tensor], labels: Tensor) -> str:
    """Say whether `deal(labels)` permutes the rows of `labels`, which is (m, tasks)."""
    try:
        got = deal(labels.clone())
        one, other = (sorted(map(tuple, rows.tolist())) for rows in (got, labels))
    except Exception as error:
        return f"Not yet: it stopped with {type(error).__name__}: {str(error)[:200]}"
    if got.shape != labels.shape:
        return f"Not yet: the shape is {tuple(got.shape)}; it was {tuple(labels.shape)}."
    if torch.equal(got, labels):
        return "Not yet: every image still has its own labels."
    if one != other:
        return "Not yet: these are not the same rows of answers. Permute whole rows, each once."
    return _RIGHT


def images_of_their_own(join: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Say whether `join(a, b)` is Y for a's images, then b's, each labeled for its own task."""
    a, b = torch.tensor([0, 1, 1], dtype=torch.int8), torch.tensor([1, 0], dtype=torch.int8)
    want = torch.block_diag(a[:, None] - UNKNOWN, b[:, None] - UNKNOWN) + UNKNOWN  # (5, 2)
    try:
        got = join(a.clone(), b.clone())
    except Exception as error:
        return f"Not yet: it stopped with {type(error).__name__}: {str(error)[:200]}"
    if not isinstance(got, Tensor) or got.shape != want.shape:
        shape = tuple(getattr(got, "shape", ()))
        return f"Not yet: 3 images and 2 more are 5 rows for 2 tasks, (5, 2); got {shape}."
    unknown = got[want == UNKNOWN]
    if (unknown != UNKNOWN).any():
        return f"Not yet: where an image has no label for a task, Y must say {UNKNOWN} ('?')."
    if not torch.equal(got, want):
        return "Not yet: the '?' stand where they should, but some labels are missing or moved."
    return _RIGHT


def equal_weights(width: int, build: Callable[[int], nn.Module], rival: nn.Module) -> str:
    """Say whether no other `width` makes `build(width)` as large as `rival`, more nearly."""
    if not isinstance(width, int) or width < 1:
        return f"Not yet: got {width!r}. A width is a whole number, such as 8."
    want = _weights(rival)

    def off(width: int) -> int:
        return abs(_weights(build(width)) - want)

    has = f"a network of width {width} has {_weights(build(width)):,} weights, the four {want:,}"
    if width > 1 and off(width - 1) < off(width):
        return f"Not yet: {has}. Try a narrower one."
    if off(width + 1) < off(width):
        return f"Not yet: {has}. Try a wider one."
    return f"{_RIGHT} Here {has}."


def _weights(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def all_cosines(matrix: Callable[[Tensor], Tensor], gradients: Tensor) -> str:
    """Say whether `matrix(gradients)` holds each pair's cosine. gradients: (tasks, weights)."""
    try:
        got = matrix(gradients)
    except Exception as error:
        return f"Not yet: it stopped with {type(error).__name__}: {str(error)[:200]}"
    tasks = len(gradients)
    if not isinstance(got, Tensor) or got.shape != (tasks, tasks):
        return f"Not yet: one number for each pair, a tensor of shape ({tasks}, {tasks})."
    if not torch.allclose(got.diagonal(), torch.ones(tasks), atol=1e-4):
        return f"Not yet: a gradient's cosine with itself is 1; the first has {got[0, 0]:.4g}."
    if not torch.allclose(got, cosines(gradients), atol=1e-4):
        return "Not yet: the diagonal is right, but the other cosines are not."
    return _RIGHT


def projection(project: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> str:
    """Say whether `project(g, other)` takes out of g what opposes `other`, as PCGrad does for two.

    Both are (weights,). seed: of the vectors that it is tried on.
    """
    draw = torch.Generator().manual_seed(seed)
    for sign, name in ((1, "that agree"), (-1, "in conflict")):
        one, noise = torch.randn(2, 50, generator=draw)
        two = 2 * sign * one + noise
        try:
            got = [project(one, two), project(two, one)]
            opposed = min((got[0] @ two).item(), (got[1] @ one).item())
            right = torch.allclose(got[0] + got[1], aggregator("PCGrad")(torch.stack([one, two])),
                                   atol=1e-4)  # fmt: skip
        except Exception as error:
            return f"Not yet: it stopped with {type(error).__name__}: {str(error)[:200]}"
        if sign < 0 and opposed < -1e-3:
            return f"Not yet: of two {name}, the result still opposes the other gradient."
        if not right:
            return f"Not yet: of two {name}, torchjd's PCGrad gives something else."
    return f"{_RIGHT} The sum of the two is what torchjd's PCGrad gives."
