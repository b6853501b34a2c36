import nbformat, sys
from nbformat.v4 import new_code_cell as C, new_markdown_cell as M, new_notebook
cells = []
def md(text): cells.append(M(text.strip("\n")))
def code(text, *tags):
    c = C(text.strip("\n"))
    if tags: c.metadata["tags"] = list(tags)
    cells.append(c)

md("""
# 03 Multi-task learning: one image, four answers

A car that drives itself looks at the road and asks several questions at once. Is there a pedestrian? A car? A stop sign? A traffic light? You could train a network for each question. In this lesson you train *one* that answers all four.

After this lesson you can
- write the answers to many questions as one matrix Y,
- build a network with four outputs, and its loss, in plain PyTorch,
- take a training step by hand, and check that the package takes the same one,
- say why softmax is the wrong choice here.

It takes about 45 minutes.
""")
md("""
## The idea

```text
                                  ┌──▶ z₁ ──▶ sigmoid ──▶ ŷ₁  pedestrian?
                                  ├──▶ z₂ ──▶ sigmoid ──▶ ŷ₂  car?
 image ──▶ [ shared trunk ] ──▶ [ head ]
                                  ├──▶ z₃ ──▶ sigmoid ──▶ ŷ₃  stop sign?
                                  └──▶ z₄ ──▶ sigmoid ──▶ ŷ₄  traffic light?
```

All four questions are about the same image, and edges, colors and shapes help to answer each of them. So the layers that find these are **shared**; only the last layer has an output of its own for each question. This is **multi-task learning**. The lecture says:

- **M1** one network, with shared layers, gives all four answers ŷ;
- **M2** it learns from the loss $\\frac{1}{m}\\sum_{i=1}^{m}\\sum_{j=1}^{4} L(\\hat y_j^{(i)}, y_j^{(i)})$, where L is the logistic loss $L(\\hat y, y) = -y\\log\\hat y-(1-y)\\log(1-\\hat y)$;
- **M3** unlike in softmax regression, one image can have several labels.
""")
code("""
seed: int = 100  # decides every random draw made in this notebook; 0 or more
scale: str = "quick"  # "quick" reads stored rows; "class" and "full" train 3 and 10 seeds here
images: int = 2_000  # scenes to learn from, from 64 to 20,000
""", "parameters")
code("""
import pandas as pd
import torch
from torch import nn

from mtl_course import datasets, figures, losses, networks, scenes, studies, training
from mtl_course.base import derive_seed
from mtl_course.explorers import page, your_turn
from mtl_course.explorers.label_sheet import LabelSheet
from mtl_course.explorers.predict import Prediction
from mtl_course.explorers.scene_maker import SceneMaker
from mtl_course.studies import lesson_03

seed = page.parameter("seed", seed, range(1_000_000), 100)
scale = page.parameter("scale", scale, ("quick", "class", "full"), "quick")
images = page.parameter("images", images, range(64, 20_001), 2_000)
""")
md("""
## Scenes, and Y

Real driving scenes with complete answers are rare and large, so the course draws its own. The networks see 32 × 32 pixels. Here are four scenes drawn at twice that size, with the answers below them: of the first twelve, the four that are easiest to see.
""")
code("""
roads = scenes.draw(images, seed=derive_seed(seed, "train"))  # to learn from
test = scenes.draw(4_000, seed=derive_seed(seed, "test"))  # no network learns from these


def clearest(data):  # the four images with the most contrast
    return data.subset(data.images.float().std(dim=(1, 2, 3)).topk(4).indices)


large = clearest(scenes.draw(12, seed=derive_seed(seed, "train"), size=64))
figures.show(figures.answers(large))
""")
md("""
An answer is 1 if enough of the thing can be seen: at least seven of the 32 × 32 pixels. A car that hides behind a house counts as 0. There are look-alikes, too: a round red sign is no stop sign, and a cyclist is no pedestrian. (At 32 pixels a stop sign is little more than a red disc with a white band.)

Each image $x^{(i)}$ has a column of four answers, $y^{(i)}$, of shape (4, 1). Side by side the columns of m images are the matrix Y, of shape (4, m). In code we store Yᵀ, one *row* an image, because PyTorch keeps the images along the first dimension.
""")
code("""
print(roads.tasks)
print(roads.images.shape, roads.labels.shape)
large.labels.T  # (4, 4): the matrix above, as numbers
""")
md("""
Softmax regression picks *one* class for each image. Would one be enough here? Count the 1s in each column.
""")
code("""
ones = test.labels.sum(dim=1)
pd.Series({f"{k} of 4": (ones == k).double().mean().item() for k in range(5)}, name="share").round(3)
""")
md("""
Most scenes hold two or more of the four things. An answer that can name only one of them leaves something out (M3).

## A network by hand

Three blocks of convolution are the shared trunk. The head is a single linear layer with four outputs, one **logit** $z_j$ for each task.
""")
code("""
def block(channels, width, pool):
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), pool, nn.ReLU())


class FourAnswers(nn.Module):
    def __init__(self, tasks=4):
        super().__init__()
        self.trunk = nn.Sequential(
            block(3, 8, nn.MaxPool2d(2)),  # (m, 8, 16, 16)
            block(8, 16, nn.MaxPool2d(2)),  # (m, 16, 8, 8)
            block(16, 16, nn.Identity()),  # (m, 16, 8, 8)
            nn.AdaptiveMaxPool2d(2),  # (m, 16, 2, 2)
            nn.Flatten(),  # (m, 64)
        )
        self.head = nn.Linear(64, tasks)

    def forward(self, images):  # uint8 (m, 3, 32, 32)
        return self.head(self.trunk(images / 127.5 - 1))  # (m, 4)
""")
md("""
The sigmoid $\\hat y_j = 1/(1+e^{-z_j})$ turns a logit into a probability. It is not part of the network, because the loss can be computed more precisely from logits. The package has the same network. Does it give the same logits?
""")
code("""
network = networks.shared(roads.tasks, width=8, seed=seed)
by_hand = FourAnswers()
by_hand.load_state_dict(network.state_dict())
print("the same logits:", torch.equal(by_hand(roads.images[:64]), network(roads.images[:64])))
figures.show(figures.architecture(network, roads.images[:1]))
""")
md("""
## The loss, entry by entry

Take one scene. The network has not learned anything yet, so its probabilities are near one half. The term of task j is $-\\log\\hat y_j$ if $y_j = 1$, and $-\\log(1-\\hat y_j)$ if $y_j = 0$.
""")
code("""
logits = training.predict(network, roads.subset(slice(64)))  # (64, 4)
terms = pd.DataFrame({"y": roads.labels[0], "z": logits[0]}, index=roads.tasks)
terms["ŷ"] = torch.sigmoid(logits[0])
terms["L"] = torch.where(roads.labels[0] == 1, logits[0].sigmoid(), 1 - logits[0].sigmoid()).log().neg()
terms.round(3)
""")
md("""
The loss adds up these terms over all tasks and all images, and divides by the number of images. As two loops:
""")
code("""
def loss_by_loops(logits, labels):  # (m, 4), (m, 4)
    total = 0.0
    for i in range(len(labels)):
        for j in range(labels.shape[1]):
            p = torch.sigmoid(logits[i, j])
            total = total - torch.log(p if labels[i, j] == 1 else 1 - p)
    return total / len(labels)


loss_by_loops(logits, roads.labels[:64]), losses.multi_task(logits, roads.labels[:64])
""")
md("""
The same number twice: `losses.multi_task` is the lecture's formula. An untrained network's loss is near 4 · log 2 ≈ 2.77: four coin tosses.

**Your turn (10 minutes).** Loops are slow. Write the loss without one: three or four lines on whole matrices.
""")
code("""
def my_loss(logits, labels):  # (m, 4), (m, 4) -> one number
    y = labels.float()
    # Your code: probabilities, then all terms at once, then their sum, divided by …
    return None


your_turn.vectorised_loss(my_loss, roads.subset(slice(64)))
""")
md("""
<details><summary>Hint</summary>

`y * p.log()` is the first part of all terms at once, since y is 0 where that part does not count. Divide by `len(labels)`. A mean over all entries would divide by 4m.

</details>
<details><summary>Solution</summary>

```python
p = logits.sigmoid()
L = -(y * p.log() + (1 - y) * (1 - p).log())  # (m, 4)
return L.sum() / len(labels)
```

PyTorch has it built in, and safe for large logits: `functional.binary_cross_entropy_with_logits(logits, y, reduction="sum") / len(labels)`. Its default, `reduction="mean"`, divides by 4m: a quarter of the lecture's loss, and a quarter of its gradient.

</details>

## One step

The sum of all terms is one number. So training works as always: compute the gradient, then move the weights. A weight of the trunk serves all four tasks, and gets the *sum* of their four gradients. Does the package take the same step?
""")
code("""
RATE = lesson_03.FOUR_RATES["four sigmoids"]
batch = roads.subset(slice(64))

optimizer = torch.optim.AdamW(by_hand.parameters(), lr=RATE, weight_decay=1e-4)
by_hand.train()
loss = losses.multi_task(by_hand(batch.images), batch.labels)
loss.backward()
optimizer.step()

training.fit(network, batch, steps=1, batch_size=64, seed=seed, learning_rate=RATE)
pairs = zip(by_hand.parameters(), network.parameters(), strict=True)
difference = max((a - b).abs().max().item() for a, b in pairs)
f"largest difference between two weights: {difference:.0e}; one step moves a weight by {RATE}"
""", "nbval-ignore-output")
md("""
What difference there is comes from rounding: the package adds up the same batch in another order.

## Predict, then look

The network now learns for 200 steps. Then we compare it with its rival, a softmax. What do you expect?
""")
code("""
hardest = Prediction("Which of the four tasks will the network answer worst?", roads.tasks)
hardest
""")
code("""
ways = ("four sigmoids", "one softmax", page.NEITHER)
better = Prediction("Which gives more right answers, four sigmoids or one softmax?", ways)
better
""")
md("""
## Training
""")
code("""
history = training.fit(network, roads, steps=200, seed=seed, learning_rate=RATE)
figures.show(figures.history(history))
""", "nbval-ignore-output")
md("""
All four losses fall together, though no weight of the trunk belongs to one task alone.

A small network and {2,000} scenes make a quick demonstration, not a good driver. The course ships a better one: the same layers with twice the channels, trained for 2,000 steps on 20,000 scenes, whatever your `seed` is. How good is it on scenes that it has never seen?
""".replace("{2,000}", "some thousand"))
code("""
driver = lesson_03.pretrained()
training.evaluate(driver, test)[["positive", "accuracy", "auc"]].round(3)
""", "nbval-ignore-output")
md("""
- **accuracy**: the share of right answers, with “yes” from $\\hat y$ = ½ on.
- **positive**: how often the answer is 1. Whoever always gives the more frequent answer is right that often, or one minus that often. Compare accuracy with it.
- **auc**: take one scene with the thing and one without. How often does the first get the higher probability? Guessing gives ½.

Now scenes that hold all four things: again the four that are easiest to see.
""")
code("""
full = clearest(test.subset((ones == 4).nonzero().flatten()))
logits = training.predict(driver, full)
notes = [[f"ŷ = {p:.2f}" for p in row] for row in logits.sigmoid().tolist()]
print(f"{int((logits > 0).sum())} of 16 answers are yes, and so should be all 16.")
figures.show(figures.answers(full, notes))
""", "nbval-ignore-output")
md("""
## Why not softmax?

A softmax turns the same four logits into probabilities that sum to 1. Look at the first of these scenes:
""")
code("""
both = pd.DataFrame(
    {"four sigmoids": logits[0].sigmoid(), "one softmax": logits[0].softmax(dim=0)}, index=roads.tasks
)
both.loc["sum"] = both.sum()
both.round(3)
""", "nbval-ignore-output")
md("""
If a softmax gives one task more than ½, it must give every other task less. It cannot say “surely a car *and* surely a light”, however long it trains: its form forbids it.

But this network was not trained for softmax. To be fair, the experiment trains a softmax network as such: the same trunk, the same scenes, each with *one* label, drawn at random among its 1s (or a fifth class, “none of them”). And it gets a second chance: for each task the **threshold** that is best on the scenes it learned from, in place of ½.

## The experiment

Ten seeds: each has its own 2,000 scenes, its own test of 4,000 scenes and its own first weights, which the three ways share. Learning rates were chosen before, on other seeds.
""")
code("""
here = {"quick": None, "class": range(seed, seed + 3), "full": range(seed, seed + 10)}[scale]
rows = studies.run("four_answers", seeds=here, only={"images": [2_000]}, fresh=scale != "quick")
sigmoids = rows[rows["way"] == "four sigmoids"][list(roads.tasks)].mean()
hardest.reveal(sigmoids.idxmin(), "Mean accuracy: " + ", ".join(f"{k} {v:.3f}" for k, v in sigmoids.items()))
""")
code("""
positive = test.labels.double().mean(dim=0)
drawn = figures.by_task(rows, roads.tasks, lesson_03.FOUR_WAYS, positive.maximum(1 - positive))
gain = studies.gain(rows, "four sigmoids", over="one softmax").iloc[0]
better.reveal(*page.answer(gain, "four sigmoids", "one softmax"), drawn)
""")
md("""
**Your turn (5 minutes).** A network that is right for 65 % of all pedestrians may have learned little. How far is each task above always giving the more frequent answer?
""")
code("""
usual = positive.maximum(1 - positive)  # (4,), accuracy of the more frequent answer
above = None  # your code: the mean accuracy of each task, less that

your_turn.above_usual(above, sigmoids, usual)
""")
md("""
<details><summary>Solution</summary>

`above = sigmoids - usual.numpy()`

</details>

## What was found
""")
code("""
found = {
    "M3: four sigmoids answer better than one softmax": gain,
    "M3: also if the softmax has tuned thresholds": studies.gain(rows, *lesson_03.FOUR_WAYS[::2]).iloc[0],
    "M3: four sigmoids also rank better (AUC)": studies.gain(
        rows, "four sigmoids", over="one softmax", score="auc"
    ).iloc[0],
}
page.verdicts(found, seed=seed, scale=scale, images=images)
""")
md("""
@@READING@@

The [evidence notebook](evidence/03_multi_task.ipynb) repeats this with ten other seeds and with 500 scenes, shows how the rates were chosen, asks whether 0.8 means 8 times in 10, and prices a missed stop sign.

## Try it yourself

### Make a scene

Put things on an empty road: near or far, by night, in fog. *What made it say …?* hides one place after another and measures how far the logit falls. Guess first:

1. A round sign, and nothing else. Can the network tell it from a stop sign?
2. Take a car far away, then by night, then into thick fog. When does ŷ give up, and when y?
""")
code("""
SceneMaker(driver, seed=seed)
""", "nbval-ignore-output")
md("""
### What a wrong label costs

Eight scenes with the network's logits. Press an entry of Y to change it (the '?' is lesson 04), and watch its term of the loss and its gradient.

1. Find an entry whose term is nearly 0. How large is the term if the label is wrong?
2. How large can a gradient become, however wrong the network is?
""")
code("""
eight = test.subset(slice(8))
LabelSheet(eight, training.predict(driver, eight))
""", "nbval-ignore-output")
md("""
A term can grow without limit: that is the price of being sure and wrong. The gradient on a logit is $(\\hat y_j - y_j)/m$; with eight scenes it is at most 1/8.

## Exercises

1. **Divide by what?** (10 minutes) Train the network by hand for 100 steps, once with your loss and once with a mean over all 4m entries, with plain gradient descent (`torch.optim.SGD(by_hand.parameters(), lr=0.1)`). What undoes the difference?

<details><summary>Solution</summary>

The mean is a quarter of the loss, so its gradient is a quarter too. Four times the learning rate gives the same steps. AdamW divides the gradient by its own size and hardly notices.

</details>

2. **Look-alikes.** (10 minutes) Draw `scenes.draw(4_000, seed=derive_seed(seed, "test"), tasks=("stop sign", "round sign"))`, the scenes of `test`. Among those without a stop sign, how often does `driver` see one if there is a round sign, and how often if there is none?

<details><summary>Solution</summary>

```python
signs = scenes.draw(4_000, seed=derive_seed(seed, "test"), tasks=("stop sign", "round sign")).labels
sees = training.predict(driver, test)[:, 2] > 0
[sees[(signs[:, 0] == 0) & (signs[:, 1] == k)].double().mean() for k in (0, 1)]
```

</details>

3. **Project: sixteen classes.** A softmax over all 2⁴ combinations of answers *can* say “car and light”. Build its labels (a `datasets.Dataset` with `classes=`), train it on 500 and on 2,000 scenes with ten seeds, and add up its probabilities to get the four answers. How many classes would 100 tasks need?

## Summary

- The answers to all questions are a matrix Y. One image can have several 1s.
- One network with a shared trunk and four outputs gives all answers (M1).
- Its loss is the sum of the four logistic losses, averaged over the images (M2).
- **Rule of thumb:** if several answers can be true at once, give each a sigmoid. Softmax is for questions with exactly one right answer (M3).

What would change it? If every image held exactly one of the four things, softmax would be right, and would know something that sigmoids have to learn. Whether one network is also *better* than four is lesson 05.

**Sources.** Andrew Ng, *Structuring Machine Learning Projects*, 2017, "Multi-task learning" (the lecture). R. Caruana, [Multitask learning](https://doi.org/10.1023/A:1007379606734), 1997. M. D. Zeiler and R. Fergus, [Visualizing and understanding convolutional networks](https://arxiv.org/abs/1311.2901), 2014: hiding one place after another. The rows again: `python -m mtl_course studies four_answers --fresh`.

**Next:** [04 Unknown labels](04_unknown_labels.ipynb)
""")
nb = new_notebook(cells=cells)
nb.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
READING = open("/tmp/w/l03/reading.txt").read().strip()
for c in cells:
    c.source = c.source.replace("@@READING@@", READING)
words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
print(len(cells), "cells", words, "words")
nbformat.write(nb, sys.argv[1])
