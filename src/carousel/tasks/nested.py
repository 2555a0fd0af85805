"""Nested expressions: say what an expression is worth, which is nested deeper than those of training.

Three languages, each with values and operators:

- arithmetic: digits; + - * modulo 10, of two arguments.
- boolean: 0 and 1; and, or, xor of two arguments, not of one.
- lists: digits; MAX, MIN, MED (the lower median) and SM (the sum modulo 10) of two to four arguments, after ListOps (Nangia &
  Bowman, "ListOps: a diagnostic dataset for latent tree learning", NAACL 2018).

An expression of depth d is an operator whose arguments are expressions, one of depth d - 1, the others of depth 0 to 2 but no
deeper; one of depth 0 is a value. As a tree, a node reads its symbol; as a text, a network reads ``( + 3 ( * 4 5 ) )`` symbol by
symbol. What is asked for is the value of every expression: at its node, or at the bracket that closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.forest import Forest
from carousel.task import Task, cross_entropy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 2
"""The deepest of the arguments beside the one that makes an expression as deep as it is."""


@dataclass(frozen=True)
class Language:
    """Values are 0 to values - 1; operators: symbol -> (fewest, most arguments, what it makes of their values)."""

    values: int
    operators: dict[str, tuple[int, int, Callable[[Sequence[int]], int]]]


LANGUAGES: dict[str, Language] = {
    "arithmetic": Language(
        10,
        {
            "+": (2, 2, lambda given: sum(given) % 10),
            "-": (2, 2, lambda given: (given[0] - given[1]) % 10),
            "*": (2, 2, lambda given: given[0] * given[1] % 10),
        },
    ),
    "boolean": Language(
        2,
        {
            "and": (2, 2, lambda given: given[0] & given[1]),
            "or": (2, 2, lambda given: given[0] | given[1]),
            "xor": (2, 2, lambda given: given[0] ^ given[1]),
            "not": (1, 1, lambda given: 1 - given[0]),
        },
    ),
    "lists": Language(
        10,
        {
            "MAX": (2, 4, max),
            "MIN": (2, 4, min),
            "MED": (2, 4, lambda given: sorted(given)[(len(given) - 1) // 2]),
            "SM": (2, 4, lambda given: sum(given) % 10),
        },
    ),
}


@dataclass
class Expression:
    """A tree, children before their parents: of each node its symbol, its children and its value."""

    symbols: list[str]
    children: list[list[int]]
    values: list[int]

    def text(self) -> list[tuple[str, int | None]]:
        """(symbol, the value of the expression that ends there, or None) from left to right."""
        found: list[tuple[str, int | None]] = []
        waiting: list[tuple[int, bool]] = [(len(self.symbols) - 1, False)]
        while waiting:
            node, closing = waiting.pop()
            if closing:
                found.append((")", self.values[node]))
            elif not self.children[node]:
                found.append((self.symbols[node], None))
            else:
                found += [("(", None), (self.symbols[node], None)]
                waiting.append((node, True))
                waiting.extend((child, False) for child in reversed(self.children[node]))
        return found


class NestedExpressions(Task):
    """The values of nested expressions, as trees or as text.

    Args:
        language:  a key of LANGUAGES.
        depths:    the least and the greatest depth that training draws, uniformly.
        form:      "tree": inputs are a `Forest` with a symbol's number (n,) at each node, outputs (n, values) logits;
                   "text": inputs (T, B) symbols' numbers, outputs (T, B, values).

    Attributes:
        symbols:   by number; those of a text have the brackets too.

    Raises:
        InputError: an unknown language or form, depths that are none.
    """

    input_size = None

    def __init__(
        self, language: str = "arithmetic", *, depths: tuple[int, int] = (1, 5), form: Literal["tree", "text"] = "tree"
    ) -> None:
        if language not in LANGUAGES:
            raise InputError(f"NestedExpressions: unknown language {language!r}, expected one of: {', '.join(LANGUAGES)}")
        if form not in ("tree", "text"):
            raise InputError(f"NestedExpressions: unknown form {form!r}, expected tree or text")
        if not 0 <= depths[0] <= depths[1]:
            raise InputError(f"NestedExpressions: expected depths from 0 up, ascending, got {depths}")
        self.language, self.depths, self.form = LANGUAGES[language], depths, form
        self.output_size = self.language.values
        digits = [str(value) for value in range(self.language.values)]
        self.symbols = [*digits, *self.language.operators, *(["(", ")"] if form == "text" else [])]
        self._numbers = {symbol: number for number, symbol in enumerate(self.symbols)}

    loss = staticmethod(cross_entropy)

    @property
    def arity(self) -> int:
        """The most arguments of an operator."""
        return max(most for _, most, _ in self.language.operators.values())

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B expressions; their depths are drawn, or all are `depth`."""
        for name, depth in lengths.items():
            if name != "depth" or depth < 0:
                raise InputError(f"NestedExpressions: expected a depth of at least 0, got {name}={depth}")
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        low, high = self.depths
        depths = rng.integers(low, high + 1, B) if "depth" not in lengths else np.full(B, lengths["depth"])
        return self.batch([self.draw_expression(rng, int(depth)) for depth in depths])

    def draw_expression(self, rng: np.random.Generator, depth: int) -> Expression:
        """An expression of this depth."""
        made = Expression([], [], [])
        self._grow(made, rng, depth)
        return made

    def _grow(self, made: Expression, rng: np.random.Generator, depth: int) -> int:
        """Add an expression; the number of its node."""
        if depth == 0:
            value = int(rng.integers(self.language.values))
            return _add(made, str(value), [], value)
        symbol = str(rng.choice(list(self.language.operators)))
        fewest, most, function = self.language.operators[symbol]
        count = int(rng.integers(fewest, most + 1))
        deepest = int(rng.integers(count))
        depths = [depth - 1 if n == deepest else int(rng.integers(min(depth - 1, SIDE) + 1)) for n in range(count)]
        children = [self._grow(made, rng, below) for below in depths]
        return _add(made, symbol, children, function([made.values[child] for child in children]))

    def batch(self, expressions: Sequence[Expression]) -> Batch:
        """Expressions as the network reads them."""
        if self.form == "tree":
            inputs = torch.tensor([self._numbers[symbol] for one in expressions for symbol in one.symbols])
            values = torch.tensor([value for one in expressions for value in one.values])
            forest = Forest.of([one.children for one in expressions], inputs)
            return Batch(
                forest, values, torch.ones(len(values), dtype=torch.bool), torch.tensor([len(one.values) for one in expressions])
            )
        texts = [one.text() for one in expressions]
        T, B = max(map(len, texts)), len(texts)
        inputs, values = torch.zeros(T, B, dtype=torch.int64), torch.zeros(T, B, dtype=torch.int64)
        mask = torch.zeros(T, B, dtype=torch.bool)
        for b, text in enumerate(texts):
            inputs[: len(text), b] = torch.tensor([self._numbers[symbol] for symbol, _ in text])
            values[: len(text), b] = torch.tensor([value or 0 for _, value in text])
            mask[: len(text), b] = torch.tensor([value is not None for _, value in text])
        return Batch(inputs, values, mask, torch.tensor([len(text) for text in texts]))

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """Percent: the error and the accuracy for whole expressions, and the accuracy for all that they are made of."""
        right = (outputs.argmax(-1) == batch.targets).cpu()
        whole = right[self._ends(batch)]
        accuracy = 100 * float(whole.double().mean())
        return {
            "error": 100 - accuracy,
            "accuracy": accuracy,
            "accuracy of nodes": 100 * float(right[batch.mask.cpu()].double().mean()),
        }

    def _ends(self, batch: Batch) -> Any:
        """Where the whole expressions' values are."""
        if self.form == "tree":
            return batch.inputs.roots
        return batch.lengths.cpu() - 1, torch.arange(batch.size)

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first expression: the nodes of a tree in the colors of their values; of a text what is asked for at each symbol."""
        from matplotlib.figure import Figure

        from carousel.tree_drawing import colors_of, draw_tree

        told = batch.targets if outputs is None else outputs.argmax(-1).cpu()
        names = [str(value) for value in range(self.language.values)]
        if self.form == "tree":
            first = batch.inputs.select([0])
            children = [[child for child in own if child >= 0] for own in first.children.tolist()]
            symbols = [self.symbols[number] for number in first.inputs.tolist()]
            words = [None if below else symbol for symbol, below in zip(symbols, children, strict=True)]
            values, truth = ([names[n] for n in some[: len(children)].tolist()] for some in (told, batch.targets))
            return draw_tree(children, words, truth, values, [0.7] * len(children), colors_of(names))
        length = int(batch.lengths[0])
        figure = Figure(figsize=(8, 2.5), layout="constrained")
        axes = figure.subplots()
        at = batch.mask[:length, 0].nonzero()[:, 0]
        axes.plot(at, batch.targets[at, 0], "o", color="black", markerfacecolor="none", label="target")
        if outputs is not None:
            axes.plot(at, told[at, 0], ".", color="tab:red", label="predicted")
        axes.set_xticks(range(length), [self.symbols[n] for n in batch.inputs[:length, 0].tolist()], fontsize=7)
        axes.set_ylabel("value")
        axes.legend(loc="upper right", fontsize=8)
        return figure


def _add(made: Expression, symbol: str, children: list[int], value: int) -> int:
    made.symbols.append(symbol)
    made.children.append(children)
    made.values.append(value)
    return len(made.values) - 1
