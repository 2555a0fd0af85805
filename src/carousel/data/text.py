"""A text as a sequence of symbols: by character or by byte; the task of telling the next one; what counting can tell.

The text is cut in three parts, in its order: training, validation, test. A network is judged by its
bits per symbol, the mean of -log2 of the probability that it gave to what came.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel.batch import Batch
from carousel.data.files import in_utf8, read_bytes
from carousel.errors import InputError
from carousel.task import Task, cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Unit = Literal["character", "byte"]
Numbers = NDArray[np.int64]

UNKNOWN = "\ufffd"
"""Stands for a character that the training part does not have."""

PIECE = 1000
"""Steps that a network takes between two looks at its outputs, so that a long text takes no more memory than a short one."""

LANES = 32
"""Stretches of a text that are judged side by side."""


@dataclass(frozen=True)
class Alphabet:
    """The symbols of a text.

    Attributes:
        unit:     "character" or "byte".
        symbols:  the characters by number, UNKNOWN last; for bytes empty, a byte's number is its value.
    """

    unit: Unit
    symbols: str = ""

    @staticmethod
    def of(text: bytes | str) -> Alphabet:
        """The symbols of a training part."""
        return (
            Alphabet("byte") if isinstance(text, bytes) else Alphabet("character", "".join(sorted({*text} - {UNKNOWN})) + UNKNOWN)
        )

    @property
    def size(self) -> int:
        """N, how many symbols there are."""
        return len(self.symbols) or 256

    @property
    def start(self) -> str:
        """What a network reads before it writes by itself: the end of a line or, where training has none, its first symbol."""
        return "\n" if self.unit == "byte" or "\n" in self.symbols else self.symbols[0]

    def numbers(self, text: bytes | str) -> Tensor:
        """(n,) int64, the number of each symbol of a text."""
        if isinstance(text, bytes):
            return torch.from_numpy(np.frombuffer(text, np.uint8).astype(np.int64))
        number = {symbol: n for n, symbol in enumerate(self.symbols)}
        return torch.tensor([number.get(symbol, len(self.symbols) - 1) for symbol in text], dtype=torch.int64)

    def shown(self, number: int) -> str:
        """A symbol for people to read."""
        if self.unit == "character":
            return self.symbols[number]
        return chr(number) if 32 <= number < 127 else f"\\x{number:02x}"


def read_text(path: Path | str, unit: Unit) -> bytes | str:
    """The content of a file, plain or gzip: text of characters, or bytes as they stand.

    Raises:
        InputError: an unknown unit; a file that cannot be read, is empty or, by character, is not UTF-8.
    """
    if unit not in get_args(Unit):
        raise InputError(f"text: expected the unit to be one of {', '.join(get_args(Unit))}, got {unit!r}")
    content = read_bytes(path)
    if not content:
        raise InputError(f"{path}: the file is empty")
    if unit == "byte":
        return content
    content = in_utf8(content, path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line}: byte {error.start + 1} of the file is not UTF-8; save it as UTF-8, or read it with --unit byte"
        ) from None


class Language(Task):
    """The next symbol after each one of a text. Inputs are numbers of symbols, outputs the logits of the next one.

    A training sequence is `length` symbols from anywhere in the training part, every one of which counts, and
    begins with the start state. Validation runs side by side through LANES stretches of the validation part,
    of which the first `length` symbols only warm the state up.

    Args:
        training:    (n,) int64 numbers of symbols.
        validation:  (m,) likewise; what training is watched on.
        symbols:     N, how many there are.
        length:      T, symbols of a training sequence.

    Raises:
        InputError: parts that are too short.
    """

    input_size = None

    def __init__(self, training: Tensor, validation: Tensor, symbols: int, *, length: int = 128) -> None:
        if length < 1:
            raise InputError(f"language: expected length of at least 1, got {length}")
        for name, part in (("training", training), ("validation", validation)):
            if len(part) < length + 2:
                raise InputError(
                    f"language: the text is too short: its {name} part has {len(part)} symbols, "
                    f"at least {length + 2} are needed (length + 2)"
                )
        self.output_size, self.length = symbols, length
        self._training, self._validation = training, validation

    loss = staticmethod(cross_entropy)

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences from anywhere in the training part; `length` may be given."""
        T = lengths.pop("length", self.length)
        if lengths:
            raise InputError(f"language: a sample has a length only; got {', '.join(lengths)}")
        starts = torch.randint(len(self._training) - T, (B,), generator=generator)
        return self._batch(self._training, starts, T, counts_from=0)

    def validation(self) -> Batch:
        lanes = max(1, min(LANES, len(self._validation) // (4 * self.length)))
        each = (len(self._validation) - 1) // lanes
        return self._batch(self._validation, torch.arange(lanes) * each, each, counts_from=min(self.length, each // 2))

    def _batch(self, part: Tensor, starts: Tensor, T: int, counts_from: int) -> Batch:
        text = part[starts + torch.arange(T + 1)[:, None]]  # (T + 1, B)
        mask = (torch.arange(T) >= counts_from)[:, None].expand(T, len(starts))
        return Batch(text[:-1], text[1:], mask, torch.full((len(starts),), T))

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """Bits per symbol."""
        bits = -outputs[batch.mask].log_softmax(1).gather(1, batch.targets[batch.mask][:, None]) / math.log(2)
        return {"bits": float(bits.mean())}

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence's numbers of symbols and, where outputs are given, the bits that each took."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4 if outputs is not None else 2), layout="constrained")
        panels = figure.subplots(1 if outputs is None else 2, 1, sharex=True, squeeze=False)[:, 0]
        panels[0].step(range(len(batch.inputs)), batch.inputs[:, 0].cpu(), linewidth=0.8, where="mid")
        panels[0].set_ylabel("symbol")
        if outputs is not None:
            bits = -outputs[:, 0].log_softmax(1).gather(1, batch.targets[:, :1])[:, 0] / math.log(2)
            panels[1].step(range(len(bits)), bits.detach().cpu(), linewidth=0.8, where="mid")
            panels[1].set_ylabel("bits for the next")
        panels[-1].set_xlabel("step")
        return figure


def bits_of(logits_after: Callable[[Tensor, Any], tuple[Tensor, Any]], text: Tensor, begin: int, warm_up: int) -> Tensor:
    """(n - begin,) the bits that each symbol from `begin` on took, every one of them once.

    The text is judged in stretches side by side. Each begins with the start state `warm_up` symbols (or as many
    as there are) before its first one that counts.

    Args:
        logits_after:  (inputs (T, B) int64, state or None) to (logits (T, B, N), state).
        text:          (n,) numbers of symbols.
        begin:         the first symbol that counts, at least 1.
        warm_up:       symbols before it that are read.
    """
    n = len(text) - begin
    lanes = max(1, min(LANES, n // max(4 * warm_up, 1)))
    each = -(-n // lanes)
    counted = begin + each * torch.arange(lanes)  # the first symbol that counts, of each lane
    first = (counted - 1 - warm_up).clamp_min(0)
    bits, state = torch.empty(n, dtype=torch.float64), None
    for steps in torch.arange(warm_up + each).split(PIECE):
        told = first + steps[:, None] + 1
        inside = told.clamp_max(len(text) - 1)  # the last lane's surplus
        logits, state = logits_after(text[inside - 1], state)
        taken = logits.log_softmax(2).gather(2, text[inside].to(logits.device)[..., None])[..., 0].double().cpu()
        counts = (told >= counted) & (told < counted + each) & (told == inside)
        bits[told[counts] - begin] = -taken[counts] / math.log(2)
    return bits


def counted_bits(training: Tensor, text: Tensor, begin: int, symbols: int, order: int) -> Tensor:
    """(n - begin,) the bits that each symbol from `begin` on takes by counting runs of `order` symbols in training.

    Interpolated as Witten and Bell have it (IEEE Transactions on Information Theory 37, 1991, method C): with c(h)
    the count of a context h, and t(h) of the different symbols after it, ::

        p(x | h) = (c(h x) + t(h) p(x | shorter h)) / (c(h) + t(h))

    down to p = 1/N. Order 1 is the frequency of each symbol alone. An order is lowered to where runs still have a
    number of 63 bits, and to the length of the training part.
    """
    known, asked = training.numpy(), text.numpy()
    p = np.full(len(asked) - begin, 1 / symbols)
    most = min(order, int(63 / math.log2(max(symbols, 2))), len(known))
    for k in range(1, most + 1):
        runs, counts = np.unique(_runs(known, k, symbols), return_counts=True)
        contexts, first = np.unique(runs // symbols, return_index=True)
        total, different = np.add.reduceat(counts, first), np.diff(np.append(first, len(runs)))
        wanted = _runs(asked, k, symbols)[max(begin - k + 1, 0) :]
        p_here = p[len(p) - len(wanted) :]  # the first symbols of a text have no context as long
        seen, at = _found(contexts, wanted // symbols)
        c, t = np.where(seen, total[at], 0), np.where(seen, different[at], 1)
        there, place = _found(runs, wanted)
        p_here[:] = np.where(seen, (np.where(there, counts[place], 0) + t * p_here) / (c + t), p_here)
    return torch.from_numpy(-np.log2(p))


def _runs(text: Numbers, k: int, symbols: int) -> Numbers:
    """(n - k + 1,) a number for every run of k symbols: its symbols are the digits."""
    n = max(len(text) - k + 1, 0)
    runs = np.zeros(n, np.int64)
    for at in range(k):
        runs = runs * symbols + text[at : at + n]
    return runs


def _found(known: Numbers, wanted: Numbers) -> tuple[NDArray[np.bool_], Numbers]:
    """(whether it is there, where) for each number in an increasing array."""
    at = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return known[at] == wanted, at
