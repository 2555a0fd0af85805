"""Tagging: a label for each step of a sequence, judged by accuracy and macro-F1 over all steps."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pad_sequence

from carousel.batch import Batch
from carousel.data.classification import Classification, Part
from carousel.data.sequences import padded


class Tagging(Classification):
    """As Classification, but the logits are asked for at every step, each with a class of its own.

    The network reads from the left: a step's label is told from this step and those before it.
    """

    each_step = True
    _name = "tagging"

    def batch(self, part: Part) -> Batch:
        inputs, lengths = padded(part.inputs)
        steps = torch.arange(len(inputs))[:, None]
        return Batch(inputs, pad_sequence(part.classes), steps < lengths, lengths)

    def _told(self, batch: Batch) -> str:
        return " ".join(self.labels[n] for n in batch.targets[: int(batch.lengths[0]), 0].tolist())
