"""What followed the short contexts of a text so far, in integers, for several streams of it at once.

A context is a hash of the last bytes. For each context and each of the eight bits of the next byte, given the bits before it, a
table keeps the last seven bits that came there; a map, shared by all contexts of a length, learns how probable a one is after
each such history. This is the indirect context model of PAQ and ZPAQ (Mahoney, Data Compression Explained, 2013, section 4).
Short contexts have a probability of their own besides. The longest context is that of a match: the byte after the last place
where the last six bytes stood.
"""

from __future__ import annotations

import numpy as np

from carousel.compressor.integers import ONE, Integers, stretch

ORDERS = (1, 2, 3, 4, 5, 6)
"""Lengths of the contexts with histories; the letters of the current word are one more."""

DIRECT = 4
"""Contexts of fewer bytes than this have a probability of their own."""

SLOTS = 16
"""One for each node of half a byte's tree of bits, beside each other in memory; the first has the context's check."""

MATCH = 6
FRACTION = 6  # bits of a learned probability beyond those of integers.ONE
INPUTS = len(ORDERS) + 2 + DIRECT + 1
"""How many logits a bit gets."""

_MASKS = np.array([(1 << 8 * order) - 1 for order in (*ORDERS, 0, 0)], np.uint64)
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15 + 2 * 0x5851F42D4C957F2D * k & (1 << 64) - 1 | 1 for k in range(10)], np.uint64)
_HASHED = len(ORDERS) + 2

_NEXT = np.array([[2 * h + bit if h < 128 else 128 | (2 * h + bit) & 127 for bit in (0, 1)] for h in range(256)], np.uint8)
_SEEN = np.array([max(h, 1).bit_length() - 1 for h in range(256)], np.int64)
_RATE = np.array([2, 3, 4, 5, 6, 9, 14, 40], np.int64)

_TARGETS = np.array([16, ONE - 16], np.int64) << FRACTION
"""What the maps go towards: so far from 0 and 1 that 128 streams that step together stay within."""


def _start(history: int) -> int:
    """The probability of a one after a history that was never seen: recent bits count for more."""
    ones, total = 2, 4  # in quarters of a bit
    for age in range(max(history, 1).bit_length() - 1):
        weight = max(1, 8 - age)
        ones, total = ones + weight * (history >> age & 1), total + weight
    return (ONE << FRACTION) * ones // total


