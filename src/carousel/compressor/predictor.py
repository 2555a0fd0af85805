"""The network's forecast and the counts, mixed, for one bit after the other of several streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from carousel.compressor import counts
from carousel.compressor.coder import Coder
from carousel.compressor.counts import Counts
from carousel.compressor.integers import LOGIT, ONE, Integers, squash, stretch
from carousel.compressor.mixer import WEIGHT, Mixer, Refine
from carousel.compressor.network import OnlineLSTM
from carousel.errors import InputError

MODELS = ("mixed", "network", "counts")
"""What may predict; an archive has the index."""


@dataclass(frozen=True)
class Settings:
    """What both sides have to know.

    Attributes:
        model:       "mixed" (the network's forecast and the counts), or one of these alone: "network", "counts".
        hidden:      H, the number of LSTM cells, 1 to 1024.
        streams:     B, the number of streams that a block is cut into, which are predicted at once, 1 to 128.
        window:      T, the number of bytes of each stream between two updates of the network, 1 to 128.
        rate:        the network's learning rate, in millionths.
        table_bits:  each table of histories has 2^table_bits places of 16 bytes, and matches are found up to 4 times as many
                     bytes back; 8 to 24.
        block:       the number of bytes of a block, 1 to 2^24.
    """

    model: str = "mixed"
    hidden: int = 128
    streams: int = 32
    window: int = 8
    rate: int = 8000
    table_bits: int = 20
    block: int = 1 << 16

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"unknown model {self.model!r}, expected one of: {', '.join(MODELS)}")
        ranges = {"hidden": 1024, "streams": 128, "window": 128, "rate": 10**6, "block": 1 << 24}
        for name, most in ranges.items():
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"expected {name} in 1..{most}, got {getattr(self, name)}")
        if not 8 <= self.table_bits <= 24:
            raise InputError(f"expected table_bits in 8..24, got {self.table_bits}")


SLOW = {"hidden": 256, "streams": 8}
"""Settings for smaller archives, in several times the time."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """The products are too small for several threads of PyTorch, which would wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Predictor:
    """Codes blocks of text, one after the other, and learns from each."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.network: OnlineLSTM | None = None
        self.counts: Counts | None = None
        if settings.model != "counts":
            self.network = OnlineLSTM(settings.streams, settings.hidden, settings.window, settings.rate / 1e6)
        if settings.model != "network":
            self.counts = Counts(settings.table_bits)
        inputs = 1 + (self.network is not None) + (counts.INPUTS if self.counts is not None else 0)
        self.first = Mixer(inputs, (16 * 16, 256, 256 * 8), WEIGHT * 3 // 20, 12)
        self.second = Mixer(3, (256,), WEIGHT // 3, 2)
        self.refined = Refine(256 * 256)
        self.inputs = inputs
        self.position = 0

    def code(self, coder: Coder, length: int, text: Integers | None) -> Integers:
        """Code a block of `length` bytes, which `text` has where it is known; give its bytes."""
        if not length:
            return np.empty(0, np.int64)
        B = max(1, min(self.settings.streams, length // 32))
        T = -(-length // B)
        whole = length - B * (T - 1)  # streams with T bytes; the others have one less
        starts = np.arange(B) * T - np.maximum(np.arange(B) - whole, 0)
        if self.network is not None and len(self.network.h) != B:
            self.network.restart(B)
        if self.counts is not None:
            self.counts.restart(self.position + starts)
        block = np.zeros(length, np.int64) if text is None else text
        previous = np.zeros(B, np.int64)
        with _one_thread():
            for t in range(T):
                A = B if t < T - 1 else whole
                at = starts[:A] + t
                block[at] = previous = self._byte(coder, A, block[at], previous[:A])
        self.position += length
        return block

    def _byte(self, coder: Coder, A: int, byte: Integers, previous: Integers) -> Integers:
        node = np.ones(A, np.int64)
        rows = np.arange(A)
        if self.network is not None:
            sums = np.zeros((A, 257), np.int64)
            np.cumsum(self.network.frequencies(A), axis=1, out=sums[:, 1:])
        if self.counts is not None:
            self.counts.begin_byte(A)
        x = np.empty((A, self.inputs), np.int64)
        x[:, -1] = LOGIT
        contexts = np.zeros((A, 3), np.int64)
        for bit in range(8):
            if self.counts is not None:
                x[:, : counts.INPUTS] = self.counts.logits(bit)
                contexts[:, 0] = self.counts.known() * 16 + np.minimum(self.counts.bucket, 15)
            if self.network is not None:
                width = 128 >> bit
                low = (node - (1 << bit)) * 2 * width
                middle = sums[rows, low + width]
                upper = sums[rows, low + 2 * width]
                p = (upper - middle) * ONE // (upper - sums[rows, low])
                x[:, -2] = stretch(p)
            contexts[:, 1] = node
            contexts[:, 2] = previous * 8 + bit
            y = self.first.mix(x, contexts)
            z = self.second.mix(y, node[:, None])
            refined = self.refined.refine(z[:, 0], previous << 8 | node)
            p = np.maximum((squash(z[:, 0]) + refined) >> 1, 1)
            bits = coder.code(p, byte >> 7 - bit & 1)
            self.first.learn(bits)
            self.second.learn(bits)
            self.refined.learn(bits)
            if self.counts is not None:
                self.counts.learn(bits)
            node = 2 * node + bits
        byte = node & 255
        if self.counts is not None:
            self.counts.end_byte()
        if self.network is not None:
            self.network.learn(byte)
        return byte
