import nbformat
p="notebooks/00_start_here.ipynb"; nb=nbformat.read(p,4); c=nb.cells
def src(i,*pairs):
    for a,b in pairs:
        assert a in c[i].source,(i,a); c[i].source=c[i].source.replace(a,b)
src(1,("""Each lesson takes one statement of the lecture as a **hypothesis**. You predict the outcome, then the notebook measures it, then it scores your prediction.

A prediction has a confidence, and is kept: in the file `results/predictions.csv` of your copy of the course, and nowhere else. At the end of lesson 06 you see how well you knew how sure to be. Delete the file to start anew.
""","""Each lesson explains one idea of the lecture, lets you write it in PyTorch, and then measures whether it holds. Before you see the measurement you **predict** it: choose an answer, say how sure you are, and press *Commit*. The answer stays folded until then, even after Run All.

Your predictions are kept in `results/predictions.csv` in your copy of the course, and nowhere else. At the end of lesson 06 you see how well you knew how sure to be. Delete the file to start over.
"""),
("A network has learned printed digits. What is that worth for real handwriting? |","A network has seen thousands of shoes and coats. What is that worth for telling T-shirts from pullovers? ([Evidence](evidence/01_transfer.ipynb)) |"),
)
src(6,("Here is one such comparison, from the rows that ship with the course. It asks what pretraining gains when there are 30 handwritten labels.","Here is one such comparison, from the rows that ship with the course. It asks how much pretraining on eight kinds of clothes gains, when there are 30 labeled photographs of two other kinds."))
c[7].source='''from mtl_course import studies
from mtl_course.explorers import page

rows = studies.run("clothes", only={"labels": [30]})
gain = studies.gain(rows, "all layers", over="from scratch")
gain.round(3)'''
src(8,("`mean` is the average gain in accuracy, from `low` to `high`. `detectable` is the smallest true gain that ten seeds would notice four times out of five. Any row can be trained again with the command `python -m mtl_course studies digits --fresh --only labels=30`.","`mean` is the average gain in accuracy, and `low` to `high` is its interval. `detectable` is the smallest true gain that ten seeds would notice four times out of five. Any row can be trained again: `python -m mtl_course studies clothes --fresh --only labels=30`.\n\nEach lesson ends with a table of its verdicts, like this one:"))
i=c[8].source.index("## Next"); tail=c[8].source[i:]; c[8].source=c[8].source[:i].strip()
c[9].source='''page.verdicts({"30 labels: fine-tuning beats training from scratch": gain.iloc[0]}, seed=seed, scale=scale)'''
c.append(nbformat.v4.new_markdown_cell("## Sources\n\n- The lecture: Andrew Ng, *Structuring Machine Learning Projects*, DeepLearning.AI, 2017, the parts \"Transfer learning\" and \"Multi-task learning\".\n\n**Next:** [01 Transfer](01_transfer.ipynb)"))
nbformat.write(nb,p)
