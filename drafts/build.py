import nbformat, sys
from nbformat.v4 import new_code_cell as C, new_markdown_cell as M, new_notebook
cells = []
def md(text): cells.append(M(text.strip("\n")))
def code(text, *tags):
    c = C(text.strip("\n")); 
    if tags: c.metadata["tags"] = list(tags)
    cells.append(c)

md("""
# 01 Transfer learning: reuse what a network has learned

You have thirty labeled photographs and want a network that tells a T-shirt from a pullover. Thirty is not enough to learn to see. But somebody has already trained a network on thousands of *other* clothes. In this lesson you reuse it.

After this lesson you can
- take the head off a trained network, put a new one on, and freeze the rest, in plain PyTorch,
- avoid the trap that freezing has,
- say when to train the new head alone and when to train every layer,
- tell a real gain from luck.

It takes about 45 minutes.
""")
md("""
## The idea

A network for images has two parts. The **trunk** turns an image into a short row of numbers, its **features**: is there an edge, a sleeve, a dark patch at the left? The **head**, the last layer, turns features into an answer. Edges and parts are useful for many questions. Only the head belongs to one question alone.

So **transfer learning** goes from a task A to a task B:
1. Train a network on A. This is **pretraining**.
2. Remove the head, and put on a new one with random weights.
3. Train on B: only the new head, or every layer (**fine-tuning**).

```text
 task A:  photograph ──▶ [ trunk ] ──▶ [ head of A ] ──▶ which of eight kinds?
                             │
                             │ copy
                             ▼
 task B:  photograph ──▶ [ trunk ] ──▶ [ new head ] ──▶ T-shirt or pullover?
                        frozen, or       always
                          trains         trains
```

The lecture says that this makes sense when
- **T1** A and B have the same kind of input x,
- **T2** there is a lot more data for A than for B,
- **T3** low-level features from A could be helpful for learning B.
""")
code("""
seed: int = 100  # decides every random draw made in this notebook; 0 or more
scale: str = "quick"  # "quick" reads stored rows; "class" and "full" train 3 and 10 seeds here
labels: int = 30  # photographs of B with a label, from 2 to 5,000
""", "parameters")
code("""
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from mtl_course import datasets, figures, networks, studies, training, transfer
from mtl_course.explorers import page, your_turn
from mtl_course.explorers.predict import Prediction
from mtl_course.explorers.surgery import SurgeryTable
from mtl_course.studies import lesson_01

seed = page.parameter("seed", seed, range(1_000_000), 100)
scale = page.parameter("scale", scale, ("quick", "class", "full"), "quick")
labels = page.parameter("labels", labels, range(2, 5_001), 30)
""")
md("""
## Two tasks

What do A and B look like? Fashion-MNIST holds small gray photographs of ten kinds of clothes, shoes and bags. Task A is eight of these kinds; task B is the other two.
""")
code("""
clothes = datasets.clothes()
task_a = datasets.only(clothes.train, lesson_01.A)  # eight kinds, 12,800 photographs
task_b = datasets.Split(*(datasets.only(part, lesson_01.B) for part in clothes))
few = task_b.train.sample(labels, seed=seed)  # what you have of B
print(task_a.images.shape, few.images.shape, "test:", task_b.test.images.shape)
""")
code("""
figures.show(figures.sheet({"A: eight kinds": task_a.images[:32], "B: two kinds": few.images[:32]}))
""")
md("""
Both are 28 × 28 pixels of gray (T1). A has many photographs, B only the few that you have labels for (T2). And a shirt of A has sleeves, as a pullover has (T3). The test holds 2,000 photographs of B that no network trains on.

## A network by hand

Three blocks of convolution are the trunk; one linear layer is the head.
""")
code("""
def block(channels, width, pool):
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), pool, nn.ReLU())


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.trunk = nn.Sequential(
            block(1, 16, nn.MaxPool2d(2)),  # (m, 16, 14, 14)
            block(16, 32, nn.MaxPool2d(2)),  # (m, 32, 7, 7)
            block(32, 32, nn.Identity()),  # (m, 32, 7, 7)
            nn.AdaptiveAvgPool2d(2),  # (m, 32, 2, 2)
            nn.Flatten(),  # (m, 128)
        )
        self.head = nn.Linear(128, classes)

    def forward(self, images):  # uint8 (m, 1, 28, 28)
        return self.head(self.trunk(images / 127.5 - 1))  # (m, classes)
""")
md("""
Training is a loop. Each step takes a batch, computes the loss and its gradient, and moves the weights a little. The learning rate rises for the first tenth of the steps, then falls to 0.
""")
code("""
def train(net, data, steps, rate, batch=128):
    weights = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps))
    )
    for step in range(steps):
        chosen = torch.randperm(len(data))[:batch]
        loss = functional.cross_entropy(net(data.images[chosen]), data.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()
""")
code("""
torch.manual_seed(seed)
net = Net(classes=8)
f"after 20 steps on A, the loss of the last batch is {train(net, task_a, steps=20, rate=3e-3):.2f}"
""", "nbval-ignore-output")
md("""
A network that guesses among eight kinds has a loss near log 8 ≈ 2.08. Six hundred steps take half a minute, so we load a network that has taken them: the same layers, trained in the same way, whatever your `seed` is. How often is it right about photographs of A that it has not seen?
""")
code("""
source = lesson_01.pretrained()
net.load_state_dict(source.state_dict())
unseen = datasets.only(clothes.test, lesson_01.A)
training.evaluate(source, unseen).round(3)
""", "nbval-ignore-output")
md("""
## Surgery

Now the operation: the old head comes off, a new one goes on, and the trunk is frozen. Which weights are left to train?
""")
code("""
net.head = nn.Linear(128, 2)  # T-shirt or pullover; random weights
net.trunk.requires_grad_(False)  # frozen

trains = sum(p.numel() for p in net.parameters() if p.requires_grad)
f"{trains} of {sum(p.numel() for p in net.parameters()):,} weights train"
""")
md("""
## The trap: frozen, and yet it moves

No weight of the trunk can change now. Does the trunk give the same features after ten steps?
""")
code("""
def moves(net):
    before = {name: value.clone() for name, value in net.trunk.state_dict().items()}
    train(net, few, steps=10, rate=3e-3)
    return [k for k, v in net.trunk.state_dict().items() if not torch.equal(v, before[k])]


net.train()
moves(net)
""")
md("""
It moved! Batch normalization keeps **running averages** of its inputs. They are not weights, so `requires_grad_(False)` does not touch them; in training mode every batch changes them. The trunk of A slowly becomes another trunk. The fix is one call: a frozen trunk stays in evaluation mode.
""")
code("""
net.trunk.eval()  # after net.train(), each time
moves(net)
""")
md("""
**Your turn (5 minutes).** Fine-tuning trains *every* layer. Complete the function: load A's weights, put on a new head, and let everything train. The check tells you at once.
""")
code("""
def ready_to_fine_tune(source):
    net = Net(classes=8)
    net.load_state_dict(source.state_dict())
    # Your code: a new head for two classes; is anything frozen?
    return net


your_turn.fine_tuning(ready_to_fine_tune, source, outputs=2)
""")
md("""
<details><summary>Solution</summary>

Add `net.head = nn.Linear(128, 2)`. Nothing else: a new network has nothing frozen, and `load_state_dict` leaves that as it is. Batch normalization *should* move here, so `net.train()` is right.

</details>

## The package does the same

From here on the course uses its own functions, because ten seeds need them. Do they do what you did? A new head is trained by hand and by `transfer.adapt`, from the same first weights, on the same thirty photographs.
""")
code("""
thirty = task_b.train.sample(30, seed=seed)
hand = Net(classes=8)
hand.load_state_dict(source.state_dict())
hand.head = nn.Linear(128, 2)
hand.head.load_state_dict(networks.new_head(source, thirty, seed=seed).head.state_dict())
hand.trunk.requires_grad_(False).eval()
train(hand, thirty, steps=50, rate=lesson_01.RATE)

package = transfer.adapt(source, thirty, "new head", steps=50, seed=seed, learning_rate=lesson_01.RATE)
difference = (hand.head.weight - package.head.weight).abs().max().item()
agree = torch.allclose(hand.head.weight, package.head.weight, atol=1e-4)
f"the weights agree: {agree}; the largest difference is {difference:.0e}"
""", "nbval-ignore-output")
md("""
What difference there is comes from rounding: the package computes the features of a frozen trunk once, and adds up in another order.

## Four ways to use A

| name in code | name in the field | what trains | starts from |
|---|---|---|---|
| `from scratch` | training from scratch | every layer | random weights; A is not used |
| `new head` | feature extraction, linear probing | the head alone | A's trunk, frozen |
| `all layers` | fine-tuning | every layer | A's trunk |
| `head then all` | linear probing, then fine-tuning | the head, then every layer | A's trunk |

Why should the number of labels matter? A network with many free weights can fit thirty photographs by heart, whatever the rest of the world looks like: it **overfits**. A new head has 258 free weights and can learn little by heart, but it has to live with features made for A. Every layer can make features of its own, if there are enough photographs to make them from.

## Predict, then look

Four ways, 10 to 1,000 labels, 200 steps each. What will come out? Choose, say how sure you are, and press *Commit*. The answer stays folded until then.
""")
code("""
few_labels = Prediction(
    "With 10 labels, which is more accurate: a new head on A's trunk, or training from scratch?",
    ("a new head", "from scratch", page.NEITHER),
)
few_labels
""")
code("""
many_labels = Prediction(
    "With 1,000 labels, which is more accurate: a new head on A's trunk, or fine-tuning every layer?",
    ("a new head", "fine-tuning", page.NEITHER),
)
many_labels
""")
md("""
## The experiment

One run proves nothing: another draw of ten photographs gives another answer. So we run ten **seeds**. Each has its *own* photographs of A, its own pretrained network, its own draw of B and its own first weights. All ways of one seed share them, so their difference is due to the way alone. The learning rate was chosen before, for each way, on photographs that are not in the test; 0.003 was the best for all of them.

`"quick"` reads the rows that ship with the course; `"class"` and `"full"` train them here.
""")
code("""
here = {"quick": None, "class": range(seed, seed + 3), "full": range(seed, seed + 10)}[scale]
rows = studies.run("clothes", seeds=here, fresh=scale != "quick")
f"{len(rows)} networks, {rows.seed.nunique()} seeds"
""")
code("""
ways = (*transfer.WAYS, lesson_01.SUPPORT_VECTORS)
lines = figures.curves(rows, "labels", ways, labels=lesson_01.AXES)
head = studies.gain(rows, "new head", over="from scratch").set_index("labels", drop=False)
few_labels.reveal(*page.answer(head.loc[10], "a new head", "from scratch"), lines)
""")
code("""
fine = studies.gain(rows, "all layers", over="new head").set_index("labels", drop=False)
pairs = {"new head − from scratch": head, "all layers − new head": fine}
gains = figures.gains(pairs, "labels", xlabel=lesson_01.AXES["labels"], ylabel="gain in accuracy")
many_labels.reveal(*page.answer(fine.loc[1_000], "fine-tuning", "a new head"), gains)
""")
md("""
The lines show means, the bars their **95 % intervals**. The second figure pairs the runs: for each seed, the accuracy of one way minus that of the other, then the mean of those differences. Where a bar does not touch 0, luck is not an explanation.

**Your turn (5 minutes).** Compute one point of the second figure yourself.
""")
code("""
table = rows[rows["labels"] == 10].pivot(index="seed", columns="way", values="accuracy")
mean_gain = None  # your code: the mean of all layers − new head

your_turn.paired_gain(mean_gain, table["all layers"] - table["new head"])
""")
md("""
<details><summary>Solution</summary>

`mean_gain = (table["all layers"] - table["new head"]).mean()`. The mean of the differences equals the difference of the means; but its *interval* is narrower, because what the two runs of a seed share cancels.

</details>

## What was found
""")
code("""
CLAIMS = [
    ("new head", "from scratch", 10),
    ("new head", "all layers", 10),
    ("all layers", "new head", 1_000),
    ("all layers", "from scratch", 1_000),
    ("all layers", lesson_01.SUPPORT_VECTORS, 1_000),
]
found = {
    f"{n:,} labels: {way} beats {over}": studies.gain(rows, way, over).set_index("labels").loc[n]
    for way, over, n in CLAIMS
}
page.verdicts(found, seed=seed, scale=scale, labels=labels)
""")
md("""
Read a line as: claim, verdict, and the interval that the verdict was read from. ? means that the interval holds 0 and is too wide to call it no difference (0.01 or less): these ten seeds *cannot tell*. That is not the same as equal.

@@READING@@

**The baseline.** A support-vector machine takes the 784 pixels as they are: no layers, no pretraining, two numbers to tune. Always show such a simple rival; it is often stronger than it looks.

The [evidence notebook](evidence/01_transfer.ipynb) gives training from scratch every chance: five times the steps, and all the compute that A cost. It repeats the claims with ten other seeds, and shows a pair of tasks where cutting off the head is a mistake.

## Your own run

What does one run look like, beside ten? The four ways on *your* photographs:
""")
code("""
runs = {
    way: transfer.adapt(
        source, few, way, steps=lesson_01.STEPS, seed=seed, learning_rate=lesson_01.RATE
    )
    for way in transfer.WAYS
}
nearest = min(lesson_01.LABELS, key=lambda count: abs(count - labels))
stored = studies.run("clothes", only={"labels": [nearest], "way": transfer.WAYS})
table = studies.predicted(stored, ["way"]).set_index("way")[["low", "high"]]
for name, data in {"on the test": task_b.test, "on its own photographs": few}.items():
    scores = {way: training.evaluate(net, data).accuracy.item() for way, net in runs.items()}
    table[name] = pd.Series(scores)
table["inside"] = table["on the test"].between(table["low"], table["high"])
table.round(3)
""", "nbval-ignore-output")
md("""
`on its own photographs` is the accuracy on the few that it learned from. A network that knows all of these by heart need not be good at others; the gap between the two columns shows how much it overfits. `low` to `high` is the **prediction interval**: where one further seed lands 19 times in 20, at the nearest number of labels that was measured.

## Why it works

What did the network learn on A that B can use? The first layer looks through sixteen filters of 3 × 3 pixels. Blue is below 0 and red above it: a filter that is red on one side and blue on the other looks for an edge.
""")
code("""
nets = {"A": source, "fine-tuned": runs["all layers"], "from scratch": runs["from scratch"]}
first = {name: net.trunk[0][0].weight.detach() for name, net in nets.items()}
moved = (first["fine-tuned"] - first["A"]).norm() / first["A"].norm()
first[f"fine-tuned on B: moved by {moved:.0%} of their length"] = first.pop("fine-tuned")
figures.show(figures.filters(first))
""")
md("""
An edge is as useful for B as for A (T3), so fine-tuning starts from something good and only adjusts it. The network from scratch has to make its own filters from a few photographs.

## Try it yourself

Take each block of the trunk from A or at random, freeze it or let it train, and press *Train*. Each press draws other photographs. Guess first:
1. Freeze block 1 alone, with 30 labels. Is that closer to the new head, or to fine-tuning?
2. Blocks 1 and 2 from A, block 3 at random, with 100 labels. What is lost?
""")
code("""
SurgeryTable(source, task_b, rows, steps=lesson_01.STEPS, rates=dict.fromkeys(transfer.WAYS, lesson_01.RATE))
""")
md("""
## Exercises

1. **A smaller step for the trunk** (10 minutes). Give the optimizer two groups: the trunk at a tenth of the head's rate. Change `train`, and compare on `few`.

<details><summary>Solution</summary>

`torch.optim.AdamW([{"params": net.trunk.parameters(), "lr": rate / 10}, {"params": net.head.parameters()}], lr=rate, weight_decay=1e-4)`. The schedule scales both. One run says little: repeat it with ten seeds before you believe it.

</details>

2. **A tiny A** (10 minutes). Pretrain on 200 photographs of A instead of 8,000 (`transfer.pretrain(task_a.sample(200, seed=1), steps=200, seed=1)`) and train a new head on it. Which of T1, T2, T3 did you break?

<details><summary>Solution</summary>

T2. The trunk has seen too little to have good features; compare its new head with `runs["new head"]`.

</details>

3. **Project.** Choose another two kinds as B (`datasets.only(clothes.train, ["sandal", "sneaker"])`), the other eight as A. For which pairs does transfer help most? Ten seeds a pair, and an interval on each gain.

## Summary

- Transfer learning is surgery: keep the trunk, put on a new head, train the head or everything.
- A frozen trunk needs `requires_grad_(False)` *and* `eval()`.
- **Rule of thumb:** @@RULE@@
- Compare with a simple baseline, pair the runs by seed, and read the verdict off the interval.

What would change it? An A that has less to do with B, larger photographs, another B. Lesson 02 turns these dials one by one.

**Sources.** Andrew Ng, *Structuring Machine Learning Projects*, 2017, "Transfer learning" (the lecture). J. Yosinski et al., [How transferable are features in deep neural networks?](https://arxiv.org/abs/1411.1792), 2014. A. Kumar et al., [Fine-tuning can distort pretrained features](https://arxiv.org/abs/2202.10054), 2022. The photographs: H. Xiao et al., [Fashion-MNIST](https://arxiv.org/abs/1708.07747), 2017; `assets/clothes/README.md`. The rows again: `python -m mtl_course studies clothes --fresh`.

**Next:** [02 When transfer makes sense](02_when_transfer_makes_sense.ipynb)
""")
nb = new_notebook(cells=cells)
nb.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
READING = open("/tmp/w/l01/reading.txt").read().strip(); RULE = open("/tmp/w/l01/rule.txt").read().strip()
for c in cells:
    c.source = c.source.replace("@@READING@@", READING).replace("@@RULE@@", RULE)
words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
print(len(cells), "cells", words, "words")
nbformat.write(nb, sys.argv[1])
