"""The entropy coder: bits with their probabilities to 32-bit words and back, by `constriction`'s range coder."""

from __future__ import annotations

from importlib.metadata import version
from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from carousel.compressor.integers import ONE, Integers

VERSION = version("constriction")

_MODEL = constriction.stream.model.Bernoulli(perfect=False)
"""A probability that is a whole number of 1/65536 is one of its own whole numbers of 2^-24 too, so nothing is rounded."""


class Coder(Protocol):
    """What gives the bits: the text that is encoded, or the code that is decoded."""

    def code(self, p: Integers, bits: Integers) -> Integers:
        """The (A,) bits that came, where p, whole numbers of 1/65536 in 1..65535, are the probabilities of ones.

        `bits` are those of the text where that is known.
        """
        ...


class Encoder:
    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(self, p: Integers, bits: Integers) -> Integers:
        self._coder.encode(bits.astype(np.int32), _MODEL, p / ONE)
        return bits

    def finish(self) -> bytes:
        """The code, in little-endian words."""
        return self._coder.get_compressed().astype("<u4").tobytes()


class Decoder:
    def __init__(self, code: bytes) -> None:
        words: NDArray[np.uint32] = np.frombuffer(code, "<u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def code(self, p: Integers, bits: Integers) -> Integers:
        decoded: Integers = self._coder.decode(_MODEL, p / ONE).astype(np.int64)
        return decoded


class Known:
    """A text that is there already: the model learns it, and no code is read or written."""

    def code(self, p: Integers, bits: Integers) -> Integers:
        return bits
