"""Rows and steps in one axis: B sequences of their own lengths, packed so that no time is spent past an end.

The sequences are sorted by falling length; row r is sequence order[r]. The n_t rows that run at
step t stand at offsets[t] .. offsets[t + 1] - 1, so the axis has N = sum of lengths entries and
padding is nowhere. With equal lengths it is (T, B) flattened, and nothing is copied.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """How (T, B, ...) becomes (N, ...) and back.

    offsets:  (T + 1,) int64.
    counts:   n_t for each step.
    total:    N.
    order:    (B,) sequence of each row; None where all lengths are T and nothing moves.
    lengths:  (B,) length of each row, falling; None likewise.
    """

    steps: int
    batch: int
    offsets: Tensor
    counts: list[int]
    total: int
    order: Tensor | None
    lengths: Tensor | None

    def parts(self, entries: int) -> list[tuple[slice, Packing]]:
        """Runs of steps, about so many entries each: where they stand on the packed axis, and their own packing.

        All have the B rows; in a part's packing a row that has ended before has length 0.
        """
        if self.total < 2 * entries:
            return [(slice(0, self.total), self)]
        bounds = [0]
        offsets = self.offsets.tolist()
        while bounds[-1] < self.steps:
            at = max(bisect_right(offsets, offsets[bounds[-1]] + entries) - 1, bounds[-1] + 1)
            bounds.append(min(at, self.steps))
        return [(slice(offsets[a], offsets[b]), self._part(a, b)) for a, b in pairwise(bounds)]

    def _part(self, start: int, stop: int) -> Packing:
        steps = stop - start
        if self.order is None or self.lengths is None:
            return _equal(steps, self.batch)
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        lengths = (self.lengths - start).clamp(0, steps)
        return Packing(steps, self.batch, offsets, self.counts[start:stop], int(offsets[-1]), self.order, lengths)

    def pack_steps(self, x: Tensor) -> Tensor:
        """(T, B, ...) to (N, ...)."""
        flat = x.reshape(self.steps * self.batch, *x.shape[2:])
        return flat if self.order is None else flat.index_select(0, self._place)

    def unpack_steps(self, x: Tensor) -> Tensor:
        """(N, ...) to (T, B, ...), zero past a sequence's end."""
        if self.order is not None:
            x = x.new_zeros(self.steps * self.batch, *x.shape[1:]).index_copy(0, self._place, x)
        return x.reshape(self.steps, self.batch, *x.shape[1:])

    def unpack_states(self, x: Tensor, initial: Tensor) -> Tensor:
        """States after each step (N, ...) to (T, B, ...), standing still past a sequence's end."""
        if self.order is None or self.lengths is None:
            return x.reshape(self.steps, self.batch, *x.shape[1:])
        last = torch.minimum(torch.arange(1, self.steps + 1)[:, None], self.lengths)  # steps made, (T, B)
        rows = torch.arange(self.batch)
        place = torch.where(last > 0, self.batch + self.offsets[(last - 1).clamp_min(0)] + rows, rows)
        states = torch.cat([initial, x]).index_select(0, place.reshape(-1)).reshape(self.steps, self.batch, *x.shape[1:])
        return states.index_select(1, torch.argsort(self.order))

    def pack_rows(self, x: Tensor) -> Tensor:
        """(B, ...) in the order of the rows."""
        return x if self.order is None else x.index_select(0, self.order)

    def unpack_rows(self, x: Tensor) -> Tensor:
        """(B, ...) in the order of the sequences."""
        return x if self.order is None else x.index_select(0, torch.argsort(self.order))

    def spread(self, x: Tensor) -> Tensor:
        """(B, ...) of the rows to (N, ...): each row at each of its steps."""
        if self.order is None:
            return x.expand(self.steps, *x.shape).reshape(self.total, *x.shape[1:])
        return x.index_select(0, self._row)

    def before(self, history: Tensor) -> Tensor:
        """What each row and step starts from: history (B + N, ...) is the initial rows, then what each step gave."""
        if self.order is None:
            return history[: self.total]
        return history.index_select(0, self._before)

    def after(self, x: Tensor, initial: Tensor) -> Tensor:
        """What each row and step gets from the step after it, (N, ...); from `initial` (B, ...) at a row's last step."""
        if self.order is None or self.lengths is None:
            return torch.cat([x[self.batch :], initial]) if self.total else x
        row, step = self._row, self._step
        last = step + 1 == self.lengths[row]
        following = self.offsets[(step + 1).clamp_max(self.steps)] + row
        return torch.cat([initial, x]).index_select(0, torch.where(last, row, self.batch + following))

    def last(self, x: Tensor, initial: Tensor) -> Tensor:
        """Each row's last step of x (N, ...), or initial (B, ...) where it has none."""
        if self.order is None or self.lengths is None:
            return x[self.total - self.batch :] if self.total else initial
        rows = torch.arange(self.batch)
        ended = self.batch + self.offsets[(self.lengths - 1).clamp_min(0)] + rows
        return torch.cat([initial, x]).index_select(0, torch.where(self.lengths > 0, ended, rows))

    def first(self, x: Tensor, initial: Tensor) -> Tensor:
        """Each row's first step of x (N, ...), or initial (B, ...) where it has none."""
        started = self.counts[0] if self.counts else 0
        return torch.cat([x[:started], initial[started:]])

    def sum_over_steps(self, x: Tensor) -> Tensor:
        """(N, ...) to (B, ...)."""
        if self.order is None:
            return x.reshape(self.steps, self.batch, *x.shape[1:]).sum(0)
        return x.new_zeros(self.batch, *x.shape[1:]).index_add(0, self._row, x)

    @cached_property
    def _step(self) -> Tensor:
        return torch.repeat_interleave(torch.arange(self.steps), self.offsets.diff())

    @cached_property
    def _row(self) -> Tensor:
        return torch.arange(self.total) - self.offsets[self._step]

    @cached_property
    def _before(self) -> Tensor:
        """Where in the initial rows and then the packed axis each entry's step before is."""
        row, step = self._row, self._step
        return torch.where(step > 0, self.batch + self.offsets[(step - 1).clamp_min(0)] + row, row)

    @cached_property
    def _place(self) -> Tensor:
        """Where each entry of the packed axis is in (T * B)."""
        assert self.order is not None
        return self._step * self.batch + self.order[self._row]


@lru_cache(maxsize=64)
def _equal(steps: int, batch: int) -> Packing:
    return Packing(steps, batch, torch.arange(steps + 1) * batch, [batch] * steps, steps * batch, None, None)


def packing(steps: int, batch: int, lengths: Tensor | None) -> Packing:
    """The packing of sequences with these lengths, (B,) int64 in 0..T; None: all have T steps."""
    if lengths is None or bool((lengths == steps).all()):
        return _equal(steps, batch)
    ordered, order = lengths.sort(descending=True, stable=True)
    counts = (ordered > torch.arange(steps)[:, None]).sum(1)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Packing(steps, batch, offsets, counts.tolist(), int(offsets[-1]), order, ordered)
