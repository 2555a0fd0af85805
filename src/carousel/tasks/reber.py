"""The embedded Reber grammar: say which symbols may come next; the last but one is told by the second.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, experiment 1, after Smith & Zipser (1989), Cleeremans et al.
(1989) and Fahlman (1991). A string of the Reber grammar begins with B and ends with E; wherever two edges leave a node,
each is taken with probability 1/2. Embedded, it stands between two T or two P, and these between a B and an E. 256
strings are drawn to learn from, and 256 to be tested on, none of which is among those. Short strings are drawn more than
once: about 100 of the 256 differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.drawing import WIDTH, height, strips
from carousel.tasks.lag import LagTask, one_hot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = "BTPSXVE"
STRINGS = 256
"""In the training set, and in the test set."""

REBER = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
)
"""Node -> symbol on an edge -> node that it leads to; node 7 is the end."""


def _embedded() -> tuple[dict[str, int], ...]:
    """The graph of the embedded grammar; the node after its last is the end.

    Two copies of the Reber grammar, since its end tells only where the string came from.
    """
    nodes: list[dict[str, int]] = [{"B": 1}, {"T": 2, "P": 3 + len(REBER)}]
    end = 2 + 2 * (len(REBER) + 1)
    for symbol in "TP":
        first = len(nodes)
        nodes += [{edge: first + node for edge, node in edges.items()} for edges in REBER]
        nodes.append({symbol: end})
    return (*nodes, {"E": end + 1})


GRAPH = _embedded()


class EmbeddedReber(LagTask):
    """Input: a symbol. Outputs: the next one. A string is right where every legal next symbol is above every other.

    Args:
        pair:  number of the pair of training and test set.
    """

    input_size, output_size = len(SYMBOLS), len(SYMBOLS)
    tolerance = 0.5  # not used by `wrong`
    channels = tuple(SYMBOLS)

    def __init__(self, pair: int = 0) -> None:
        generator = torch.Generator().manual_seed(pair)
        training = strings(STRINGS, generator)
        test: list[str] = []
        while len(test) < STRINGS:
            test += [text for text in strings(STRINGS, generator) if text not in training]
        self.pair, self.training, self.test = pair, as_batch(training), as_batch(test[:STRINGS])

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B strings, drawn at random from the training set."""
        if lengths:
            raise InputError(f"EmbeddedReber: no length {next(iter(lengths))!r}; the grammar draws the lengths")
        return _chosen(self.training, torch.randint(STRINGS, (B,), generator=generator))

    def validation(self) -> Batch:
        """The test set."""
        return self.test

    def parts(self) -> Iterator[Batch]:
        """All strings of both sets, a few at first and then more at a time."""
        for strings in (self.training, self.test):
            first, count = 0, 16
            while first < STRINGS:
                yield _chosen(strings, torch.arange(first, min(first + count, STRINGS)))
                first, count = first + count, 2 * count

    def wrong(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of each string whether, anywhere in it, a legal next symbol is not above all others, (B,) bool."""
        legal = legal_next(batch)
        least = torch.where(legal, outputs, torch.inf).amin(2)
        other = torch.where(legal, -torch.inf, outputs).amax(2)
        return (batch.mask & ~(least > other)).any(0)

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first string over time: its symbols, the next ones that are legal and, with outputs, the network's answer."""
        from matplotlib.figure import Figure

        steps = int(batch.lengths[0])
        column = {"input": batch.inputs[:steps, 0].numpy(), "legal target": legal_next(batch)[:steps, 0].numpy()}
        if outputs is not None:
            column["output"] = outputs[:steps, 0].detach().cpu().numpy()
        figure = Figure(figsize=(WIDTH, height(column) + 1), layout="constrained")
        strips(figure, [column])
        for axes in figure.axes:
            axes.set_yticks(range(len(SYMBOLS)), SYMBOLS, fontsize=7)
        return figure


def strings(count: int, generator: torch.Generator) -> list[str]:
    """`count` strings of the embedded grammar."""
    branch, told = _tables()
    node = torch.zeros(count, dtype=torch.int64)
    symbols = []
    while (node < len(GRAPH)).any():
        coin = torch.randint(2, (count,), generator=generator)
        symbols.append(told[node, coin])
        node = branch[node, coin]
    return ["".join(SYMBOLS[n] for n in row if n >= 0) for row in torch.stack(symbols, 1).tolist()]


def as_batch(told: list[str]) -> Batch:
    """Strings as sequences, a step for each symbol but the last, whose target is the next symbol.

    Raises:
        InputError: a string that is too short, or a letter that is no symbol.
    """
    for text in told:
        if len(text) < 2 or set(text) - set(SYMBOLS):
            raise InputError(f"expected strings of at least two of the letters {SYMBOLS}, got {text!r}")
    lengths = torch.tensor([len(text) - 1 for text in told])
    rows = [torch.tensor([SYMBOLS.index(letter) for letter in text]) for text in told]
    symbols = torch.nn.utils.rnn.pad_sequence(rows)
    mask = torch.arange(len(symbols) - 1)[:, None] < lengths
    hot = one_hot(symbols, len(SYMBOLS))
    keep = mask[..., None].to(hot.dtype)
    return Batch(hot[:-1] * keep, hot[1:] * keep, mask, lengths)


def legal_next(batch: Batch) -> Tensor:
    """(T, B, 7) bool: the symbols that the grammar lets follow each step's; none past the end."""
    follow, legal = _follow()
    symbols = batch.inputs.argmax(2)
    node = torch.zeros(batch.size, dtype=torch.int64)
    allowed = []
    for t in range(batch.steps):
        node = follow[node, symbols[t]]
        allowed.append(legal[node] & batch.mask[t, :, None])
    return torch.stack(allowed)


def _tables() -> tuple[Tensor, Tensor]:
    """By node and coin: the node that comes next, and the symbol on the way (-1 at the end)."""
    edges = [list(node.items()) for node in GRAPH] + [[("", len(GRAPH))]]
    sides = [(node[0], node[-1]) for node in edges]
    following = torch.tensor([[to for _, to in two] for two in sides])
    told = torch.tensor([[SYMBOLS.index(symbol) if symbol else -1 for symbol, _ in two] for two in sides])
    return following, told


def _follow() -> tuple[Tensor, Tensor]:
    """By node and symbol: the node that comes next (the end where there is no such edge); by node: which symbols are legal."""
    following = torch.full((len(GRAPH) + 1, len(SYMBOLS)), len(GRAPH))
    legal = torch.zeros(len(GRAPH) + 1, len(SYMBOLS), dtype=torch.bool)
    for n, node in enumerate(GRAPH):
        for symbol, to in node.items():
            following[n, SYMBOLS.index(symbol)] = to
            legal[n, SYMBOLS.index(symbol)] = True
    return following, legal


def _chosen(batch: Batch, which: Tensor) -> Batch:
    lengths = batch.lengths[which]
    T = int(lengths.max())
    return Batch(batch.inputs[:T, which], batch.targets[:T, which], batch.mask[:T, which], lengths)
