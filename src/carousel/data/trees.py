"""Trees in brackets, as the Stanford Sentiment Treebank and the Penn Treebank have them; the task of labelling their nodes.

``(3 (2 It) (4 (2 's) (4 lovely)))``: a node is a label and either a word or nodes. A tree may run over several lines. Penn's
outer brackets without a label, ``( (S ...) )``, are the tree within. ``-LRB-``, ``-RRB-`` and ``\\/`` are read as ``(``, ``)``
and ``/``.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.data.classification import confusion, scores
from carousel.errors import InputError
from carousel.forest import Forest
from carousel.task import Task, cross_entropy

_TOKEN = re.compile(r"[()]|[^ \t\r\n()]+")  # other white space is part of a word: 8\u00a01\/2
_ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
NO_WORD, UNKNOWN = 0, 1
"""Numbers of what a node without a word reads, and of a word that was not in training."""


@dataclass(frozen=True)
class LabelledTree:
    """A tree as it was read, children before their parents.

    Attributes:
        children:  of each node the numbers of its children.
        labels:    of each node its label; None where it has none.
        words:     of each node its word; None for a node with children.
    """

    children: list[list[int]]
    labels: list[str | None]
    words: list[str | None]


def read_trees(path: Path | str) -> list[LabelledTree]:
    """The trees of a file in brackets, plain or gzip.

    Raises:
        InputError: a file that cannot be read, or what is no tree, with its line and column.
    """
    path = Path(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            trees = parse_trees(file, str(path))
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text in UTF-8") from None
    if not trees:
        raise InputError(f"{path}: there is no tree in it")
    return trees


def parse_trees(lines: Iterable[str], source: str) -> list[LabelledTree]:
    """The trees of some lines in brackets.

    Raises:
        InputError: what is no tree, with its line and column; `source` is named before them.
    """
    trees: list[LabelledTree] = []
    parser = _Parser(source)
    for number, line in enumerate(lines, start=1):
        for token in _TOKEN.finditer(line):
            tree = parser.take(token[0], number, token.start() + 1)
            if tree is not None:
                trees.append(tree)
    parser.end()
    return trees


@dataclass
class _Open:
    """A bracket that is not closed yet."""

    line: int
    column: int
    atoms: list[str]
    children: list[int]


class _Parser:
    """Reads token by token, without recursion, so that depth has no limit."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.open: list[_Open] = []
        self.tree = LabelledTree([], [], [])

    def take(self, token: str, line: int, column: int) -> LabelledTree | None:
        """Read a token; the tree that it closes, where it does."""
        if token == "(":
            self.open.append(_Open(line, column, [], []))
        elif not self.open:
            raise self._error(line, column, f"expected '(', got {token!r}")
        elif token != ")":
            if len(self.open[-1].atoms) == 2 or (self.open[-1].children and self.open[-1].atoms):
                raise self._error(line, column, f"expected ')' or a node, got {token!r}: a node is a label and one word, or nodes")
            if self.open[-1].children:
                raise self._error(line, column, f"expected a node, got {token!r}: a label stands before the nodes")
            self.open[-1].atoms.append(token)
        else:
            return self._close(self.open.pop(), line, column)
        return None

    def _close(self, node: _Open, line: int, column: int) -> LabelledTree | None:
        if len(node.atoms) == 2 and node.children:
            raise self._error(node.line, node.column, "a node has both a word and nodes")
        if not node.atoms and not node.children:
            raise self._error(node.line, node.column, "a node has neither a word nor nodes")
        if not node.atoms and len(node.children) == 1 and not self.open:  # Penn's outer brackets
            number = node.children[0]
        else:
            is_leaf = not node.children
            label = node.atoms[0] if len(node.atoms) == 2 or (not is_leaf and node.atoms) else None
            self.tree.children.append(node.children)
            self.tree.labels.append(label)
            self.tree.words.append(_unescaped(node.atoms[-1]) if is_leaf else None)
            number = len(self.tree.children) - 1
        if self.open:
            self.open[-1].children.append(number)
            return None
        tree, self.tree = self.tree, LabelledTree([], [], [])
        return tree

    def end(self) -> None:
        """The end of the text."""
        if self.open:
            raise self._error(self.open[-1].line, self.open[-1].column, "this '(' is never closed")

    def _error(self, line: int, column: int, text: str) -> InputError:
        return InputError(f"{self.source}: line {line}, column {column}: {text}")


