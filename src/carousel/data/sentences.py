"""Sentences without a parse, as trees: right-branching, balanced, random, or left to the network; the task of their labels.

All trees of a sentence of L words are numbered alike: the words 0 to L - 1, then the L - 1 nodes above them, the root last. So a
network may put its own children in the place of those that are there (`carousel.network.Autoencoder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.data.trees import LabelledTree, TreeLabels
from carousel.task import cross_entropy

SHAPES = ("right", "balanced", "random")


def as_tree(words: Sequence[str], label: str | None, shape: str, generator: np.random.Generator) -> LabelledTree:
    """A binary tree over the words, each node with the label of the sentence.

    Args:
        words:      at least one.
        label:      of the sentence, None for none.
        shape:      one of SHAPES.
        generator:  of the random shape: each adjacent pair is as likely to merge next as any other.
    """
    L = len(words)
    children: list[list[int]] = [[] for _ in words]
    row = list(range(L))  # the nodes that have no parent yet, from left to right
    at = 0
    while len(row) > 1:
        if shape == "right":
            at = len(row) - 2
        elif shape == "random":
            at = int(generator.integers(len(row) - 1))
        elif at > len(row) - 2:  # balanced: pairs from left to right, then those of the row above
            at = 0
        children.append(row[at : at + 2])
        row[at : at + 2] = [len(children) - 1]
        at += 1
    return LabelledTree(children, [label] * len(children), [*words, *[None] * (L - 1)])


@dataclass(frozen=True)
class SemiSupervisedLoss:
    """share * E + (1 - share) * the cross-entropy of the label, at each node (Socher et al. 2011, equation 8)."""

    share: float

    def __call__(self, y: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        logits, error = y
        return self.share * error + (1 - self.share) * cross_entropy(logits, target)


class SentenceLabels(TreeLabels):
    """As TreeLabels, of sentences: outputs are (logits (n, C), reconstruction errors (n,)).

    Args:
        share:    of the reconstruction error in the loss.
        options:  those of TreeLabels.
    """

    def __init__(self, training: Sequence[LabelledTree], validation: Sequence[LabelledTree], share: float, **options: Any) -> None:
        super().__init__(training, validation, **options)
        self.loss = SemiSupervisedLoss(share)  # type: ignore[assignment]

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """As TreeLabels, and the mean reconstruction error of the nodes above the words."""
        logits, error = outputs
        above = torch.from_numpy((batch.inputs.children >= 0).any(1))
        mean = float(error[above].mean()) if bool(above.any()) else 0.0
        return {**super().score(logits, batch), "reconstruction error": mean}
