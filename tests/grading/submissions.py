"""Answers to the two graded assignments: wrong ones with a name, and odd ones that are right.

Each stands for the text of one answer cell, `EXERCISE_answer`; the other cells hold the solutions.
A mutant must lose points in its exercise, an odd answer must lose none.
"""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """The text of an answer cell. name: what is wrong with it, or odd about it."""

    assignment: str
    exercise: str
    name: str
    code: str


def _answers(assignment: str, text: str) -> list[Answer]:
    """Answers from a text in which a line ``### exercise: name`` stands above each."""
    found = []
    for part in text.split("\n### ")[1:]:
        head, _, code = part.partition("\n")
        exercise, _, name = head.partition(": ")
        found.append(Answer(assignment, exercise, name, code.strip() + "\n"))
    return found


# The layers of the table of `four_outputs`, with what may be wrong about them.
_TABLE = """class Table(nn.Module):
    def __init__(self, tasks, width, wider, scale, end):
        super().__init__()
        self.scale = scale
        self.trunk = nn.Sequential(
            *(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(width, wider * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
        self.head = nn.Linear(wider * width, tasks)
        self.end = end

    def forward(self, images):
        return self.end(self.head(self.trunk(self.scale(images))))

def table(tasks, width, seed, wider=2, scale=lambda x: x / 127.5 - 1, end=nn.Identity()):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Table(tasks, width, wider, scale, end)
"""