def bracketed(tree: LabelledTree) -> str:
    """The tree in brackets, on one line; a node with both a word and children has its word after its label, as label/word."""
    written: list[str] = []  # of each node
    escaped = {letter: name for name, letter in _ESCAPED.items()}
    for children, label, word in zip(tree.children, tree.labels, tree.words, strict=True):
        name = [label] if label is not None else []
        own = None if word is None else escaped.get(word, word)
        if children and own is not None:
            name = ["/".join([*name, own])]
        elif own is not None:
            name.append(own)
        written.append(f"({' '.join([*name, *(written[child] for child in children)])})")
        for child in children:
            written[child] = ""  # a deep tree would be kept once for each height
    return written[-1]


def _unescaped(word: str) -> str:
    return _ESCAPED.get(word, word.replace("\\/", "/").replace("\\*", "*"))


@dataclass(frozen=True)
class TreeVocabulary:
    """The words and labels that a network of trees knows.

    Attributes:
        words:   those with a number of their own: words[n] has the number n + 2, after NO_WORD and UNKNOWN.
        labels:  by class.
    """

    words: tuple[str, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, trees: Sequence[LabelledTree], least: int = 1) -> TreeVocabulary:
        """What is in some trees; words that are there at least so often."""
        counts = Counter(word for tree in trees for word in tree.words if word is not None)
        words = tuple(word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= least)
        return cls(words, tuple(sorted({label for tree in trees for label in tree.labels if label is not None})))

    @property
    def size(self) -> int:
        """Numbers of words, NO_WORD and UNKNOWN included."""
        return len(self.words) + 2

    def forest(self, trees: Sequence[LabelledTree]) -> tuple[Forest, Tensor]:
        """(the trees with the numbers of their words as inputs, (n,) the class of each node, -1 for none).

        Raises:
            InputError: a label that is not among those known.
        """
        numbers = {word: n + 2 for n, word in enumerate(self.words)}
        classes = {label: n for n, label in enumerate(self.labels)}
        for tree in trees:
            for label in tree.labels:
                if label is not None and label not in classes:
                    raise InputError(
                        f"trees: the label {label!r} was not in training; expected one of {', '.join(self.labels[:10])}"
                    )
        words = [NO_WORD if word is None else numbers.get(word, UNKNOWN) for tree in trees for word in tree.words]
        labels = [-1 if label is None else classes[label] for tree in trees for label in tree.labels]
        return Forest.of([tree.children for tree in trees], torch.tensor(words)), torch.tensor(labels)


class TreeLabels(Task):
    """A label for each node of a tree. Inputs are a `Forest` of numbers of words, outputs (n, C) logits.

    Args:
        training:    what batches are drawn from, each tree as likely as any other.
        validation:  what training is watched on.
        least:       words that are there less often in training are unknown.
        roots_only:  whether the loss counts the roots alone.
        vocabulary:  the words and labels; None for those of the training trees.

    Attributes:
        vocabulary:  the words and labels.
    """

    input_size = None

    def __init__(
        self,
        training: Sequence[LabelledTree],
        validation: Sequence[LabelledTree],
        *,
        least: int = 1,
        roots_only: bool = False,
        vocabulary: TreeVocabulary | None = None,
    ) -> None:
        self.vocabulary = vocabulary or TreeVocabulary.of(training, least)
        self.output_size = len(self.vocabulary.labels)
        self.roots_only = roots_only
        self._training, self._validation = self.vocabulary.forest(training), self.vocabulary.forest(validation)

    loss = staticmethod(cross_entropy)

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B trees of the training part."""
        if lengths:
            raise InputError(f"trees: the trees are those of the file; got {', '.join(lengths)}")
        forest, labels = self._training
        chosen = torch.randint(len(forest), (B,), generator=generator).numpy()
        return self.batch(forest.select(chosen), labels[forest.nodes_of(chosen)])

    def validation(self) -> Batch:
        return self.batch(*self._validation)

    def batch(self, forest: Forest, labels: Tensor) -> Batch:
        """A forest and its nodes' classes (n,), -1 for none, as a batch."""
        counts = labels >= 0
        if self.roots_only:
            counts &= torch.zeros(forest.nodes, dtype=torch.bool).index_fill_(0, forest.roots, True)
        return Batch(forest, labels.clamp_min(0), counts, torch.from_numpy(forest.starts[1:] - forest.starts[:-1]))

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """Accuracy and macro-F1 at the roots, and the accuracy at all labelled nodes, in percent."""
        roots = batch.inputs.roots[batch.mask[batch.inputs.roots]]
        predicted = outputs.argmax(1).cpu()
        truth = batch.targets.cpu()
        C = self.output_size
        at_roots = scores(confusion(truth[roots], predicted[roots], C))
        nodes = batch.mask.cpu()
        return {**at_roots, "accuracy of nodes": scores(confusion(truth[nodes], predicted[nodes], C))["accuracy"]}
