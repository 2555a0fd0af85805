"""Probabilities and logits as integers, and the tables between them, the same on every machine.

A probability is a whole number of 1/65536 in 1..65535, a logit a whole number of 1/256 in -3071..3071. The tables are made in
decimal arithmetic, whose exp and ln are correctly rounded, not by the C library's functions, whose last bit differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

ONE = 1 << 16
"""The probability 1."""

LOGIT = 256
"""The logit 1."""

FARTHEST = 12 * LOGIT - 1
"""The largest logit."""


def powers(base: Decimal, count: int) -> Iterator[Decimal]:
    """1, base, base^2, ... to thirty digits."""
    with localcontext() as context:
        context.prec = 30
        value = Decimal(1)
        for _ in range(count):
            yield value
            value = value * base


@cache
def squash_table() -> Integers:
    """The probability of each logit from -FARTHEST to FARTHEST."""
    half = []
    for e in powers((Decimal(1) / LOGIT).exp(), FARTHEST + 1):  # logit x has the probability e / (1 + e) with e = exp(x)
        half.append(min(ONE - 1, int((e / (1 + e) * ONE).to_integral_value())))
    return np.array([ONE - p for p in reversed(half[1:])] + half, np.int64)


@cache
def stretch_table() -> Integers:
    """The logit of each probability from 0 to 65535 sixteenths of 1/65536: that whose probability is nearest below."""
    table = np.searchsorted(squash_table(), np.arange(ONE), side="right").astype(np.int64) - 1
    return np.clip(table, 0, 2 * FARTHEST) - FARTHEST


def squash(logit: Integers) -> Integers:
    """The probability, in 1..65535, of a logit."""
    return squash_table()[logit + FARTHEST]


def stretch(p: Integers) -> Integers:
    """The logit of a probability in 0..65535."""
    return stretch_table()[p]