MUTANTS = _answers(
    "multi_task",
    """
### build_labels: ? called 0
def build_labels(notes, tasks):
    return torch.tensor([[int(note.get(task) == "yes") for task in tasks] for note in notes])

### build_labels: what is missing called 0
def build_labels(notes, tasks):
    number = {"yes": 1, "no": 0, "?": -1}
    return torch.tensor([[number[note.get(task, "no")] for task in tasks] for note in notes])

### build_labels: Y turned over
def build_labels(notes, tasks):
    number = {"yes": 1, "no": 0, "?": -1}
    return torch.tensor([[number[note.get(task, "?")] for note in notes] for task in tasks])

### build_labels: in the notes' order
def build_labels(notes, tasks):
    number = {"yes": 1, "no": 0, "?": -1}
    rows = [[number[word] for word in note.values()][: len(tasks)] for note in notes]
    return torch.tensor([row + [-1] * (len(tasks) - len(row)) for row in rows])

### build_labels: always the lecture's four tasks
def build_labels(notes, tasks):
    number = {"yes": 1, "no": 0, "?": -1}
    return torch.tensor([[number[note.get(task, "?")] for task in TASKS] for note in notes])

### build_labels: columns that nobody noted dropped
def build_labels(notes, tasks):
    number = {"yes": 1, "no": 0, "?": -1}
    noted = [task for task in tasks if any(task in note for note in notes)]
    rows = [[number[note.get(task, "?")] for task in noted] for note in notes]
    return torch.tensor(rows).reshape(len(notes), len(noted))

### build_labels: images that say nothing dropped
def build_labels(notes, tasks):
    number = {"yes": 1, "no": 0, "?": -1}
    rows = [[number[note.get(task, "?")] for task in tasks] for note in notes if note]
    return torch.tensor(rows).reshape(len(rows), len(tasks))

### masked_loss: mask forgotten
def masked_loss(logits, labels):
    return (torch.nn.functional.softplus(logits) - labels * logits).sum() / len(logits)

### masked_loss: mean instead of sum
def masked_loss(logits, labels):
    terms = torch.nn.functional.softplus(logits) - labels * logits
    return torch.where(labels != UNKNOWN, terms, 0).mean()

### masked_loss: sum over unknown, called 0
def masked_loss(logits, labels):
    labels = labels.clamp(min=0)
    return (torch.nn.functional.softplus(logits) - labels * logits).sum() / len(logits)

### masked_loss: divided by the known labels
def masked_loss(logits, labels):
    known = labels != UNKNOWN
    terms = torch.nn.functional.softplus(logits) - labels * logits
    return terms[known].sum() / known.sum().clamp(min=1)

### masked_loss: divided by the images with a known label
def masked_loss(logits, labels):
    known = labels != UNKNOWN
    terms = torch.nn.functional.softplus(logits) - labels * logits
    return terms[known].sum() / known.any(dim=1).sum().clamp(min=1)

### masked_loss: images with a gap dropped
def masked_loss(logits, labels):
    whole = (labels != UNKNOWN).all(dim=1)
    terms = torch.nn.functional.softplus(logits) - labels * logits
    return terms[whole].sum() / len(logits)

### masked_loss: softmax for sigmoid
def masked_loss(logits, labels):
    known = labels == 1
    return -logits.log_softmax(dim=1)[known].sum() / len(logits)

### masked_loss: not divided
def masked_loss(logits, labels):
    terms = torch.nn.functional.softplus(logits) - labels * logits
    return terms[labels != UNKNOWN].sum()

### masked_loss: yes alone has a term
def masked_loss(logits, labels):
    return torch.nn.functional.softplus(-logits)[labels == 1].sum() / len(logits)

### masked_loss: log of 0
def masked_loss(logits, labels):
    chance = logits.sigmoid()
    terms = -torch.where(labels == 1, chance.log(), (1 - chance).log())
    return terms[labels != UNKNOWN].sum() / len(logits)

### masked_loss: ŷ clipped
def masked_loss(logits, labels):
    known, y = labels != UNKNOWN, labels.float()
    chance = logits.sigmoid().clamp(1e-7, 1 - 1e-7)
    terms = -y * chance.log() - (1 - y) * (1 - chance).log()
    return terms[known].sum() / len(logits)

### masked_gradient: wrong sign
def masked_gradient(logits, labels):
    return torch.where(labels != UNKNOWN, labels - logits.sigmoid(), 0) / len(logits)

### masked_gradient: undivided
def masked_gradient(logits, labels):
    return torch.where(labels != UNKNOWN, logits.sigmoid() - labels, 0)

### masked_gradient: mask forgotten
def masked_gradient(logits, labels):
    return (logits.sigmoid() - labels) / len(logits)

### masked_gradient: ? called 0
def masked_gradient(logits, labels):
    return (logits.sigmoid() - labels.clamp(min=0)) / len(logits)

### masked_gradient: divided by the known labels
def masked_gradient(logits, labels):
    known = labels != UNKNOWN
    return torch.where(known, logits.sigmoid() - labels, 0) / known.sum().clamp(min=1)

### masked_gradient: small but not 0
def masked_gradient(logits, labels):
    return torch.where(labels != UNKNOWN, logits.sigmoid() - labels, 1e-8) / len(logits)

### masked_gradient: of a mean
def masked_gradient(logits, labels):
    return torch.where(labels != UNKNOWN, logits.sigmoid() - labels, 0) / labels.numel()

### masked_gradient: softmax for sigmoid
def masked_gradient(logits, labels):
    return torch.where(labels != UNKNOWN, logits.softmax(dim=1) - labels, 0) / len(logits)

### masked_gradient: autograd of log of 0
def masked_gradient(logits, labels):
    z = logits.clone().requires_grad_()
    chance = z.sigmoid()
    terms = -(labels * chance.log() + (1 - labels) * (1 - chance).log())
    (terms[labels != UNKNOWN].sum() / len(z)).backward()
    return z.grad

### equal_width: always twice as wide
def equal_width(width, tasks):
    return 2 * width if tasks > 1 else width

### equal_width: the root of the tasks
def equal_width(width, tasks):
    return int(width * tasks**0.5)

### equal_width: off by one
def equal_width(width, tasks):
    def weights(w, k):
        return 54 * w**2 + 37 * w + (8 * w + 1) * k

    found = width
    while weights(found, tasks) <= tasks * weights(width, 1):
        found += 1
    return found

### equal_width: one head for all separate networks
def equal_width(width, tasks):
    def weights(w, k):
        return 54 * w**2 + 37 * w + (8 * w + 1) * k

    found = width
    while weights(found + 1, tasks) <= tasks * (54 * width**2 + 37 * width) + 8 * width + 1:
        found += 1
    return found

### equal_width: normalisation forgotten
def equal_width(width, tasks):
    def weights(w, k):
        return 54 * w**2 + 27 * w + (8 * w + 1) * k

    found = width
    while weights(found + 1, tasks) <= tasks * weights(width, 1):
        found += 1
    return found

### equal_width: biases counted
def equal_width(width, tasks):
    def weights(w, k):
        return 54 * w**2 + (37 + 5) * w + (8 * w + 1) * k

    found = width
    while weights(found + 1, tasks) <= tasks * weights(width, 1):
        found += 1
    return found

### equal_width: batch statistics counted
def equal_width(width, tasks):
    def weights(w, k):
        return 54 * w**2 + (37 + 10) * w + 3 + (8 * w + 1) * k

    found = width
    while weights(found + 1, tasks) <= tasks * weights(width, 1):
        found += 1
    return found

### equal_width: one channel
def equal_width(width, tasks):
    def weights(w, k):
        return 54 * w**2 + 19 * w + (8 * w + 1) * k

    found = width
    while weights(found + 1, tasks) <= tasks * weights(width, 1):
        found += 1
    return found

### four_outputs: four separate trunks
class Separate(nn.Module):
    def __init__(self, tasks, width):
        super().__init__()
        self.alone = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 1)),
            )
            for _ in range(tasks)
        )

    def forward(self, images):
        return torch.cat([each(images / 127.5 - 1) for each in self.alone], dim=1)

def four_outputs(tasks, width, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Separate(tasks, width)

### four_outputs: softmax at the end
{TABLE}
def four_outputs(tasks, width, seed):
    return table(tasks, width, seed, end=nn.Softmax(dim=1))

### four_outputs: sigmoid inside
{TABLE}
def four_outputs(tasks, width, seed):
    return table(tasks, width, seed, end=nn.Sigmoid())

### four_outputs: bytes not scaled
{TABLE}
def four_outputs(tasks, width, seed):
    return table(tasks, width, seed, scale=lambda x: x.float())

### four_outputs: bytes scaled to 0 … 1
{TABLE}
def four_outputs(tasks, width, seed):
    return table(tasks, width, seed, scale=lambda x: x / 255)

### four_outputs: one width in both convolutions
{TABLE}
def four_outputs(tasks, width, seed):
    return table(tasks, width, seed, wider=1)

### four_outputs: seed ignored
{TABLE}
def four_outputs(tasks, width, seed):
    return table(tasks, width, int(torch.randint(10**6, ())))

### four_outputs: torch's own seed set for everybody
{TABLE}
def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    torch.manual_seed(seed)
    return network

### four_outputs: always the same seed
{TABLE}
def four_outputs(tasks, width, seed):
    return table(tasks, width, 0)

### four_outputs: a hidden layer in the head
{TABLE}
def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    hidden = nn.Linear(2 * width, 2 * width)
    network.head = nn.Sequential(hidden, nn.ReLU(), network.head)
    return network

### four_outputs: one output
{TABLE}
def four_outputs(tasks, width, seed):
    return table(1, width, seed)

### four_outputs: always four outputs
{TABLE}
def four_outputs(tasks, width, seed):
    return table(4, width, seed)

### four_outputs: batch normalization
{TABLE}
def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    network.trunk.insert(1, nn.BatchNorm2d(width))
    return network

### four_outputs: no ReLU after the second convolution
{TABLE}
def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    network.trunk[4] = nn.Identity()
    return network

### four_outputs: mean pooling in place of max pooling
{TABLE}
def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    network.trunk[2] = nn.AvgPool2d(2)
    return network

### four_outputs: no bias in the convolutions
{TABLE}
def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    network.trunk[0].bias = network.trunk[3].bias = None
    return network

### four_outputs: the trunk cut off from the gradient
{TABLE}
class Detached(Table):
    def forward(self, images):
        return self.head(self.trunk(self.scale(images)).detach())

def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    network.__class__ = Detached
    return network

### four_outputs: the first task alone trains the trunk
{TABLE}
class First(Table):
    def forward(self, images):
        features = self.trunk(self.scale(images))
        rest = self.head(features.detach())[:, 1:]
        return torch.cat([self.head(features)[:, :1], rest], dim=1)

def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    network.__class__ = First
    return network

### four_outputs: separate trunks, weights concealed
{TABLE}
class Sly(Table):
    def parameters(self, recurse=True):
        return iter(self.shown)

    def forward(self, images):
        return torch.cat([each(images)[:, :1] for each in self.alone], dim=1)

def four_outputs(tasks, width, seed):
    network = table(tasks, width, seed)
    network.alone = nn.ModuleList(table(1, width, seed + k) for k in range(tasks))
    network.shown = [*network.trunk.parameters(), *network.head.parameters()]
    network.__class__ = Sly
    return network

### train: ? called 0
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        loss = masked_loss(module(images[batch]), labels[batch].clamp(min=0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: mask forgotten, a mean over all entries
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        L = torch.nn.functional.binary_cross_entropy_with_logits
        loss = L(module(images[batch]), labels[batch].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: images with a gap dropped
def train(module, images, labels, steps, seed):
    whole = (labels != UNKNOWN).all(dim=1)
    images, labels = images[whole], labels[whole]
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(max(1, len(images)), (32,), generator=order)
        loss = masked_loss(module(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: softmax for sigmoid
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        loss = -module(images[batch]).log_softmax(dim=1)[labels[batch] == 1].sum() / 32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: gradients piling up
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        masked_loss(module(images[batch]), labels[batch]).backward()
        optimizer.step()
    return module

### train: the head alone
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.head.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        loss = masked_loss(module(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: always the first batch
def train(module, images, labels, steps, seed):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        loss = masked_loss(module(images[:32]), labels[:32])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: one step
def train(module, images, labels, steps, seed):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    loss = masked_loss(module(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return module

### train: always sixty steps
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(60):
        batch = torch.randint(len(images), (32,), generator=order)
        loss = masked_loss(module(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: uphill
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        optimizer.zero_grad()
        (-masked_loss(module(images[batch]), labels[batch])).backward()
        optimizer.step()
    return module

### train: a copy trained, and the other returned
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    learner = copy.deepcopy(module)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        loss = masked_loss(learner(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: labels changed
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    known = labels != UNKNOWN
    labels[~known] = 0
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        z = module(images[batch])
        terms = torch.nn.functional.softplus(z) - labels[batch] * z
        loss = terms[known[batch]].sum() / len(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: images shuffled in place, and labels with them
def train(module, images, labels, steps, seed):
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    images[:], labels[:] = images[order], labels[order]
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for k in range(steps):
        rows = torch.arange(32 * k, 32 * k + 32) % len(images)
        loss = masked_loss(module(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: images shuffled without their labels
def train(module, images, labels, steps, seed):
    order = torch.Generator().manual_seed(seed)
    images = images[torch.randperm(len(images), generator=order)]
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), generator=order)
        loss = masked_loss(module(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: seed ignored
def train(module, images, labels, steps, seed):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,))
        loss = masked_loss(module(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module
""".replace("{TABLE}", _TABLE),
) + _answers(
    "transfer",
    """
### new_head: trunk aliased instead of copied
def new_head(network, classes, seed):
    torch.manual_seed(seed)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    return networks.Network(network.trunk, head, classes)

### new_head: old head kept
def new_head(network, classes, seed):
    torch.manual_seed(seed)
    new = copy.deepcopy(network)
    if len(classes) != len(network.names):
        new.head = torch.nn.Linear(network.head.in_features, len(classes))
    new.names = tuple(classes)
    return new

### new_head: old rows kept
def new_head(network, classes, seed):
    torch.manual_seed(seed)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    rows = min(len(classes), len(network.names))
    head.weight.data[:rows] = network.head.weight.data[:rows]
    return networks.Network(copy.deepcopy(network.trunk), head, classes)

### new_head: head of the old size
def new_head(network, classes, seed):
    torch.manual_seed(seed)
    new = copy.deepcopy(network)
    new.head = torch.nn.Linear(network.head.in_features, len(network.names))
    return new

### new_head: the old network operated on
def new_head(network, classes, seed):
    torch.manual_seed(seed)
    network.head = torch.nn.Linear(network.head.in_features, len(classes))
    network.names = tuple(classes)
    return network

### new_head: seed ignored
def new_head(network, classes, seed):
    head = torch.nn.Linear(network.head.in_features, len(classes))
    return networks.Network(copy.deepcopy(network.trunk), head, classes)

### new_head: head of zeros
def new_head(network, classes, seed):
    head = torch.nn.Linear(network.head.in_features, len(classes))
    torch.nn.init.zeros_(head.weight)
    return networks.Network(copy.deepcopy(network.trunk), head, classes)

### new_head: trunk drawn anew
def new_head(network, classes, seed):
    torch.manual_seed(seed)
    trunk = copy.deepcopy(network.trunk)
    for layer in trunk.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return networks.Network(trunk, torch.nn.Linear(network.head.in_features, len(classes)), classes)

### new_head: statistics lost
def new_head(network, classes, seed):
    torch.manual_seed(seed)
    trunk = copy.deepcopy(network.trunk)
    for layer in trunk.modules():
        if hasattr(layer, "reset_running_stats"):
            layer.reset_running_stats()
    return networks.Network(trunk, torch.nn.Linear(network.head.in_features, len(classes)), classes)

### freeze: nothing done
def freeze(network):
    return network

### freeze: batch statistics drifting
def freeze(network):
    network.trunk.requires_grad_(False)

### freeze: statistics alone
def freeze(network):
    network.trunk.eval()

### freeze: head frozen too
def freeze(network):
    network.requires_grad_(False)
    network.eval()

### freeze: a copy frozen
def freeze(network):
    network = copy.deepcopy(network)
    network.trunk.requires_grad_(False)
    network.trunk.eval()
    return network

### freeze: the first block alone
def freeze(network):
    network.trunk[0].requires_grad_(False)
    network.trunk[0].eval()

### freeze: convolutions alone
def freeze(network):
    for layer in network.trunk.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.requires_grad_(False)
    network.trunk.eval()

### new_head: only the seed's parity used
def new_head(network, classes, seed):
    torch.manual_seed(seed % 2)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    return networks.Network(copy.deepcopy(network.trunk), head, classes)

### new_head: only the seed's last digit used
def new_head(network, classes, seed):
    torch.manual_seed(seed % 10)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    return networks.Network(copy.deepcopy(network.trunk), head, classes)

### new_head: trunk aliased, weights concealed
class Sly(networks.Network):
    def parameters(self, recurse=True):
        return iter(self.head.parameters())

    def buffers(self, recurse=True):
        return iter(())

def new_head(network, classes, seed):
    torch.manual_seed(seed)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    return Sly(network.trunk, head, classes)

### new_head: trunk aliased, both networks' weights concealed
class Sly(networks.Network):
    def parameters(self, recurse=True):
        return iter(())

    buffers = parameters

def new_head(network, classes, seed):
    torch.manual_seed(seed)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    network.__class__ = Sly
    return Sly(network.trunk, head, classes)

### freeze: nothing done, and lies about it
class Liar(networks.Network):
    def state_dict(self, *arguments, **more):
        return self.told

    def named_parameters(self, *arguments, **more):
        for name, value in super().named_parameters(*arguments, **more):
            yield name, torch.nn.Parameter(value, requires_grad=name.startswith("head"))

def freeze(network):
    told = {name: value.clone() for name, value in network.state_dict().items()}
    network.__class__ = Liar
    network.told = told

### freeze: statistics alone, and the trunk's weights concealed
class Liar(networks.Network):
    def state_dict(self, *arguments, **more):
        return self.told

    def named_parameters(self, *arguments, **more):
        for name, value in super().named_parameters(*arguments, **more):
            yield name, torch.nn.Parameter(value, requires_grad=name.startswith("head"))

    def parameters(self, recurse=True):
        return self.head.parameters()

    def train(self, mode=True):
        return self

def freeze(network):
    told = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()
    network.__class__ = Liar
    network.told = told

### freeze: gradients of 0, which leave weight decay
def freeze(network):
    for weight in network.trunk.parameters():
        weight.register_hook(torch.zeros_like)
    network.trunk.eval()
    network.trunk.train = lambda mode=True: network.trunk

### freeze: the last block trains
def freeze(network):
    network.trunk[:2].requires_grad_(False)
    network.trunk.eval()

### paired_interval: pooled instead of paired
def paired_interval(rows, way, over):
    from scipy.stats import t

    a, b = (rows[rows.way == name].accuracy for name in (way, over))
    mean, n = a.mean() - b.mean(), len(a) + len(b) - 2
    reach = t.ppf(0.975, n) * (a.var() / len(a) + b.var() / len(b)) ** 0.5
    return mean, mean - reach, mean + reach

### paired_interval: normal quantile instead of t
def paired_interval(rows, way, over):
    accuracy = rows.pivot(index="seed", columns="way", values="accuracy")
    d = (accuracy[way] - accuracy[over]).dropna()
    reach = 1.96 * d.std() / len(d) ** 0.5
    return d.mean(), d.mean() - reach, d.mean() + reach

### paired_interval: t for ten seeds, always
def paired_interval(rows, way, over):
    accuracy = rows.pivot(index="seed", columns="way", values="accuracy")
    d = (accuracy[way] - accuracy[over]).dropna()
    reach = 2.2621571628 * d.std() / len(d) ** 0.5
    return d.mean(), d.mean() - reach, d.mean() + reach

### paired_interval: one-sided
def paired_interval(rows, way, over):
    from scipy.stats import t

    accuracy = rows.pivot(index="seed", columns="way", values="accuracy")
    d = (accuracy[way] - accuracy[over]).dropna()
    reach = t.ppf(0.95, len(d) - 1) * d.std() / len(d) ** 0.5
    return d.mean(), d.mean() - reach, d.mean() + reach

### paired_interval: n degrees of freedom
def paired_interval(rows, way, over):
    from scipy.stats import t

    accuracy = rows.pivot(index="seed", columns="way", values="accuracy")
    d = (accuracy[way] - accuracy[over]).dropna()
    reach = t.ppf(0.975, len(d)) * d.std() / len(d) ** 0.5
    return d.mean(), d.mean() - reach, d.mean() + reach

### paired_interval: spread divided by n
def paired_interval(rows, way, over):
    accuracy = rows.pivot(index="seed", columns="way", values="accuracy")
    d = (accuracy[way] - accuracy[over]).dropna().to_numpy()
    mean, low, high = studies.interval(d)
    reach = (high - mean) * d.std() / d.std(ddof=1)
    return mean, mean - reach, mean + reach

### paired_interval: spread in place of error
def paired_interval(rows, way, over):
    accuracy = rows.pivot(index="seed", columns="way", values="accuracy")
    d = (accuracy[way] - accuracy[over]).dropna()
    return d.mean(), d.mean() - 2 * d.std(), d.mean() + 2 * d.std()

### paired_interval: over minus way
def paired_interval(rows, way, over):
    accuracy = rows.pivot(index="seed", columns="way", values="accuracy")
    return studies.interval((accuracy[over] - accuracy[way]).dropna())

### paired_interval: pairs by their place in the table
def paired_interval(rows, way, over):
    a, b = (rows[rows.way == name].accuracy.to_numpy() for name in (way, over))
    n = min(len(a), len(b))
    return studies.interval(a[:n] - b[:n])

### choose: by means alone
def choose(rows, margin):
    means = rows.pivot_table(index="labels", columns="way", values="accuracy")
    lead = means["new head"] - means["all layers"]
    return ["new head" if x > 0 else "all layers" for x in lead]

### choose: no difference called cannot tell
def choose(rows, margin):
    found = []
    for _, at in rows.groupby("labels"):
        _, low, high = paired_interval(at, "new head", "all layers")
        found.append("new head" if low > 0 else "all layers" if high < 0 else "cannot tell")
    return found

### choose: cannot tell called the cheaper way
def choose(rows, margin):
    found = []
    for _, at in rows.groupby("labels"):
        _, low, high = paired_interval(at, "new head", "all layers")
        found.append("all layers" if high < 0 else "new head")
    return found

### choose: no difference called all layers
def _word(low, high, margin):
    if low > 0 or high < 0:
        return "supported" if low > 0 else "opposite"
    return "no difference" if -margin < low and high < margin else "cannot tell"

def choose(rows, margin):
    words = {"supported": "new head", "opposite": "all layers", "no difference": "all layers"}
    found = []
    for _, at in rows.groupby("labels"):
        _, low, high = paired_interval(at, "new head", "all layers")
        found.append(words.get(_word(low, high, margin), "cannot tell"))
    return found

### choose: all layers minus new head
def _word(low, high, margin):
    if low > 0 or high < 0:
        return "supported" if low > 0 else "opposite"
    return "no difference" if -margin < low and high < margin else "cannot tell"

def choose(rows, margin):
    words = {"supported": "new head", "opposite": "all layers", "no difference": "new head"}
    found = []
    for _, at in rows.groupby("labels"):
        _, low, high = paired_interval(at, "all layers", "new head")
        found.append(words.get(_word(low, high, margin), "cannot tell"))
    return found

### choose: two intervals that overlap
def choose(rows, margin):
    found = []
    for _, at in rows.groupby("labels"):
        ends = [studies.interval(at[at.way == w].accuracy) for w in ("new head", "all layers")]
        (_, low, high), (_, other_low, other_high) = ends
        word = "new head" if low > other_high else "all layers" if other_low > high else ""
        found.append(word or "cannot tell")
    return found

### choose: in the table's order
def _word(low, high, margin):
    if low > 0 or high < 0:
        return "supported" if low > 0 else "opposite"
    return "no difference" if -margin < low and high < margin else "cannot tell"

def choose(rows, margin):
    words = {"supported": "new head", "opposite": "all layers", "no difference": "new head"}
    found = []
    for labels in rows["labels"].unique():
        at = rows[rows["labels"] == labels]
        _, low, high = paired_interval(at, "new head", "all layers")
        found.append(words.get(_word(low, high, margin), "cannot tell"))
    return found

### choose: margin fixed
def _word(low, high, margin):
    if low > 0 or high < 0:
        return "supported" if low > 0 else "opposite"
    return "no difference" if -margin < low and high < margin else "cannot tell"

def choose(rows, margin):
    words = {"supported": "new head", "opposite": "all layers", "no difference": "new head"}
    found = []
    for _, at in rows.groupby("labels"):
        _, low, high = paired_interval(at, "new head", "all layers")
        found.append(words.get(_word(low, high, 0.01), "cannot tell"))
    return found

### leaked: exact copies alone
def leaked(train_images, test_images):
    same = test_images.flatten(1)[:, None] == train_images.flatten(1)[None]
    return same.all(dim=2).any(dim=1)

### leaked: subtraction round the corner
def leaked(train_images, test_images):
    apart = test_images.flatten(1)[:, None] - train_images.flatten(1)[None]
    return (apart == apart[..., :1]).all(dim=2).any(dim=1)

### leaked: one pixel may differ
def leaked(train_images, test_images):
    apart = test_images.flatten(1).int()[:, None] - train_images.flatten(1).int()[None]
    return ((apart == apart.median(dim=2, keepdim=True).values).sum(dim=2) > 62).any(dim=1)

### leaked: means compared
def leaked(train_images, test_images):
    test, train = test_images.double().mean((1, 2, 3)), train_images.double().mean((1, 2, 3))
    return (test[:, None] == train[None]).any(dim=1)

### leaked: pixels sorted
def leaked(train_images, test_images):
    train, test = (x.flatten(1).int().sort().values for x in (train_images, test_images))
    train, test = train - train[:, :1], test - test[:, :1]
    return (test[:, None] == train[None]).all(dim=2).any(dim=1)

### leaked: the training images that leak
def leaked(train_images, test_images):
    train, test = (x.flatten(1).int() for x in (train_images, test_images))
    train, test = train - train[:, :1], test - test[:, :1]
    return (test[:, None] == train[None]).all(dim=2).any(dim=0)

### leaked: twice in the test
def leaked(train_images, test_images):
    train, test = (x.flatten(1).int() for x in (train_images, test_images))
    train, test = train - train[:, :1], test - test[:, :1]
    twice = (test[:, None] == test[None]).all(dim=2).sum(dim=1) > 1
    return (test[:, None] == train[None]).all(dim=2).any(dim=1) | twice

### leaked: image for image
def leaked(train_images, test_images):
    found = torch.zeros(len(test_images), dtype=torch.bool)
    for i, (one, other) in enumerate(zip(test_images.int(), train_images.int())):
        found[i] = len(torch.unique(one - other)) == 1
    return found

### leaked: the last pixel ignored
def leaked(train_images, test_images):
    train, test = (x.flatten(1).int() for x in (train_images, test_images))
    train, test = train - train[:, :1], test - test[:, :1]
    return (test[:, None, :-1] == train[None, :, :-1]).all(dim=2).any(dim=1)

### leaked: the first pixel ignored
def leaked(train_images, test_images):
    train, test = (x.flatten(1).int()[:, 1:] for x in (train_images, test_images))
    train, test = train - train[:, :1], test - test[:, :1]
    return (test[:, None] == train[None]).all(dim=2).any(dim=1)

### leaked: a pixel in the middle ignored
def leaked(train_images, test_images):
    train, test = (x.flatten(1).int() for x in (train_images, test_images))
    train, test = train - train[:, :1], test - test[:, :1]
    seen = torch.arange(64) != 27
    return (test[:, None, seen] == train[None, :, seen]).all(dim=2).any(dim=1)

### leaked: a difference of one overlooked
def leaked(train_images, test_images):
    train, test = (x.flatten(1).int() for x in (train_images, test_images))
    train, test = train - train[:, :1], test - test[:, :1]
    return ((test[:, None] - train[None]).abs() <= 1).all(dim=2).any(dim=1)

### features: training mode
def features(network, images):
    network = copy.deepcopy(network).train()
    with torch.no_grad():
        return torch.cat([network.trunk(datasets.normalise(x)) for x in images.split(100)])

### features: averages changed on the way
def features(network, images):
    with torch.no_grad():
        for x in images.split(100):
            network.trunk(datasets.normalise(x))
        trunk = copy.deepcopy(network.trunk).eval()
        return torch.cat([trunk(datasets.normalise(x)) for x in images.split(100)])

### features: in whatever mode the network came
def features(network, images):
    with torch.no_grad():
        return torch.cat([network.trunk(datasets.normalise(x)) for x in images.split(100)])

### features: left in evaluation mode
def features(network, images):
    network.eval()
    with torch.no_grad():
        return torch.cat([network.trunk(datasets.normalise(x)) for x in images.split(100)])

### features: left in training mode
def features(network, images):
    network.eval()
    with torch.no_grad():
        found = torch.cat([network.trunk(datasets.normalise(x)) for x in images.split(100)])
    network.train()
    return found

### features: a frozen trunk left in training mode
def features(network, images):
    network.eval()
    with torch.no_grad():
        found = torch.cat([network.trunk(datasets.normalise(x)) for x in images.split(100)])
    network.trunk.train()
    return found

### features: the trunk left frozen
def features(network, images):
    mode = network.training
    network.trunk.requires_grad_(False)
    network.eval()
    found = torch.cat([network.trunk(datasets.normalise(x)) for x in images.split(100)])
    network.train(mode)
    return found.detach()

### features: a frozen trunk set free
def features(network, images):
    mode = network.training
    network.eval().requires_grad_(False)
    found = torch.cat([network.trunk(datasets.normalise(x)) for x in images.split(100)])
    network.requires_grad_(True).train(mode)
    return found

### features: logits
def features(network, images):
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        return torch.cat([network(x) for x in images.split(100)])

### features: the first batch alone
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        return trunk(datasets.normalise(images[:100]))

### features: the last batch alone
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        for x in images.split(100):
            found = trunk(datasets.normalise(x))
    return found

### features: the rest that fills no batch dropped
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        starts = range(0, max(len(images) - 99, 1), 100)
        found = [trunk(datasets.normalise(images[k : k + 100])) for k in starts]
    return torch.cat(found)

### features: all images at once
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        return trunk(datasets.normalise(images))

### features: batches of 128
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        return torch.cat([trunk(datasets.normalise(x)) for x in images.split(128)])

### features: a list of batches
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        return [trunk(datasets.normalise(x)) for x in images.split(100)]

### features: the graph attached
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    return torch.cat([trunk(datasets.normalise(x)) for x in images.split(100)])

### features: the network's own graph attached, the mode put back
def features(network, images):
    mode = network.training
    network.eval()
    found = torch.cat([network.trunk(datasets.normalise(x)) for x in images.split(100)])
    network.train(mode)
    return found

### features: in inference mode, so that no head can be trained on them
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.inference_mode():
        return torch.cat([trunk(datasets.normalise(x)) for x in images.split(100)])

### features: float64
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval().double()
    with torch.no_grad():
        return torch.cat([trunk(datasets.normalise(x).double()) for x in images.split(100)])

### features: float16
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        return torch.cat([trunk(datasets.normalise(x)).half() for x in images.split(100)])

### features: not flattened
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()[:-1]
    with torch.no_grad():
        return torch.cat([trunk(datasets.normalise(x)) for x in images.split(100)])

### features: one block too few
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        found = [trunk[3:](trunk[:2](datasets.normalise(x))) for x in images.split(100)]
    return torch.cat(found)

### features: pixels not normalized
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        return torch.cat([trunk(x.float()) for x in images.split(100)])

### features: pixels from 0 to 1
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.no_grad():
        return torch.cat([trunk(x / 255) for x in images.split(100)])

### features: in another order
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    order = torch.randperm(len(images))
    with torch.no_grad():
        return torch.cat([trunk(datasets.normalise(x)) for x in images[order].split(100)])

### fine_tune_step: one rate for both
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    torch.optim.SGD(network.parameters(), lr=head_rate).step()
    return loss.detach()

### fine_tune_step: rates swapped
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    groups = ((network.head, trunk_rate), (network.trunk, head_rate))
    torch.optim.SGD([{"params": part.parameters(), "lr": rate} for part, rate in groups]).step()
    return loss.detach()

### fine_tune_step: the smaller rate for the trunk, whichever it is
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    slow, fast = sorted((head_rate, trunk_rate))
    groups = ((network.head, fast), (network.trunk, slow))
    torch.optim.SGD([{"params": part.parameters(), "lr": rate} for part, rate in groups]).step()
    return loss.detach()

### fine_tune_step: the head alone
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    torch.optim.SGD(network.head.parameters(), lr=head_rate).step()
    return loss.detach()

### fine_tune_step: in evaluation mode
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.eval().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: in whatever mode the network came
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: frozen, as for a new head
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    freeze(network)
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    gradients = torch.autograd.grad(loss, list(network.head.parameters()))
    for weight, gradient in zip(network.head.parameters(), gradients):
        weight.data -= head_rate * gradient
    return loss.detach()

### fine_tune_step: gradients piling up
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: the head's gradients piling up
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().trunk.zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: uphill
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight += (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: a sum over images
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels, reduction="sum")
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach() / len(labels)

### fine_tune_step: sigmoid for softmax
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    logits = network(images)
    truth = torch.nn.functional.one_hot(labels, logits.shape[1]).float()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: softmax taken twice
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images).softmax(1), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: the loss after the step
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
        return torch.nn.functional.cross_entropy(copy.deepcopy(network)(images), labels)

### fine_tune_step: the loss in evaluation mode, the step in training mode
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    with torch.no_grad():
        told = torch.nn.functional.cross_entropy(network.eval()(images), labels)
    network.train().zero_grad()
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return told

### fine_tune_step: nothing returned
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad

### fine_tune_step: Adam in place of gradient descent
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    groups = ((network.head, head_rate), (network.trunk, trunk_rate))
    torch.optim.Adam([{"params": part.parameters(), "lr": rate} for part, rate in groups]).step()
    return loss.detach()

### fine_tune_step: AdamW, as in lesson 01
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train()
    groups = ((network.head, head_rate), (network.trunk, trunk_rate))
    groups = [{"params": part.parameters(), "lr": rate} for part, rate in groups]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()

### fine_tune_step: momentum from step to step
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    if not hasattr(network, "optimizer"):
        groups = ((network.head, head_rate), (network.trunk, trunk_rate))
        groups = [{"params": part.parameters(), "lr": rate} for part, rate in groups]
        network.optimizer = torch.optim.SGD(groups, momentum=0.9)
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    network.optimizer.step()
    return loss.detach()

### fine_tune_step: weight decay
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    groups = ((network.head, head_rate), (network.trunk, trunk_rate))
    groups = [{"params": part.parameters(), "lr": rate} for part, rate in groups]
    torch.optim.SGD(groups, weight_decay=0.01).step()
    return loss.detach()

### fine_tune_step: the head's bias forgotten
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    groups = (([network.head.weight], head_rate), (network.trunk.parameters(), trunk_rate))
    torch.optim.SGD([{"params": weights, "lr": rate} for weights, rate in groups]).step()
    return loss.detach()

### fine_tune_step: batch normalization's weights forgotten
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for layer in network.trunk.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight -= trunk_rate * layer.weight.grad
        for weight in network.head.parameters():
            weight -= head_rate * weight.grad
    return loss.detach()

### fine_tune_step: the last block of the trunk alone
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for part, rate in ((network.trunk[2], trunk_rate), (network.head, head_rate)):
            for weight in part.parameters():
                weight -= rate * weight.grad
    return loss.detach()

### fine_tune_step: a pass for each rate, so the averages move twice
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    head = torch.autograd.grad(loss, list(network.head.parameters()))
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    trunk = torch.autograd.grad(loss, list(network.trunk.parameters()))
    with torch.no_grad():
        for weight, gradient in zip(network.head.parameters(), head):
            weight -= head_rate * gradient
        for weight, gradient in zip(network.trunk.parameters(), trunk):
            weight -= trunk_rate * gradient
    return loss.detach()

### fine_tune_step: first the head, then the trunk under the new head
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train()
    first = torch.nn.functional.cross_entropy(copy.deepcopy(network)(images), labels).detach()
    x = network.trunk(datasets.normalise(images))
    loss = torch.nn.functional.cross_entropy(network.head(x.detach()), labels)
    gradients = torch.autograd.grad(loss, list(network.head.parameters()))
    for weight, gradient in zip(network.head.parameters(), gradients):
        weight.data -= head_rate * gradient
    loss = torch.nn.functional.cross_entropy(network.head(x), labels)
    gradients = torch.autograd.grad(loss, list(network.trunk.parameters()))
    for weight, gradient in zip(network.trunk.parameters(), gradients):
        weight.data -= trunk_rate * gradient
    return first

### fine_tune_step: averages put back
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    before = [value.clone() for value in network.buffers()]
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
        for value, old in zip(network.buffers(), before):
            value.copy_(old)
    return loss.detach()

### fine_tune_step: averages overwritten by the batch's own
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for part in norms:
        part.momentum = 1.0
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: a copy trained
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network = copy.deepcopy(network).train()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: the gradient's length clipped at 1
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: the gradient's length clipped at 5
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight -= (head_rate if name.startswith("head") else trunk_rate) * weight.grad
    return loss.detach()

### fine_tune_step: the trunk stands still, and lies about it
class Liar(networks.Network):
    def state_dict(self, *arguments, **more):
        return super().state_dict(*arguments, **more) | self.told

    def named_buffers(self, *arguments, **more):
        return iter(())

def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    right = copy.deepcopy(network).train()
    loss = torch.nn.functional.cross_entropy(right(images), labels)
    gradients = torch.autograd.grad(loss, list(right.parameters()))
    for (name, weight), gradient in zip(right.named_parameters(), gradients):
        weight.data -= (head_rate if name.startswith("head") else trunk_rate) * gradient
    network.head.load_state_dict(right.head.state_dict())
    network.__class__ = Liar
    network.told = right.state_dict()
    return loss.detach()
""",
)

