"""Balanced parentheses: be the head of a Turing machine that says whether every parenthesis has its other.

Williams & Zipser, Neural Computation 1(2), 1989, "Learning to be a Turing machine"; the machine is that of Minsky, *Computation*,
1967. The tape is a string of parentheses between two A. At each step the network is shown the symbol under the head and
tells what the machine does with it. The head moves as the machine's does, whatever the network says (the tape is teacher forced),
so what is to be learned is which of three states the machine is in:

- right, from the first parenthesis on: on "(" or X go right; on ")" write X, go left, be in left; on A go left, be in check.
- left: on X go left; on "(" write X, go right, be in right; on A stop: a ")" is left over.
- check: on X go left; on "(" stop: it is left over; on A stop: balanced.

A string has 1 to 5 pairs of places; half of them are balanced, the others as random as they can be without being so. A sequence
is right where every output is on the right side of 1/2 at every step. The paper does not give its strings; these are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import LagTask, one_hot
from carousel.tasks.pipelined_xor import bits_over_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYMBOLS = "A()X"
ACTIONS = ("write X", "go right", "stop", "balanced")
"""The outputs; a machine that neither goes right nor stops goes left."""

PAIRS = (1, 5)
"""The fewest and the most that training draws, uniformly."""

WRITE, RIGHT, STOP, BALANCED = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 1, 1))
LEFT = (0, 0, 0, 0)
WRITE_RIGHT = (1, 1, 0, 0)

MACHINE = {
    ("right", "("): (RIGHT, "right"),
    ("right", "X"): (RIGHT, "right"),
    ("right", ")"): (WRITE, "left"),
    ("right", "A"): (LEFT, "check"),
    ("left", "X"): (LEFT, "left"),
    ("left", "("): (WRITE_RIGHT, "right"),
    ("left", "A"): (STOP, "left"),
    ("check", "X"): (LEFT, "check"),
    ("check", "("): (STOP, "check"),
    ("check", "A"): (BALANCED, "check"),
}
"""(state, symbol under the head) -> (action, next state)."""


class BalancedParentheses(LagTask):
    """Input: the symbol under the head, of A, (, ), X. Outputs: the action. Lengths: `pairs`, half the string's length."""

    input_size, output_size = len(SYMBOLS), len(ACTIONS)
    tolerance = 0.5
    channels = tuple(SYMBOLS)

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """The machine's runs on B strings; their numbers of pairs are drawn, or all `pairs`."""
        for name, pairs in lengths.items():
            if name != "pairs":
                raise InputError(f"BalancedParentheses: no length {name!r}, expected 'pairs'")
            if pairs < 1:
                raise InputError(f"BalancedParentheses: expected pairs of at least 1, got {pairs}")
        low, high = PAIRS
        drawn = torch.randint(low, high + 1, (B,), generator=generator).tolist()
        return as_batch([string(lengths.get("pairs", pairs), generator) for pairs in drawn])

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence over time: the symbol under the head, the machine's actions and, with outputs, the network's."""
        return bits_over_time(batch, outputs, self.channels, ACTIONS)


def string(pairs: int, generator: torch.Generator) -> str:
    """2 pairs parentheses, with probability 1/2 balanced, else not."""
    if torch.randint(2, (), generator=generator):
        return _balanced(pairs, generator)
    while True:
        sides = torch.randint(2, (2 * pairs,), generator=generator).tolist()
        text = "".join("()"[side] for side in sides)
        if not run(text)[-1][1][ACTIONS.index("balanced")]:
            return text


def run(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """What the machine sees on a string and what it does then, step by step.

    Raises:
        InputError: a string that is empty, or has other letters than parentheses.
    """
    if not text or set(text) - set("()"):
        raise InputError(f"expected a string of parentheses, got {text!r}")
    tape, head, state = ["A", *text, "A"], 1, "right"
    done: list[tuple[str, tuple[int, ...]]] = []
    while not done or not done[-1][1][ACTIONS.index("stop")]:
        symbol = tape[head]
        action, state = MACHINE[state, symbol]
        done.append((symbol, action))
        if action[ACTIONS.index("write X")]:
            tape[head] = "X"
        head += 1 if action[ACTIONS.index("go right")] else -1
    return done


def as_batch(strings: list[str]) -> Batch:
    """The machine's runs on these strings as sequences."""
    runs = [run(text) for text in strings]
    lengths = torch.tensor([len(steps) for steps in runs])
    symbols = _padded([torch.tensor([SYMBOLS.index(symbol) for symbol, _ in steps]) for steps in runs])
    actions = _padded([torch.tensor([action for _, action in steps]) for steps in runs])
    mask = torch.arange(len(symbols))[:, None] < lengths
    hot = one_hot(symbols, len(SYMBOLS))
    return Batch(hot * mask[..., None], actions.to(hot.dtype), mask, lengths)


def _balanced(pairs: int, generator: torch.Generator) -> str:
    """A balanced string, each of that length equally likely.

    One more "(" than ")" in random order has a single rotation whose every beginning has more "(" than ")" (the cycle lemma);
    the rest of it, after its first "(", is balanced.
    """
    sides = (torch.randperm(2 * pairs + 1, generator=generator) > pairs).tolist()  # False: "(", of which there are pairs + 1
    depths = [0]
    for side in sides:
        depths.append(depths[-1] + (-1 if side else 1))
    start = max(n for n in range(len(sides)) if depths[n] == min(depths[:-1]))
    return "".join("()"[side] for side in (sides[start:] + sides[:start])[1:])


def _padded(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows)
