"""An LSTM that learns while it predicts, with the same bits on every machine.

A sum of floating-point numbers depends on its order, and so on the machine, unless no addition rounds. Here none does: what
enters a product of matrices is a whole number of 2^-14 (or 2^-20) of limited size, and no sum of such products needs more than the
53 bits of a float64. So every library gives the exact result, with any order of sums, any number of threads, with or without fused
multiply-add. The squashing functions are tables made in decimal arithmetic; what is left are single operations (+ - * / and the
square root), which IEEE 754 defines to the last bit.

The equations are those of `carousel.cells.LSTM`; training is truncated backpropagation through the steps of a window
(Williams & Peng 1990), with Adam (Kingma & Ba, ICLR 2015).
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from hashlib import shake_128
from math import prod
from typing import Any

import numpy as np
import torch

from carousel.compressor.integers import Integers, powers

Floats = np.ndarray[Any, np.dtype[np.float64]]

SYMBOLS = 256
GRID = 1 << 14
"""States and weights are whole numbers of 1/GRID in products."""

FINE = 1 << 20
"""Gradients are whole numbers of 1/FINE in products."""

LARGEST = 8.0
"""Weights and gradients are cut off here."""

MOST = 1 << 20
"""The frequency of the symbol whose logit is the largest."""

STEPS = 1024  # arguments of the tables are whole numbers of 1/STEPS
REACH = 12  # and are cut off here


@cache
def _tables() -> tuple[Floats, Floats, Integers]:
    """sigmoid and tanh from -REACH to REACH, and the frequency MOST exp(-x), at least 1, from 0 to REACH."""
    grow = list(powers((Decimal(1) / STEPS).exp(), 2 * REACH * STEPS + 1))
    up = [float(e / (1 + e)) for e in grow[: REACH * STEPS + 1]]
    down = [float(1 / (1 + e)) for e in grow[1 : REACH * STEPS + 1]]
    tanh = [float((e - 1) / (e + 1)) for e in grow[::2]]
    frequency = [max(1, int(MOST / e)) for e in grow[: REACH * STEPS + 1]]
    return np.array([*reversed(down), *up]), np.array([-y for y in reversed(tanh[1:])] + tanh), np.array(frequency, np.int64)


def _product(a: Floats, b: Floats) -> Floats:
    """a b, by PyTorch, whose threads can be limited; exact where both are on their grids."""
    product: Floats = torch.mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    return product


def _lookup(table: Floats, x: Floats) -> Floats:
    at = np.rint(x * STEPS)
    np.minimum(at, REACH * STEPS, out=at)
    np.maximum(at, -REACH * STEPS, out=at)
    return table.take(at.astype(np.int64) + REACH * STEPS)


def _on(grid: int, x: Floats) -> Floats:
    """x cut off at LARGEST, as a multiple of 1/grid."""
    x = np.minimum(x, LARGEST)
    np.maximum(x, -LARGEST, out=x)
    x *= grid
    np.rint(x, out=x)
    x *= 1 / grid
    return x


class OnlineLSTM:
    """The next byte's frequencies for up to `rows` streams, which share the weights.

    Args:
        rows:    B, the number of streams; B T is at most 2^14, so that sums over a window are exact.
        hidden:  H, the number of cells, 1 to 1024.
        window:  T, the number of steps between two updates.
        rate:    the learning rate.
    """

    def __init__(self, rows: int, hidden: int, window: int, rate: float) -> None:
        self.H, self.T, self.rate = hidden, window, rate
        H = hidden
        scale = 1.0 / float(np.sqrt(np.float64(H)))

        def start(name: str, *shape: int) -> Floats:
            """Uniform in +-1 / sqrt(H). A digest, as a generator of random numbers is not promised to stay what it is."""
            whole = np.frombuffer(shake_128(name.encode()).digest(4 * prod(shape)), "<i4")
            return whole.reshape(shape) * (scale / (1 << 31))

        bias = np.zeros((1, 4 * H))
        bias[:, H : 2 * H] = 1.0
        self.parameters = [start("E", SYMBOLS, 4 * H) + bias, start("U", H, 4 * H), start("V", H, SYMBOLS), np.zeros((1, SYMBOLS))]
        self.m = [np.zeros_like(w) for w in self.parameters]
        self.v = [np.zeros_like(w) for w in self.parameters]
        self.decay = [1.0, 1.0]
        self.updates = 0
        self._round()
        self.restart(rows)

    def _round(self) -> None:
        self.E, self.U, self.V, self.d = (_on(GRID, w) for w in self.parameters)

    def restart(self, rows: int) -> None:
        """Begin with `rows` streams of which nothing is known."""
        self.h, self.c = np.zeros((rows, self.H)), np.zeros((rows, self.H))
        self.x = np.zeros(rows, np.int64)
        self.kept: list[tuple[Floats, ...]] = []
        self.inputs: list[Integers] = []
        self.targets: list[Integers] = []

    def frequencies(self, A: int) -> Integers:
        """(A, 256) frequencies of the byte to come."""
        sigmoid, tanh, frequency = _tables()
        H = self.H
        h, c, x = self.h[:A], self.c[:A], self.x[:A]
        a = _product(h, self.U)
        a += self.E[x]
        gates = _lookup(sigmoid, a)
        g = _lookup(tanh, a[:, 2 * H : 3 * H])
        i, f, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 3 * H :]
        new = f * c
        new += i * g
        s = _lookup(tanh, new)
        y = _on(GRID, o * s)
        z = _product(y, self.V)
        z += self.d
        at = np.rint((z.max(1, keepdims=True) - z) * STEPS)
        frequencies = frequency.take(np.minimum(at, REACH * STEPS).astype(np.int64))
        self.kept.append((h, c, gates, g, s, y, frequencies))
        self.inputs.append(x)
        self.h, self.c = y, new
        return frequencies

    def learn(self, bytes_: Integers) -> None:
        """Take in the (A,) bytes that came; each T steps, update the weights."""
        self.targets.append(bytes_)
        self.x = bytes_
        if len(self.targets) == self.T:
            self._update()
            self.kept, self.inputs, self.targets = [], [], []

    def _update(self) -> None:
        H = self.H
        A = len(self.targets[-1])
        dh, dc = np.zeros((A, H)), np.zeros((A, H))
        das, dzs = [], []
        for (_h, c, gates, g, s, _y, frequencies), byte in zip(reversed(self.kept), reversed(self.targets), strict=True):
            rows = len(byte)
            if rows > len(dh):  # streams that ended before the last step
                dh, dc = (np.concatenate([d, np.zeros((rows - len(d), H))]) for d in (dh, dc))
            dz = frequencies / frequencies.sum(1, keepdims=True)
            dz[np.arange(rows), byte] -= 1.0
            dz = _on(FINE, dz)
            dh = dh + _product(dz, self.V.T)
            i, f, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 3 * H :]
            dc = dc + dh * o * (1.0 - s * s)
            da = np.empty((rows, 4 * H))
            da[:, :H] = dc * g
            da[:, H : 2 * H] = dc * c
            da[:, 2 * H : 3 * H] = dc * i * (1.0 - g * g)
            da[:, 3 * H :] = dh * s
            slope = gates * (1.0 - gates)
            da[:, : 2 * H] *= slope[:, : 2 * H]
            da[:, 3 * H :] *= slope[:, 3 * H :]
            da = _on(FINE, da)
            dh, dc = _product(da, self.U.T), dc * f
            das.append(da)
            dzs.append(dz)
        da, dz = np.concatenate(das[::-1]), np.concatenate(dzs[::-1])
        h, y = (np.concatenate([kept[k] for kept in self.kept]) for k in (0, 5))
        which = np.zeros((len(da), SYMBOLS))
        which[np.arange(len(da)), np.concatenate(self.inputs)] = 1.0
        self._adam([_product(which.T, da), _product(h.T, da), _product(y.T, dz), _product(np.ones((1, len(dz))), dz)])

    def _adam(self, gradients: list[Floats]) -> None:
        b1, b2 = 0.9, 0.999
        self.updates += 1
        self.decay = [self.decay[0] * b1, self.decay[1] * b2]
        root = float(np.sqrt(np.float64(1.0 - self.decay[1])))
        rate = self.rate * root / (1.0 - self.decay[0])
        for w, m, v, g in zip(self.parameters, self.m, self.v, gradients, strict=True):
            m *= b1
            m += (1.0 - b1) * g
            g *= g
            g *= 1.0 - b2
            v *= b2
            v += g
            root_v = np.sqrt(v)
            root_v += 1e-6
            step = m / root_v
            step *= rate
            w -= step
        self._round()