class Counts:
    """Logits of the next bit from the contexts of several streams.

    All streams share the tables. `begin_byte`, then eight times `logits` and `learn`, then `end_byte`; each for the streams
    0..A-1 that have not ended yet.
    """

    def __init__(self, table_bits: int) -> None:
        self.table_bits = np.uint64(64 - table_bits)
        self.histories = np.ones(_HASHED << table_bits + 4, np.uint8)
        self.offsets = np.arange(_HASHED, dtype=np.int64) << table_bits + 4
        self.maps = np.tile(np.array([_start(h) for h in range(256)], np.int64), _HASHED)
        self.map_offsets = np.arange(_HASHED, dtype=np.int64) << 8
        self.own_bits = table_bits - 6
        self.own = np.full((1 + 256 + (2 << self.own_bits)) << 8, ONE // 2, np.int32)
        self.own_histories = np.ones(self.own.size, np.uint8)
        self.window = np.zeros(1 << table_bits + 2, np.uint8)
        self.places = np.zeros(1 << 20, np.int64)
        self.match_map = np.array([ONE - (ONE // 4) // (1 + n) for n in range(64)], np.int64) << FRACTION

    def restart(self, places: Integers) -> None:
        """Begin a block whose streams have their first bytes at these (B,) places of the text."""
        self.last = np.zeros(len(places), np.uint64)
        self.word = np.zeros(len(places), np.uint64)
        self.before = np.zeros(len(places), np.uint64)
        self.at = places % self.window.size
        self.pointer = np.zeros(len(places), np.int64)
        self.length = np.zeros(len(places), np.int64)

    def begin_byte(self, A: int) -> None:
        """Look up the contexts of the next byte of the first A streams."""
        self.A = A
        self.node = np.ones(A, np.int64)
        last = self.last[:A]
        contexts = last[:, None] & _MASKS
        contexts[:, -2] = self.word[:A]
        contexts[:, -1] = self.word[:A] + self.before[:A]
        self.contexts = (contexts + np.uint64(1)) * _MULTIPLIERS[:_HASHED]
        self.contexts ^= self.contexts >> np.uint64(29)
        self._half_byte()
        recent = last.astype(np.int64)  # wraps, which does no harm below
        base = np.empty((A, DIRECT), np.int64)
        base[:, 0] = 0
        base[:, 1] = 1 + (recent & 255)
        size = 1 << self.own_bits
        base[:, 2] = 257 + ((recent & 0xFFFF) * 0x2F0B4C47 >> 12 & size - 1)
        base[:, 3] = 257 + size + ((recent & 0xFFFFFF) * 0x2F0B4C47 >> 12 & size - 1)
        base <<= 8
        self.direct_base = base
        self.predicted = self.window[self.pointer[:A]].astype(np.int64) | 256
        self.matching = self.length[:A] > 0

    def _half_byte(self) -> None:
        h = (self.contexts + self.node.astype(np.uint64)[:, None]) * _MULTIPLIERS[9]
        self.base = ((h >> self.table_bits).astype(np.int64) << 4) + self.offsets
        check = (h >> np.uint64(8)).astype(np.uint8)
        stale = self.histories[self.base] != check
        base = self.base[stale]
        self.histories[base[:, None] + np.arange(1, SLOTS)] = 1
        self.histories[base] = check[stale]

    def logits(self, bit: int) -> Integers:
        """(A, INPUTS) logits of bit number `bit` of the byte, the highest first."""
        if bit == 4:
            self._half_byte()
        inside = self.node if bit < 4 else (self.node & (1 << bit - 4) - 1) | 1 << bit - 4
        self.slot = self.base + inside[:, None]
        self.history = self.histories[self.slot]
        self.map_index = self.map_offsets + self.history
        self.direct = self.direct_base + self.node[:, None]
        out = np.empty((self.A, INPUTS), np.int64)
        out[:, :_HASHED] = stretch(self.maps[self.map_index] >> FRACTION)
        out[:, _HASHED:-1] = stretch(self.own[self.direct])
        self.matching &= self.predicted >> 8 - bit == self.node
        self.expected = self.predicted >> 7 - bit & 1
        self.bucket = np.minimum(self.length[: self.A], 63) * self.matching
        out[:, -1] = stretch(self.match_map[self.bucket] >> FRACTION) * (2 * self.expected - 1) * self.matching
        return out

    def known(self) -> Integers:
        """(A,) how many of the contexts have been seen before at this bit."""
        return (self.history != 1).sum(1)

    def learn(self, bits: Integers) -> None:
        """Take in (A,) bits that came. Where streams are at the same place of a table, what the last of them writes stays."""
        column = bits[:, None]
        delta = (_TARGETS[column] - self.maps[self.map_index]) >> 7
        np.add.at(self.maps, self.map_index.ravel(), delta.ravel())
        self.histories[self.slot] = _NEXT[self.history, column]
        own, seen = self.own[self.direct], self.own_histories[self.direct]
        own += ((column << 16) - own) // _RATE[_SEEN[seen]]
        self.own[self.direct] = own
        self.own_histories[self.direct] = _NEXT[seen, column]
        right = (self.expected == bits).astype(np.int64)
        delta = ((_TARGETS[right] - self.match_map[self.bucket]) >> 7) * self.matching
        np.add.at(self.match_map, self.bucket, delta)
        self.node = 2 * self.node + bits

    def end_byte(self) -> None:
        """Move the contexts on by the byte whose eight bits have come."""
        A = self.A
        byte = self.node & 255
        same = (self.length[:A] > 0) & (self.predicted & 255 == byte)
        size = self.window.size
        self.window[self.at[:A]] = byte
        self.at[:A] = (self.at[:A] + 1) % size
        last = self.last[:A] << np.uint64(8) | byte.astype(np.uint64)
        self.last[:A] = last
        letter = ((byte | 32) >= 97) & ((byte | 32) <= 122) | (byte >= 128)
        ended = ~letter & (self.word[:A] > 0)
        self.before[:A] = np.where(ended, self.word[:A] * _MULTIPLIERS[8], self.before[:A])
        self.word[:A] = np.where(
            letter, (self.word[:A] + (byte | 32).astype(np.uint64)) * np.uint64(0x2F0B4C4545F4914D), np.uint64(0)
        )
        place = ((last & _MASKS[MATCH - 1]) * _MULTIPLIERS[0] >> np.uint64(44)).astype(np.int64)
        found = self.places[place]
        self.pointer[:A] = np.where(same, (self.pointer[:A] + 1) % size, found)
        self.length[:A] = np.where(same, self.length[:A] + 1, found > 0)
        self.places[place] = self.at[:A]
