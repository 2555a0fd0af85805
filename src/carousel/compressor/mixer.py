"""Logits of several models mixed into one, with weights learned online, in integers.

The mixed logit is a weighted sum, and the weights follow the gradient of the code's length (Mattern, Mixing Strategies in Data
Compression, DCC 2012; the mixer of PAQ). A context selects which weights are used; there are several such mixers side by side,
each with contexts of its own, and one more that mixes their logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from carousel.compressor.integers import FARTHEST, LOGIT, ONE, Integers, squash

WEIGHT = ONE
"""The weight 1."""


class Mixer:
    """n logits into len(contexts) logits.

    Args:
        inputs:    n.
        contexts:  for each mixer the number of its sets of weights.
        start:     the weight of each input at the beginning, in parts of WEIGHT.
        rate:      the learning rate; 7 is that of PAQ.
    """

    def __init__(self, inputs: int, contexts: Sequence[int], start: int, rate: int) -> None:
        self.n, self.rate = inputs, rate
        self.weights = np.full(sum(contexts) * inputs, start, np.int64)
        self.offsets = np.cumsum([0, *contexts[:-1]], dtype=np.int64)
        self.columns = np.arange(inputs, dtype=np.int64)

    def mix(self, x: Integers, contexts: Integers) -> Integers:
        """(A, n) logits and (A, K) contexts to (A, K) logits."""
        self.x = x[:, None, :]
        self.at = ((contexts + self.offsets) * self.n)[:, :, None] + self.columns
        y = (self.weights[self.at] * self.x).sum(2) >> 16
        self.y = np.maximum(np.minimum(y, FARTHEST), -FARTHEST)
        return self.y

    def learn(self, bits: Integers) -> None:
        """Take in the (A,) bits that came."""
        error = (bits[:, None] << 16) - squash(self.y)
        step = (self.x * (error * self.rate)[:, :, None] + (1 << 19)) >> 20
        np.add.at(self.weights, self.at.ravel(), step.ravel())


class Refine:
    """A probability corrected by what came where it was the same in the same context (secondary symbol estimation of PAQ).

    Args:
        contexts:  how many contexts there are.
    """

    def __init__(self, contexts: int) -> None:
        whole = np.clip(np.arange(-12, 13, dtype=np.int64) * LOGIT, -FARTHEST, FARTHEST)
        self.steps = np.tile(squash(whole).astype(np.int32) << 6, contexts)

    def refine(self, logit: Integers, context: Integers) -> Integers:
        """(A,) logits in (A,) contexts to probabilities, between those learned at the whole logits on both sides."""
        whole, part = (logit >> 8) + 12, logit & 255
        self.at = context * 25 + whole
        self.weight = part
        low, high = self.steps[self.at].astype(np.int64), self.steps[self.at + 1]
        return (low * (256 - part) + high * part) >> 14

    def learn(self, bits: Integers) -> None:
        """Take in the (A,) bits that came: the nearer of the two steps follows them."""
        at = self.at + (self.weight >= 128)
        self.steps[at] += ((bits << 22) - self.steps[at]) >> 6