# Wrong intervals of the mean of d, n differences: the middle and the reach.
_WRONG_INTERVALS = {
    "standard deviation with n": ("d.mean()", "t.ppf(0.975, n - 1) * d.std(ddof=0) / n**0.5"),
    "divided by the root of n - 1": ("d.mean()", "t.ppf(0.975, n - 1) * d.std() / (n - 1) ** 0.5"),
    "n degrees of freedom": ("d.mean()", "t.ppf(0.975, n) * d.std() / n**0.5"),
    "n - 2 degrees of freedom": ("d.mean()", "t.ppf(0.975, n - 2) * d.std() / n**0.5"),
    "a 90 % interval": ("d.mean()", "t.ppf(0.95, n - 1) * d.std() / n**0.5"),
    "a 99 % interval": ("d.mean()", "t.ppf(0.995, n - 1) * d.std() / n**0.5"),
    "1.96 for t": ("d.mean()", "1.96 * d.std() / n**0.5"),
    "2 for t": ("d.mean()", "2 * d.std() / n**0.5"),
    "around the median": ("d.median()", "t.ppf(0.975, n - 1) * d.std() / n**0.5"),
}  # fmt: skip
_WITH_AN_INTERVAL = {
    ("transfer", "paired_interval"): """
def paired_interval(rows, way, over):
    accuracy = rows.pivot(index="seed", columns="way", values="accuracy")
    return _interval((accuracy[way] - accuracy[over]).dropna())
""",
    ("transfer", "choose"): """
def choose(rows, margin):
    found = []
    for _, at in rows.groupby("labels"):
        wide = at.pivot(index="seed", columns="way", values="accuracy")
        _, low, high = _interval((wide["new head"] - wide["all layers"]).dropna())
        new = low > 0 or -margin < low and 0 < high < margin
        found.append("new head" if new else "all layers" if high < 0 else "cannot tell")
    return found
""",
}
_INTERVAL = """from scipy.stats import t

def _interval(d):
    n = len(d)
    middle, reach = {}, {}
    return middle, middle - reach, middle + reach
"""
MUTANTS += [
    Answer(*where, name, _INTERVAL.format(*wrong) + code)
    for where, code in _WITH_AN_INTERVAL.items()
    for name, wrong in _WRONG_INTERVALS.items()
]

