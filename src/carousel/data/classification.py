"""Classification: one label for a whole sequence, judged by accuracy and macro-F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel.batch import Batch
from carousel.data.sequences import padded
from carousel.errors import InputError
from carousel.task import Task, cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Part:
    """Sequences as a network reads them, with what they are.

    Attributes:
        inputs:   n tensors, (T, I) of numbers or (T,) of symbols.
        classes:  n int64 tensors, () for a whole sequence, (T,) for each of its steps.
    """

    inputs: list[Tensor]
    classes: list[Tensor]


class Classification(Task):
    """Sequences of any lengths; the network's outputs are the logits of the labels, asked for at a sequence's last step.

    Args:
        training:    what batches are drawn from, each sequence as likely as any other.
        validation:  what training is watched on.
        labels:      their names, by class.
        noise:       standard deviation of the Gaussian noise added to numbers in training, in the unit of the inputs.

    Attributes:
        each_step:   whether the logits are asked for at every step; here False.
    """

    each_step = False
    _name = "classification"

    def __init__(self, training: Part, validation: Part, labels: Sequence[str], *, noise: float = 0.0) -> None:
        if not noise >= 0:
            raise InputError(f"{self._name}: expected noise of at least 0, got {noise}")
        self._training, self._validation = training, validation
        self.labels, self.noise = list(labels), noise
        first = training.inputs[0]
        self.input_size = None if first.dim() == 1 else first.shape[1]
        self.output_size = len(self.labels)

    loss = staticmethod(cross_entropy)

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences of the training part, of the lengths that they have."""
        if lengths:
            raise InputError(f"{self._name}: the sequences have the lengths of the file; got {', '.join(lengths)}")
        chosen = torch.randint(len(self._training.inputs), (B,), generator=generator).tolist()
        inputs = [self._training.inputs[n] for n in chosen]
        if self.noise and self.input_size is not None:
            inputs = [x + self.noise * torch.randn(x.shape, generator=generator) for x in inputs]
        return self.batch(Part(inputs, [self._training.classes[n] for n in chosen]))

    def validation(self) -> Batch:
        return self.batch(self._validation)

    def batch(self, part: Part) -> Batch:
        """All sequences of a part side by side."""
        inputs, lengths = padded(part.inputs)
        steps = torch.arange(len(inputs))[:, None]
        return Batch(inputs, torch.stack(part.classes).expand(len(inputs), -1), steps == lengths - 1, lengths)

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """Accuracy and macro-F1, in percent."""
        return scores(confusion(batch.targets[batch.mask], outputs[batch.mask].argmax(1), self.output_size))

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence: its numbers (or symbols) over the steps, and below the probability of each label."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4 if outputs is not None else 2.5), layout="constrained")
        panels = figure.subplots(1 if outputs is None else 2, 1, sharex=True, squeeze=False)[:, 0]
        length = int(batch.lengths[0])
        inputs = batch.inputs[:length, 0].cpu()
        if inputs.dim() == 1 or inputs.shape[1] <= 4:
            panels[0].plot(inputs, linewidth=0.8)
            panels[0].set_ylabel("input")
        else:
            panels[0].imshow(inputs.T, aspect="auto", origin="lower", interpolation="none")
            panels[0].set_ylabel("channel")
        if outputs is not None:
            for label, share in zip(self.labels, torch.softmax(outputs[:length, 0], 1).T.detach().cpu(), strict=True):
                panels[1].plot(share, label=label, linewidth=0.8)
            panels[1].set_ylabel("probability")
            panels[1].legend(ncols=10, fontsize=6)
        panels[0].set_title(self._told(batch))
        panels[-1].set_xlabel("step")
        return figure

    def _told(self, batch: Batch) -> str:
        return self.labels[int(batch.targets[0, 0])]


def confusion(truth: Tensor, told: Tensor, n: int) -> NDArray[np.int64]:
    """(n, n) how often each class, by row, was told to be each, by column."""
    return torch.bincount(truth.cpu() * n + told.cpu(), minlength=n * n).reshape(n, n).numpy()


def scores(counts: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy and macro-F1 in percent, of a table as `confusion` gives it.

    Macro-F1 is the mean of the classes' F1 = 2 right / (2 right + wrongly told + missed), over those
    classes that are there or were told.
    """
    right = counts.diagonal()
    told_or_there = counts.sum(axis=0) + counts.sum(axis=1)
    seen = told_or_there > 0
    f1 = 2 * right[seen] / told_or_there[seen]
    return {"accuracy": 100 * float(right.sum() / counts.sum()), "macro-F1": 100 * float(f1.mean())}


def held_back(labels: Sequence[Any], share: float, seed: int, what: str) -> tuple[list[int], list[int]]:
    """(kept, held) numbers of the sequences, `share` of them held, of each label about its share.

    One sequence of each label is kept whatever the share; of labels of steps, those sequences that have one that would not be kept.

    Raises:
        InputError: a share that is none, or by which nothing is held or kept; it names the option `what`.
    """
    if not 0 < share < 1:
        raise InputError(f"{what}: expected a share between 0 and 1, got {share:g}")
    generator = np.random.default_rng(seed)
    groups: dict[Any, list[int]] = {}
    for n in generator.permutation(len(labels)).tolist():
        groups.setdefault(labels[n] if isinstance(labels[n], str) else None, []).append(n)
    # Along this order every label comes as evenly as it can; the last of each stays.
    order = [((at + generator.random()) / len(group), n) for group in groups.values() for at, n in enumerate(group[:-1])]
    held = sorted(n for _, n in sorted(order)[: round(share * len(labels))])
    if any(isinstance(label, list) for label in labels):
        seen = {label for n in set(range(len(labels))) - set(held) for label in labels[n]}
        for n in held.copy():
            if not seen.issuperset(labels[n]):
                seen.update(labels[n])
                held.remove(n)
    if not held:
        raise InputError(
            f"{what}: a share of {share:g} of {len(labels)} sequences holds none back; give more sequences or a larger share"
        )
    return sorted(set(range(len(labels))) - set(held)), held
