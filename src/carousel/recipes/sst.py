"""The Stanford Sentiment Treebank: trees in brackets with a label 0 to 4 at every node, and networks that learn to give it.

Two sets of rows read it, of the recipes treelstm2015 and socher2013. Five classes: the labels as they are. Two classes:
0 and 1 against 3 and 4; sentences whose root is neutral are left out, other neutral nodes carry no loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Adagrad, Optimizer

from carousel.batch import Batch
from carousel.cell import Stack, TreeCell
from carousel.cells import LSTM, RNTN, ChildSumTreeLSTM, Dropout, Embedding, NaryTreeLSTM, RecursiveNet
from carousel.data.public import data_folder
from carousel.data.trees import LabelledTree, TreeLabels, read_trees
from carousel.forest import Forest
from carousel.network import Network, Recursive
from carousel.network import Sequence as OverTime
from carousel.train import fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = (0, 1, 2)
BATCH = 25
_POLARITY = {"0": "negative", "1": "negative", "3": "positive", "4": "positive"}


@dataclass(frozen=True)
class Practice:
    """How the network of a row is built and trained.

    Attributes:
        cell:       (length of a word's vector, hidden size) -> cell over trees; None for an LSTM over the words of every phrase.
        embedding:  length of a word's vector.
        hidden:     units.
        dropout:    of the words' vectors and of what the readout reads.
        rate:       of AdaGrad.
        epochs:     at most; the one with the highest validation accuracy counts.
        decay:      weight decay of all but the words' vectors.
        start:      words' vectors begin at U(-start, start).
    """

    cell: Callable[[int, int], TreeCell] | None
    embedding: int = 150
    hidden: int = 150
    dropout: float = 0.5
    rate: float = 0.05
    epochs: int = 12
    decay: float = 1e-4
    start: float = 0.05


PRACTICES: dict[str, Practice] = {
    "tree-lstm": Practice(lambda size, hidden: NaryTreeLSTM(size, hidden, inner_inputs=False)),
    "child-sum": Practice(ChildSumTreeLSTM),
    "lstm": Practice(None),
    "recursive": Practice(lambda _, hidden: _averaging(RecursiveNet(hidden)), 100, 100, dropout=0.2, rate=0.02, start=0.5),
    "rntn": Practice(lambda _, hidden: _averaging(RNTN(hidden)), 64, 64, dropout=0.2, rate=0.02, start=0.5),
}


def _averaging(cell: RecursiveNet) -> RecursiveNet:
    """The cell with a W near half of the sum of two children, so that words reach the root of a deep tree."""
    with torch.no_grad():
        cell.W.mul_(0.1).add_(torch.eye(cell.hidden_size).repeat(1, 2) / 2)
    return cell


@cache
def trees_of(part: str, classes: int) -> list[LabelledTree]:
    """The trees of train, dev or test, for five classes or for two.

    Raises:
        InputError: the files are not in the data folder.
    """
    trees = read_trees(data_folder() / "sst_trees" / f"{part}.txt.gz")
    if classes == 5:
        return trees
    polar = [replace(tree, labels=[_POLARITY.get(label or "") for label in tree.labels]) for tree in trees]
    return [tree for tree in polar if tree.labels[-1] is not None]


def draw(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """A sentence of the test part, each phrase with its predicted label, from very negative (0) to very positive (4)."""
    from carousel.tree_drawing import colors_of, draw_tree

    for row in rows:
        for run in row["runs"]:
            if "picture" in run:
                drawn = run["picture"]
                colors = colors_of(drawn["names"])
                return draw_tree(drawn["children"], drawn["words"], drawn["truth"], drawn["labels"], drawn["certainty"], colors)
    return None


class Sentiment(TreeLabels):
    """The labels of the treebank; its validation figure is the error at the roots, in percent."""

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        found = super().score(outputs, batch)
        return {"error": 100 - found["accuracy"], **found}

    def test(self, trees: list[LabelledTree]) -> Batch:
        """Other trees with this vocabulary, as one batch."""
        return self.batch(*self.vocabulary.forest(trees))


class Phrases(Sentiment):
    """Every labelled phrase of a tree as a sequence of its own: its words, and its label at the last one."""

    def batch(self, forest: Forest, labels: Tensor) -> Batch:
        first = list(range(forest.nodes))  # of each node its first leaf, by its place among the leaves
        last = first.copy()
        leaves: list[int] = []
        for node, children in enumerate(forest.children.tolist()):  # children come before their parents
            below = [child for child in children if child >= 0]
            if below:
                first[node], last[node] = first[below[0]], last[below[-1]]
            else:
                first[node] = last[node] = len(leaves)
                leaves.append(node)
        words = forest.inputs[torch.tensor(leaves)]
        chosen = (labels >= 0).nonzero()[:, 0].tolist()
        spans = [words[first[node] : last[node] + 1] for node in chosen]
        inputs = nn.utils.rnn.pad_sequence(spans)
        lengths = torch.tensor([len(span) for span in spans])
        targets = labels[chosen].expand(len(inputs), -1)
        mask = torch.arange(len(inputs))[:, None] == lengths - 1
        return Batch(inputs, targets, mask, lengths)

    def validation(self) -> Batch:
        return self.roots(*self._validation)

    def test(self, trees: list[LabelledTree]) -> Batch:
        return self.roots(*self.vocabulary.forest(trees))

    def roots(self, forest: Forest, labels: Tensor) -> Batch:
        """The sentences alone."""
        only = torch.full_like(labels, -1).index_copy_(0, forest.roots, labels[forest.roots])
        return self.batch(forest, only)

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        right = outputs.argmax(-1)[batch.mask] == batch.targets[batch.mask]
        return {"error": 100 - 100 * float(right.double().mean()), "accuracy": 100 * float(right.double().mean())}


def network_of(practice: Practice, words: int, classes: int) -> Network:
    """The network of a row, weights drawn from torch's generator."""
    readout = nn.Linear(practice.hidden, classes)
    if practice.cell is not None:
        cell = practice.cell(practice.embedding, practice.hidden)
        vectors = nn.Embedding(words, practice.embedding)
        nn.init.uniform_(vectors.weight, -practice.start, practice.start)
        return Recursive(cell, readout=readout, embedding=vectors, dropout=practice.dropout)
    embedding = Embedding(words, practice.embedding)
    nn.init.uniform_(embedding.E, -practice.start, practice.start)
    dropout = [Dropout(size, practice.dropout) for size in (practice.embedding, practice.hidden)]
    layer = LSTM(practice.embedding, practice.hidden, forget_bias=1.0)
    return OverTime(Stack(embedding, dropout[0], layer, dropout[1], readout=readout))


def run_row(row: str, unit: int | str, budget: int | None = None) -> dict[str, Any]:
    """One seed of a row, "<network>-<classes>"; `budget`: at most so many trees in place of the recipe's."""
    name, _, number = row.rpartition("-")
    practice, classes, seed = PRACTICES[name], int(number), int(unit)
    training = trees_of("train", classes)
    kind = Sentiment if practice.cell is not None else Phrases
    task = kind(training, trees_of("dev", classes), least=2)
    torch.manual_seed(seed)
    network = network_of(practice, task.vocabulary.size, task.output_size)
    vectors = {id(p) for module in network.modules() if isinstance(module, nn.Embedding | Embedding) for p in module.parameters()}

    def optimizer(parameters: Iterable[Tensor]) -> Optimizer:
        every = list(parameters)
        others = [p for p in every if id(p) not in vectors]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in every if id(p) in vectors]},
            {"params": others, "weight_decay": practice.decay},
        ]
        return Adagrad(groups, lr=practice.rate, eps=1e-8)

    every = len(training) if practice.cell is not None else sum(label is not None for tree in training for label in tree.labels)
    began = time.monotonic()
    trained = fit(
        network,
        task,
        optimizer=optimizer,
        batch_size=BATCH,
        sequences=budget or practice.epochs * every,
        evaluate_every=every // 2,
        monitor="error",
        patience=10,
        seed=seed,
        progress=False,
    )
    with torch.no_grad():
        batch = task.test(trees_of("test", classes))
        outputs, _ = trained.cell(batch)
    measures = {"accuracy": task.score(outputs, batch)["accuracy"], "validation accuracy": 100 - trained.best["error"]}
    entry: dict[str, Any] = {}
    if row == "tree-lstm-5" and seed == SEEDS[0]:
        entry["picture"] = _picture(trees_of("test", classes), task, outputs)
    curve = [[line["sequences"], round(100 - line["value"], 3)] for line in trained.history if line["name"] == "error"]
    return {
        "seed": seed,
        "solved": None,
        "sequences": trained.sequences,
        "seconds": round(time.monotonic() - began, 1),
        "backend": "auto",
        "measures": {measure: round(value, 3) for measure, value in measures.items()},
        "curve": curve,
        **entry,
    }


def _picture(trees: list[LabelledTree], task: TreeLabels, outputs: Tensor) -> dict[str, Any]:
    """What `draw_tree` draws of the first sentence of 12 to 16 words whose label is right and differs from neutral."""
    start = 0
    for tree in trees:
        logits = outputs[start : start + len(tree.labels)]
        start += len(tree.labels)
        words = sum(word is not None for word in tree.words)
        predicted = [task.vocabulary.labels[n] for n in logits.argmax(1).tolist()]
        if 12 <= words <= 16 and predicted[-1] == tree.labels[-1] != "2":
            break
    certainty = torch.softmax(logits, 1).amax(1)
    return {
        "children": tree.children,
        "words": tree.words,
        "labels": predicted,
        "truth": tree.labels,
        "certainty": [round(value, 3) for value in certainty.tolist()],
        "names": list(task.vocabulary.labels),
    }
