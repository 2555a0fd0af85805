"""Sequences as a reader gives them, and what makes tensors of them.

A reader knows a file format and nothing of networks; an encoding is fitted on the training part
alone, is plain values that a run keeps, and makes of each sequence the tensor that a network reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from carousel.errors import InputError
from carousel.plain import from_table

_LARGEST = np.finfo(np.float32).max

Kind = Literal["numbers", "words", "bytes"]


@dataclass(frozen=True)
class Sequences:
    """n sequences, each of one step or more.

    Attributes:
        source:  the file, for messages.
        kind:    what a step is.
        items:   n sequences of T steps each: (T, I) float64 arrays of numbers, all finite and of one I; lists
                 of words; or bytes. Float32 is for what has been scaled: it takes the small changes of a large number away.
        labels:  n of what a sequence is to be told as: a text, one text for each step, or None where
                 the file says nothing.
        names:   n texts that tell where each is from, as "line 7" or a file's name.
        rate:    the sample rate of recordings, in Hz; None for all else.
    """

    source: str
    kind: Kind
    items: list[Any]
    labels: list[Any]
    names: list[str]
    rate: int | None = None

    def __len__(self) -> int:
        return len(self.items)

    def pick(self, indices: Sequence[int]) -> Sequences:
        """Those of these numbers, in this order."""
        items, labels, names = ([column[n] for n in indices] for column in (self.items, self.labels, self.names))
        return replace(self, items=items, labels=labels, names=names)

    def place(self, n: int) -> str:
        """Where sequence n is from, as a message begins."""
        return f"{self.source}: {self.names[n]}"


@contextmanager
def may_be_skipped(skipped: list[str] | None) -> Iterator[None]:
    """One sequence of many is read within: where it is refused, the reason is added to `skipped`; None: it is raised."""
    try:
        yield
    except InputError as error:
        if skipped is None:
            raise
        skipped.append(str(error))


def as_numbers(rows: Any, place: str) -> np.ndarray:
    """(T, I) float64 of a list of numbers or of a list of vectors; InputError begins with `place`."""
    try:
        values = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{place}: expected numbers, or vectors of numbers of one length") from None
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"{place}: expected at least one number, or vectors of numbers of one length")
    return checked(values, place)


def checked(values: np.ndarray, place: str) -> np.ndarray:
    """(T, I) as float64; InputError for what is not finite or larger than a float32 can be."""
    right = np.abs(values) <= _LARGEST  # false for nan too
    if not right.all():
        step, channel = np.argwhere(~right)[0].tolist()
        raise InputError(
            f"{place}: step {step + 1}, channel {channel + 1}: expected a finite number, got {values[step, channel]:g}"
        )
    return values.astype(np.float64, copy=False)


def mean_and_deviation(values: np.ndarray, axis: int | None = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation along an axis; of numbers that differ by their rounding alone the deviation is 1."""
    low, high = values.min(axis), values.max(axis)
    constant = high - low <= 4 * np.spacing(np.maximum(np.abs(low), np.abs(high)))
    return values.mean(axis), np.where(constant, 1.0, values.std(axis))


@dataclass(frozen=True)
class InputScaling:
    """Numbers, shifted and scaled channel by channel: (x - mean) / deviation.

    Attributes:
        mean, deviation:  I figures each, of the training part, in the file's unit; a channel that does
                          not vary there has deviation 1.
    """

    mean: list[float]
    deviation: list[float]
    kind: Kind = "numbers"

    def __post_init__(self) -> None:
        object.__setattr__(self, "_arrays", (np.array(self.mean), np.array(self.deviation)))

    @staticmethod
    def of(items: Sequence[np.ndarray], together: bool = False) -> InputScaling:
        """That of these sequences (T, I); `together`: one mean and deviation for all channels, as the pixels of images have."""
        steps = np.concatenate(items, dtype=np.float64)
        mean, deviation = mean_and_deviation(steps, None if together else 0)
        return InputScaling(*(np.broadcast_to(one, steps.shape[1]).tolist() for one in (mean, deviation)))

    @property
    def input_size(self) -> int:
        """I, how many numbers a step has."""
        return len(self.mean)

    def encode(self, item: Any, place: str) -> Tensor:
        """(T, I) float32 for a network, of an array (T, I)."""
        if item.shape[1] != self.input_size:
            raise InputError(f"{place}: expected {self.input_size} numbers a step, as in training, got {item.shape[1]}")
        mean, deviation = self._arrays  # type: ignore[attr-defined]
        with np.errstate(over="ignore"):
            scaled = ((item.astype(np.float64, copy=False) - mean) / deviation).astype(np.float32)
        if not np.isfinite(scaled).all():
            raise InputError(f"{place}: a number is too far from those of training to be scaled")
        return torch.from_numpy(scaled)


@dataclass(frozen=True)
class Vocabulary:
    """Words by number, the most frequent first from 1 on; 0 stands for every other word.

    Attributes:
        words:  those that have a number.
    """

    words: list[str]
    kind: Kind = "words"

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {word: n for n, word in enumerate(self.words, start=1)})

    @staticmethod
    def of(items: Sequence[Sequence[str]], size: int) -> Vocabulary:
        """At most `size` words of these sequences; of two that are as frequent, the one that is first in the alphabet."""
        counts = Counter(word for item in items for word in item)
        return Vocabulary(sorted(counts, key=lambda word: (-counts[word], word))[:size])

    @property
    def input_size(self) -> int:
        """How many symbols there are, the unknown one among them."""
        return len(self.words) + 1

    def encode(self, item: Any, place: str) -> Tensor:
        """(T,) int64 for a network, of T words."""
        numbers: dict[str, int] = self._numbers  # type: ignore[attr-defined]
        return torch.tensor([numbers.get(word, 0) for word in item])


@dataclass(frozen=True)
class Bytes:
    """Each byte is its own number."""

    kind: Kind = "bytes"
    input_size: int = 256

    def encode(self, item: Any, place: str) -> Tensor:
        """(T,) int64 for a network, of T bytes."""
        return torch.frombuffer(bytearray(item), dtype=torch.uint8).long()


Encoding = InputScaling | Vocabulary | Bytes


def encoding_of(plain: dict[str, Any]) -> Encoding:
    """The encoding of which `dataclasses.asdict` gave these plain values."""
    made: dict[str, type[Encoding]] = {"numbers": InputScaling, "words": Vocabulary, "bytes": Bytes}
    return from_table(made[plain["kind"]], plain, "encoding")


def encoded(sequences: Sequences, encoding: Encoding) -> list[Tensor]:
    """Each sequence as a network reads it; InputError names the one that does not fit."""
    if sequences.kind != encoding.kind:
        raise InputError(f"{sequences.source}: expected sequences of {encoding.kind}, as in training, got {sequences.kind}")
    if isinstance(encoding, InputScaling) and sequences.items:
        with suppress(ValueError, InputError):  # one that does not fit is named below
            together = encoding.encode(np.concatenate(sequences.items), sequences.source)
            return list(together.split([len(item) for item in sequences.items]))
    return [encoding.encode(item, sequences.place(n)) for n, item in enumerate(sequences.items)]


def padded(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(T, B, ...) with zeros past each sequence's end, and lengths (B,)."""
    return pad_sequence(list(inputs)), torch.tensor([len(one) for one in inputs])