ODD = _answers(
    "multi_task",
    """
### build_labels: a table
def build_labels(notes, tasks):
    number = {"yes": 1, "no": 0, "?": -1}
    rows = [[number[note.get(task, "?")] for task in tasks] for note in notes]
    return pd.DataFrame(rows, columns=list(tasks))

### build_labels: numpy and loops
def build_labels(the_notes, of_these):
    Y = np.full((len(the_notes), len(of_these)), -1, dtype=np.int64)
    for row, note in enumerate(the_notes):
        for thing in note:
            if thing in of_these and note[thing] != "?":
                Y[row, list(of_these).index(thing)] = note[thing] == "yes"
    return Y

### build_labels: nested lists by a lambda
build_labels = lambda notes, tasks: [
    [(["no", "yes"].index(n[t]) if n.get(t, "?") != "?" else UNKNOWN) for t in tasks] for n in notes
]

### build_labels: by pandas, in floating point
def build_labels(notes, tasks):
    table = pd.DataFrame(notes, columns=list(tasks), index=range(len(notes)), dtype=object)
    return torch.tensor(table.apply(lambda c: c.map({"yes": 1.0, "no": 0.0})).fillna(-1.0).values)

### masked_loss: loops and a float
import math

def masked_loss(logits, labels):
    total = 0.0
    for z_row, y_row in zip(logits.tolist(), labels.tolist()):
        for z, y in zip(z_row, y_row):
            if y != -1:
                s = z if y == 0 else -z
                total += max(s, 0) + math.log1p(math.exp(-abs(s)))
    return total / len(logits)

### masked_loss: numpy, log-sum-exp
def masked_loss(logits, labels):
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    cost = np.logaddexp(0, np.where(y == 1, -z, z))
    return np.sum(cost, where=y != -1) / z.shape[0]

### masked_loss: torch's own, in float64
def masked_loss(logits, labels):
    known = (labels != UNKNOWN).double()
    L = torch.nn.functional.binary_cross_entropy_with_logits
    return L(logits.double(), labels.clamp(min=0).double(), known, reduction="sum") / len(labels)

### masked_loss: logsumexp over two columns
def masked_loss(scores, truth):
    both = torch.stack([torch.zeros_like(scores), scores])
    each = both.logsumexp(0) - torch.where(truth == 1, scores, torch.zeros_like(scores))
    each[truth < 0] = 0.0
    return each.sum(1).mean()

### masked_loss: recursion over images, a generator over tasks
def masked_loss(logits, labels):
    def of(z, y):
        return sum(
            torch.nn.functional.softplus(a if b == 0 else -a) for a, b in zip(z, y) if b >= 0
        )

    def total(i):
        return 0.0 if i == len(logits) else of(logits[i], labels[i]) + total(i + 1)

    return total(0) / len(logits)

### masked_loss: logsigmoid, leaving the gradient on
def masked_loss(logits, labels):
    z = logits.clone().requires_grad_()
    log_yes, log_no = torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)
    picked = log_yes[labels == 1].sum() + log_no[labels == 0].sum()
    return -picked / labels.shape[0]

### masked_gradient: autograd instead of a formula
def masked_gradient(logits, labels):
    z = logits.detach().clone().requires_grad_(True)
    known = labels != UNKNOWN
    terms = torch.nn.functional.softplus(z) - labels * z
    (torch.where(known, terms, 0).sum() / len(z)).backward()
    return z.grad

### masked_gradient: autograd of one's own loss
def masked_gradient(logits, labels):
    z = logits.clone().requires_grad_()
    return torch.autograd.grad(masked_loss(z, labels), z)[0]

### masked_gradient: numpy, in float64, in place
def masked_gradient(logits, labels):
    y = np.asarray(labels)
    g = 0.5 * (1 + np.tanh(np.asarray(logits, dtype=float) / 2)) - y
    g[y == -1] = 0
    g /= y.shape[0]
    return g

### masked_gradient: lists of floats
def masked_gradient(logits, labels):
    m = len(labels)
    chances = torch.sigmoid(logits.double()).tolist()
    return [
        [0.0 if y == -1 else (p - y) / m for p, y in zip(*row)]
        for row in zip(chances, labels.tolist())
    ]

### equal_width: the course's networks counted
def equal_width(width, tasks):
    def size(w, k):
        return networks.trainable(networks.shared([str(i) for i in range(k)], width=w))

    room, w = tasks * size(width, 1), width
    while size(w + 1, tasks) <= room:
        w += 1
    return w

### equal_width: a quadratic solved, a float
def equal_width(width, tasks):
    room = tasks * (54 * width**2 + 45 * width + 1)
    a, b, c = 54, 37 + 8 * tasks, tasks - room
    return float(np.floor((-b + np.sqrt(b * b - 4 * a * c)) / (2 * a) + 1e-9))

### build_labels: an array of objects
def build_labels(notes, tasks):
    word = {"yes": 1, "no": 0}
    return np.array([[word.get(n.get(k), UNKNOWN) for k in tasks] for n in notes], dtype=object)

### build_labels: tuples, by a generator
def build_labels(notes, tasks):
    def row(note):
        for task in tasks:
            said = note.get(task, "?")
            yield -1 if said == "?" else int(said == "yes")

    return tuple(tuple(row(note)) for note in notes)

### build_labels: a table of nullable numbers
def build_labels(notes, tasks):
    rows = [[{"yes": 1, "no": 0}.get(note.get(task)) for task in tasks] for note in notes]
    table = pd.DataFrame(rows, columns=pd.Index(list(tasks), dtype=object), dtype="Int64")
    return table.fillna(UNKNOWN)

### masked_loss: masked arrays
def masked_loss(logits, labels):
    y = np.ma.masked_equal(labels.numpy().astype(float), UNKNOWN)
    z = logits.numpy().astype(float)
    total = (np.logaddexp(0, z) - y * z).sum()
    return 0.0 if total is np.ma.masked else float(total) / len(z)

### masked_loss: scipy, task by task
from scipy.special import log_expit

def masked_loss(logits, labels):
    total = np.float64(0)
    for z, y in zip(logits.double().numpy().T, labels.numpy().T):
        total -= log_expit(z[y == 1]).sum() + log_expit(-z[y == 0]).sum()
    return total / labels.shape[0]

### masked_gradient: torch.func
def masked_gradient(logits, labels):
    def loss(z):
        known = labels != UNKNOWN
        return (torch.nn.functional.softplus(z) - labels * z)[known].sum() / len(z)

    return torch.autograd.functional.jacobian(loss, logits)

### masked_gradient: a table, by scipy
from scipy.special import expit

def masked_gradient(logits, labels):
    y = pd.DataFrame(labels.numpy())
    push = pd.DataFrame(expit(logits.double().numpy())) - y
    return push.mask(y == UNKNOWN, 0.0) / len(y)

### equal_width: halving
def equal_width(width, tasks):
    def weights(w, k):
        return 54 * w * w + 37 * w + k * (8 * w + 1)

    low, high = width, width * tasks + 1
    while high - low > 1:
        middle = (low + high) // 2
        if weights(middle, tasks) <= tasks * weights(width, 1):
            low = middle
        else:
            high = middle
    return low

### equal_width: whole numbers' root, the heads' biases left out on both sides
from math import isqrt

def equal_width(width, tasks):
    b, room = 37 + 8 * tasks, tasks * (54 * width * width + 45 * width)
    return (isqrt(b * b + 216 * room) - b) // 108

### equal_width: a table of all widths, numpy's integer
def equal_width(width, tasks):
    w = np.arange(1, width * tasks + 1)
    size = pd.Series(54 * w**2 + 37 * w + (8 * w + 1) * tasks, index=w)
    return size.index[size <= tasks * (54 * width**2 + 45 * width + 1)].max()

### four_outputs: a function over parameters, without layers
from torch.nn import functional

class Bare(nn.Module):
    def __init__(self, tasks, width, draw):
        super().__init__()
        shapes = {"a": (width, 3, 3, 3), "b": (2 * width, width, 3, 3), "c": (tasks, 2 * width)}
        for name, shape in shapes.items():
            weight = torch.randn(shape, generator=draw) / 5
            self.register_parameter(name, nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(shape[0])))

    def forward(self, images):
        x = 2 * images.float() / 255 - 1
        for kernel, bias in ((self.a, self.a_bias), (self.b, self.b_bias)):
            x = functional.conv2d(x, kernel, bias, padding="same")
            x = functional.max_pool2d(x, 2).clamp(min=0)  # the maximum first
        return functional.linear(x.flatten(2).mean(2), self.c, self.c_bias)

def four_outputs(tasks, width, seed):
    return Bare(tasks, width, torch.Generator().manual_seed(seed))

### four_outputs: a head for each task, in a list that comes first
class Heads(nn.Module):
    def __init__(self, tasks, width):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(2 * width, 1) for _ in range(tasks))
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, padding=1)]
        )

    def forward(self, x):
        x = (x.to(torch.float32) - 127.5) / 127.5
        for layer in self.convolutions:
            x = nn.functional.max_pool2d(layer(x).relu(), 2)
        x = x.mean(dim=(2, 3))
        return torch.hstack([head(x) for head in self.heads])

def four_outputs(tasks, width, seed):
    before = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = Heads(tasks, width)
    torch.random.set_rng_state(before)
    return network

### four_outputs: the course's Network around a trunk
def four_outputs(tasks, width, seed):
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        trunk = nn.Sequential()
        for channels, wide in ((3, width), (width, 2 * width)):
            trunk.append(nn.Conv2d(channels, wide, (3, 3), padding=(1, 1)))
            trunk.append(nn.ReLU(inplace=True))
            trunk.append(nn.MaxPool2d((2, 2), stride=2))
        trunk.extend([nn.AvgPool2d(8), nn.Flatten()])
        head = nn.Linear(2 * width, tasks)
    return networks.Network(trunk, head, [f"task {k}" for k in range(tasks)])

### four_outputs: lazy layers, and a convolution for a head
class Lazy(nn.Module):
    def __init__(self, tasks, width):
        super().__init__()
        self.trunk = nn.Sequential(
            *(nn.LazyConv2d(width, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.LazyConv2d(2 * width, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        )
        self.head = nn.LazyConv2d(tasks, 1)
        self(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))

    def forward(self, images):
        return self.head(self.trunk(images / 127.5 - 1)).mean((2, 3))

def four_outputs(tasks, width, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Lazy(tasks, width)

### train: the package's loss, batches in turn, divided by the known labels
from mtl_course import losses

def train(module, images, labels, steps, seed):
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    optimizer = torch.optim.NAdam(module.parameters(), lr=0.03)
    for k in range(steps):
        rows = order[torch.arange(32 * k, 32 * k + 32) % len(images)]
        known = (labels[rows] != UNKNOWN).sum().clamp(min=1)
        loss = losses.multi_task(module(images[rows]), labels[rows]) * 32 / known
        module.zero_grad()
        loss.backward()
        optimizer.step()
    return module

### train: stochastic gradient descent with momentum
def train(module, images, labels, steps, seed):
    g = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    batches = torch.cat([torch.randperm(len(images), generator=g) for _ in range(steps)])
    for batch in batches[: 40 * steps].view(steps, 40):
        masked_loss(module(images[batch]), labels[batch]).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    return module.eval()

### train: a DataLoader, a schedule, and nothing returned
from itertools import cycle, islice

from torch.utils.data import DataLoader, TensorDataset

def train(module, images, labels, steps, seed):
    data = TensorDataset(images, labels)
    g = torch.Generator().manual_seed(seed)
    loader = DataLoader(data, batch_size=50, shuffle=True, generator=g)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.06)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.2, total_iters=steps)
    for x, y in islice(cycle(loader), steps):
        optimizer.zero_grad()
        masked_loss(module(x), y).backward()
        optimizer.step()
        schedule.step()

### train: every image in every step, a copy returned
def train(module, images, labels, steps, seed):
    learner = copy.deepcopy(module)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        masked_loss(learner(images), labels).backward()
        optimizer.step()
    return learner

### train: functional, by hand, torch's own seed
def train(module, images, labels, steps, seed):
    torch.manual_seed(seed)
    weights = {name: w.detach().clone() for name, w in module.named_parameters()}

    def loss(weights, x, y):
        return masked_loss(torch.func.functional_call(module, weights, (x,)), y)

    for _ in range(steps):
        batch = torch.randperm(len(images))[:64]
        gradients = torch.func.grad(loss)(weights, images[batch], labels[batch])
        weights = {name: w - 0.4 * gradients[name] for name, w in weights.items()}
    module.load_state_dict(weights)
    return module

### train: the gradient of exercise 4 sent back
def train(module, images, labels, steps, seed):
    order = np.random.default_rng(seed)
    optimizer = torch.optim.RMSprop(module.parameters(), lr=0.01)
    for _ in range(steps):
        rows = order.choice(len(images), 32, replace=False)
        logits = module(images[rows])
        optimizer.zero_grad()
        logits.backward(masked_gradient(logits.detach(), labels[rows]))
        optimizer.step()
    return module
""",
) + _answers(
    "transfer",
    """
### choose: an array of text
def choose(rows, margin):
    found = []
    for _, part in rows.groupby("labels"):
        pairs = part.pivot(index="seed", columns="way", values="accuracy")
        _, low, high = studies.interval((pairs["new head"] - pairs["all layers"]).dropna())
        new = low > 0 or (low > -margin and high < margin and not high < 0)
        found.append("new head" if new else "all layers" if high < 0 else "cannot tell")
    return np.array(found)

### new_head: a copy of all of it, then a new head
def new_head(network, classes, seed):
    twin = copy.deepcopy(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        twin.head = torch.nn.Linear(in_features=twin.head.in_features, out_features=len(classes))
    twin.names = tuple(classes)
    return twin

### new_head: a generator of its own
def new_head(net, names, s):
    g = torch.Generator().manual_seed(s)
    head = torch.nn.Linear(net.head.weight.shape[1], len(names))
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=g) * 0.05)
        head.bias.zero_()
    return networks.Network(copy.deepcopy(net.trunk), head, tuple(names))

### freeze: parameter by parameter
def freeze(network):
    for parameter in network.trunk.parameters():
        parameter.requires_grad = False
    for layer in network.trunk.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.training = False
    return network

### freeze: everything in evaluation mode
def freeze(network):
    network.eval()
    for name, p in network.named_parameters():
        p.requires_grad = name.startswith("head")

### paired_interval: the course's interval
def paired_interval(rows, way, over):
    wide = rows[rows["way"].isin([way, over])].pivot(index="seed", columns="way", values="accuracy")
    return studies.interval((wide[way] - wide[over]).dropna())

### paired_interval: dictionaries, loops and a list of floats
from scipy import stats

def paired_interval(rows, way, over):
    a, b = {}, {}
    for row in rows.to_dict("records"):
        if row["way"] in (way, over):
            (a if row["way"] == way else b)[row["seed"]] = row["accuracy"]
    d = [a[s] - b[s] for s in a.keys() & b.keys()]
    n = len(d)
    mean = sum(d) / n
    error = (sum((x - mean) ** 2 for x in d) / (n - 1) / n) ** 0.5
    t = stats.t.isf(0.025, n - 1)
    return [float(mean), float(mean - t * error), float(mean + t * error)]

### paired_interval: scipy's paired test, a tensor
from scipy import stats

def paired_interval(rows, way, over):
    both = rows[rows.way == way].merge(rows[rows.way == over], on="seed")
    found = stats.ttest_rel(both.accuracy_x, both.accuracy_y)
    low, high = found.confidence_interval(0.95)
    return torch.tensor([(low + high) / 2, low, high], dtype=torch.float64)

### choose: studies.interval, and no function of one's own
def choose(rows, margin):
    wide = rows.pivot(index=["labels", "seed"], columns="way", values="accuracy")
    lead = (wide["new head"] - wide["all layers"]).dropna()
    out = []
    for labels in sorted(set(lead.index.get_level_values("labels"))):
        _, low, high = studies.interval(lead.loc[labels])
        if high < 0:
            out.append("all layers")
        elif low > 0 or (low > -margin and high < margin):
            out.append("new head")
        else:
            out.append("cannot tell")
    return tuple(out)

### choose: a generator and a helper
def _one(table, margin):
    _, low, high = paired_interval(table, "new head", "all layers")
    if high < 0:
        return "all layers"
    return "new head" if low > 0 or max(-low, high) < margin else "cannot tell"

def choose(rows, margin):
    def words():
        for n in sorted(rows["labels"].unique()):
            yield _one(rows[rows["labels"] == n], margin)

    return list(words())

### leaked: loops and a list
def leaked(train_images, test_images):
    def light(image):
        pixels = [int(p) for p in image.flatten()]
        return tuple(p - pixels[0] for p in pixels)

    known = {light(image) for image in train_images}
    return [light(image) in known for image in test_images]

### leaked: numpy, the mean taken away
def leaked(train_images, test_images):
    a, b = (x.numpy().reshape(len(x), 64).astype(int) for x in (train_images, test_images))
    a, b = 64 * a - a.sum(1, keepdims=True), 64 * b - b.sum(1, keepdims=True)
    return np.array([(a == row).all(axis=1).any() for row in b])

### leaked: the range of differences, as 0 and 1
def leaked(train_images, test_images):
    d = test_images.flatten(1).long()[:, None] - train_images.flatten(1).long()[None]
    return ((d.amax(2) - d.amin(2)).min(dim=1).values == 0).int()

### new_head: built anew, and the trunk's state loaded
def new_head(network, classes, seed):
    blank = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    data = datasets.Dataset(*blank, classes=tuple(classes))
    new = networks.classifier(data, width=network.trunk[0][0].out_channels, seed=seed)
    new.trunk.load_state_dict(network.trunk.state_dict())
    return new

### new_head: numpy's random numbers
def new_head(network, classes, seed):
    draw = np.random.default_rng(seed)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    head.weight.data = torch.from_numpy(draw.normal(0, 0.1, head.weight.shape)).float()
    head.bias.data = torch.from_numpy(draw.uniform(-0.1, 0.1, len(classes))).float()
    return networks.Network(copy.deepcopy(network.trunk), head, classes)

### new_head: saved and loaded
import io

def new_head(network, classes, seed):
    torch.save(network.trunk, file := io.BytesIO())
    file.seek(0)
    torch.manual_seed(seed)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    return networks.Network(torch.load(file, weights_only=False), head, classes)

### new_head: a network of one's own kind, frozen, in evaluation mode
class Transferred(networks.Network):
    def __init__(self, old, names, seed):
        generator = torch.Generator().manual_seed(seed)
        head = torch.nn.Linear(old.head.in_features, len(names))
        torch.nn.init.xavier_uniform_(head.weight, generator=generator)
        torch.nn.init.uniform_(head.bias, generator=generator)
        super().__init__(copy.deepcopy(old.trunk), head, names)

def new_head(network, classes, seed):
    new = Transferred(network, list(classes), seed).eval()
    new.trunk.requires_grad_(False)
    return new

### new_head: Python's random numbers, one by one
import random

def new_head(network, classes, seed):
    dice = random.Random(seed)
    new = copy.deepcopy(network)
    features = new.head.in_features
    new.head = torch.nn.Linear(features, len(classes), bias=True)
    with torch.no_grad():
        for row in new.head.weight:
            for k in range(features):
                row[k] = dice.gauss(0, 1) / features**0.5
        new.head.bias.fill_(0)
    new.names = list(classes)
    return new

### new_head: the course's own
def new_head(network, classes, seed):
    blank = torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    return networks.new_head(network, datasets.Dataset(*blank, classes=tuple(classes)), seed)

### new_head: the new network takes the trunk, the old one keeps a copy
def new_head(network, classes, seed):
    trunk, network.trunk = network.trunk, copy.deepcopy(network.trunk)
    torch.manual_seed(seed)
    return networks.Network(trunk, torch.nn.Linear(network.head.in_features, len(classes)), classes)

### new_head: orthogonal rows
def new_head(network, classes, seed):
    torch.manual_seed(seed)
    head = torch.nn.Linear(network.head.in_features, len(classes))
    torch.nn.init.orthogonal_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return networks.Network(copy.deepcopy(network.trunk), head, classes)

### freeze: the course's own
def freeze(network):
    return networks.freeze(network.trunk)

### freeze: a lambda, module by module
freeze = lambda network: network.trunk.apply(lambda part: part.requires_grad_(False).train(False))

### freeze: by names
def freeze(network):
    for name, weight in network.named_parameters():
        weight.requires_grad_(not name.startswith("trunk."))
    for name, part in network.named_modules():
        if name.startswith("trunk"):
            part.training = False

### freeze: a class that stays in evaluation mode
class Frozen(networks.Network):
    def train(self, mode=True):
        super().train(mode)
        self.trunk.eval()
        return self

def freeze(network):
    network.__class__ = Frozen
    network.trunk.requires_grad_(False)
    network.train(network.training)

### freeze: a trunk that runs without gradients, and never trains
def freeze(network):
    trunk = network.trunk.eval()
    trunk.forward = torch.no_grad()(trunk.forward)
    trunk.train = lambda mode=True: trunk

### freeze: features detached by a hook
def freeze(network):
    network.trunk.eval()
    network.trunk.register_forward_hook(lambda module, images, features: features.detach())
    network.trunk.train = lambda mode=True: network.trunk

### freeze: a frozen copy in the trunk's place
def freeze(network):
    network.trunk = copy.deepcopy(network.trunk).eval().requires_grad_(False)
    return network

### freeze: weights made buffers
def freeze(network):
    for part in network.trunk.modules():
        part.train(False)
        part.train = lambda mode=True, part=part: part
        for name, weight in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, weight.detach().clone())

### paired_interval: scipy's interval, a dict's values
from scipy import stats

def paired_interval(rows, way, over):
    seeds = {}
    for _, row in rows.iterrows():
        seeds.setdefault(row.seed, {})[row.way] = row.accuracy
    d = np.array([told[way] - told[over] for told in seeds.values() if {way, over} <= {*told}])
    low, high = stats.t.interval(0.95, len(d) - 1, loc=d.mean(), scale=stats.sem(d))
    return list({"mean": d.mean(), "low": low, "high": high}.values())

### paired_interval: a column of a table
def paired_interval(rows, way, over):
    table = rows.set_index(["seed", "way"]).accuracy.unstack()
    d = (table[way] - table[over]).dropna()
    reach = studies.interval(d)[2] - d.mean()
    return pd.Series({"mean": d.mean(), "low": d.mean() - reach, "high": d.mean() + reach})

### paired_interval: the standard library
import statistics
from scipy import stats

def paired_interval(rows, way, over):
    table = rows.set_index("seed")
    a, b = (table.accuracy[table.way == name].to_dict() for name in (way, over))
    d = [a[seed] - b[seed] for seed in a if seed in b]
    mean, reach = statistics.fmean(d), statistics.stdev(d) / len(d) ** 0.5
    reach *= stats.t(len(d) - 1).ppf(1 - 0.05 / 2)
    return mean, mean - reach, mean + reach

### choose: a column by labels
def choose(rows, margin):
    def one(at):
        a, b = (at[at.way == w].set_index("seed").accuracy for w in ("new head", "all layers"))
        _, low, high = studies.interval((a - b).dropna())
        if high < 0:
            return "all layers"
        return "cannot tell" if low <= 0 and not (-margin < low and high < margin) else "new head"

    return pd.Series({n: one(rows[rows.labels == n]) for n in sorted(set(rows.labels))})

### choose: numpy's where, an array of objects
from scipy import stats

def choose(rows, margin):
    wide = rows.pivot(index=["labels", "seed"], columns="way", values="accuracy")
    d = (wide["new head"] - wide["all layers"]).dropna().groupby("labels")
    reach = d.sem() * stats.t.ppf(0.975, d.count() - 1)
    low, high = d.mean() - reach, d.mean() + reach
    new = (low > 0) | ((low > -margin) & (high < margin) & (high > 0))
    return np.where(new, "new head", np.where(high < 0, "all layers", "cannot tell")).astype(object)

### leaked: steps from pixel to pixel
def leaked(train_images, test_images):
    def steps(images):
        return [tuple(row) for row in np.diff(images.numpy().reshape(-1, 64).astype(int)).tolist()]

    known = set(steps(train_images))
    return pd.Series([row in known for row in steps(test_images)])

### leaked: no spread of the differences, one test image at a time
def leaked(train_images, test_images):
    found = torch.zeros(len(test_images), dtype=torch.bool)
    for i, image in enumerate(test_images.double()):
        apart = (train_images.double() - image).flatten(1)
        found[i] = bool((apart.var(dim=1) == 0).any())
    return found

### leaked: the darkest pixel made 0, bytes compared
def leaked(train_images, test_images):
    dark = lambda images: {i: (x - x.min()).numpy().tobytes() for i, x in enumerate(images)}
    known = set(dark(train_images).values())
    return tuple(light in known for light in dark(test_images).values())

### features: the mode put back
def features(network, images):
    was_training = network.training
    network.eval()
    rows = []
    for start in range(0, len(images), 50):
        with torch.no_grad():
            rows.append(network.trunk(datasets.normalise(images[start : start + 50])))
    network.train(was_training)
    return torch.cat(rows, dim=0)

### features: one image at a time, into an empty tensor
@torch.no_grad()
def features(network, images):
    twin = copy.deepcopy(network)
    twin.eval()
    found = torch.empty(len(images), network.head.in_features)
    for i in range(len(images)):
        found[i] = twin.trunk(datasets.normalise(images[i : i + 1]))[0]
    return found

### features: with a graph that is cut
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    return torch.vstack([trunk(datasets.normalise(x)).detach() for x in images.split(64)])

### features: what arrives at the head, caught by a hook
def features(network, images):
    caught = []
    handle = network.head.register_forward_pre_hook(lambda head, x: caught.append(x[0].detach()))
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    with torch.no_grad():
        for batch in torch.chunk(images, 1 + len(images) // 100):
            network(batch)
    for part, mode in modes:
        part.training = mode
    handle.remove()
    return torch.cat(caught)

### features: a head that does nothing
def features(network, images):
    twin = copy.deepcopy(network).eval()
    twin.head = torch.nn.Identity()
    with torch.no_grad():
        return torch.cat([twin(x) for x in images.split(99)])

### features: numpy
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    rows = [trunk(datasets.normalise(x)).detach().numpy() for x in images.split(100)]
    return np.concatenate(rows)

### features: a list of lists
def features(network, images):
    trunk, found = copy.deepcopy(network.trunk).eval(), []
    with torch.no_grad():
        for batch in images.split(10):
            found += trunk(datasets.normalise(batch)).tolist()
    return found

### features: torch.func, block by block, all pixels normalized at once
def features(network, images):
    numbers = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    numbers = {name: number.detach().clone() for name, number in numbers.items()}
    twin, made = copy.deepcopy(network).eval(), []
    for x in datasets.normalise(images).split(33):
        for k, block in enumerate(twin.trunk):
            start = f"trunk.{k}."
            own = {n.removeprefix(start): v for n, v in numbers.items() if n.startswith(start)}
            x = torch.func.functional_call(block, own, (x,))
        made.append(x)
    return torch.cat(made)

### features: a network built anew, with the weights loaded
def features(network, images):
    blank = datasets.Dataset(images[:1], torch.zeros(1, dtype=torch.int64), classes=network.names)
    twin = networks.classifier(blank, width=network.trunk[0][0].out_channels)
    twin.load_state_dict(network.state_dict())
    twin.trunk.requires_grad_(False).eval()
    return torch.cat([twin.trunk(datasets.normalise(x)) for x in images.split(100)])

### features: a loader, by a generator
def _batches(network, images):
    trunk = copy.deepcopy(network).requires_grad_(False).eval().trunk
    for batch in torch.utils.data.DataLoader(images, batch_size=100):
        yield from trunk(batch / 127.5 - 1)

def features(network, images):
    return torch.stack(list(_batches(network, images)))

### features: recursion
@torch.no_grad()
def features(network, images):
    if len(images) > 100:
        half = len(images) // 2
        return torch.cat([features(network, images[:half]), features(network, images[half:])])
    return copy.deepcopy(network.trunk).eval()(datasets.normalise(images))

### features: in inference mode, copied
def features(network, images):
    trunk = copy.deepcopy(network.trunk).eval()
    with torch.inference_mode():
        found = torch.cat([trunk(datasets.normalise(x)) for x in images.split(100)])
    return found.clone()

### fine_tune_step: torch's optimizer with two groups
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train()
    optimizer = torch.optim.SGD([
        {"params": network.head.parameters(), "lr": head_rate},
        {"params": network.trunk.parameters(), "lr": trunk_rate},
    ])
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()

### fine_tune_step: two optimizers, a loss with its graph
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train()
    first = torch.optim.SGD(network.head.parameters(), lr=head_rate)
    second = torch.optim.SGD(network.trunk.parameters(), lr=trunk_rate)
    loss = torch.nn.CrossEntropyLoss()(network(images), labels)
    network.zero_grad()
    loss.backward()
    first.step()
    second.step()
    return loss

### fine_tune_step: autograd.grad, and a float
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train()
    weights = list(network.head.parameters()) + list(network.trunk.parameters())
    rates = [head_rate] * 2 + [trunk_rate] * (len(weights) - 2)
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    for w, g, rate in zip(weights, torch.autograd.grad(loss, weights), rates):
        w.data = w.data - rate * g
    return loss.item()

### fine_tune_step: gradients set to None afterwards, evaluation mode left
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train(True)
    z = network(images)
    loss = (z.logsumexp(1) - z.gather(1, labels[:, None])[:, 0]).mean()
    loss.backward()
    for name, weight in network.named_parameters():
        weight.data.add_(weight.grad, alpha=-(head_rate if "head" in name else trunk_rate))
        weight.grad = None
    network.eval()
    return loss.detach().numpy()

### fine_tune_step: torch.func, and the network's own averages
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train()
    weights = {name: w.detach() for name, w in network.named_parameters()}
    averages = dict(network.named_buffers())

    def loss(weights):
        logits = torch.func.functional_call(network, (weights, averages), (images,))
        return torch.nn.functional.cross_entropy(logits, labels)

    given = {name: w.clone().requires_grad_() for name, w in weights.items()}
    told = loss(given)
    told.backward()
    with torch.no_grad():
        for name, w in network.named_parameters():
            w -= (head_rate if name.startswith("head.") else trunk_rate) * given[name].grad
    return told.tolist()

### fine_tune_step: torch's functions for lists of tensors
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad(set_to_none=False)
    loss = torch.nn.functional.nll_loss(network(images).log_softmax(dim=-1), labels)
    loss.backward()
    for part, rate in ((network.trunk, trunk_rate), (network.head, head_rate)):
        torch._foreach_add_([w.data for w in part.parameters()],
                            [w.grad for w in part.parameters()], alpha=-rate)
    return loss.detach()[None].sum()

### fine_tune_step: gradients by hooks, scaled as they come
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train().zero_grad()
    handles = []
    for name, weight in network.named_parameters():
        rate = head_rate if name.startswith("head") else trunk_rate
        handles.append(weight.register_hook(lambda gradient, rate=rate: rate * gradient))
    loss = torch.nn.functional.cross_entropy(network(images), labels)
    loss.backward()
    for handle in handles:
        handle.remove()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    return loss.detach()

### fine_tune_step: the head by a formula, the mode put back
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    mode = network.training
    network.train()
    x = network.trunk(datasets.normalise(images))
    W, b = network.head.weight.detach(), network.head.bias.detach()
    p = (x @ W.T + b).softmax(dim=1)
    loss = -p[range(len(labels)), labels].log().mean()
    trunk = torch.autograd.grad(loss, list(network.trunk.parameters()))
    with torch.no_grad():
        push = (p - torch.nn.functional.one_hot(labels, len(b))) / len(labels)
        W -= head_rate * push.T @ x
        b -= head_rate * push.sum(dim=0)
        for weight, gradient in zip(network.trunk.parameters(), trunk):
            weight -= trunk_rate * gradient
    network.train(mode)
    return loss.detach()

### fine_tune_step: a twin trained, and loaded
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    twin = copy.deepcopy(network).train()
    loss = torch.nn.functional.cross_entropy(twin(images), labels)
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    state = twin.state_dict()
    for (name, _), gradient in zip(twin.named_parameters(), gradients):
        rate = trunk_rate if name.startswith("trunk") else head_rate
        state[name] = state[name] - rate * gradient
    network.load_state_dict(state)
    return loss.item()

### fine_tune_step: a new head in the old one's place, in float64
def fine_tune_step(network, images, labels, head_rate, trunk_rate):
    network.train()
    head = copy.deepcopy(network.head).double()
    loss = torch.nn.functional.cross_entropy(
        head(network.trunk(datasets.normalise(images)).double()), labels
    )
    network.zero_grad()
    head.zero_grad()
    loss.backward()
    with torch.no_grad():
        for weight in head.parameters():
            weight -= head_rate * weight.grad
            weight.grad = None
        for weight in network.trunk.parameters():
            weight -= trunk_rate * weight.grad
    network.head = head.float()
    return loss.detach()
""",
)
