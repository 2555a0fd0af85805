"""Where a value lies in memory, and the operations that only look at memory in another way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True)
class Place:
    """Element (i, j, ...) of row r of the block lies at base + row * r + offset + strides . (i, j, ...), in elements."""

    base: str
    row: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    offset: int = 0

    @staticmethod
    def contiguous(base: str, shape: tuple[int, ...], dtype: torch.dtype, row: int | None = None) -> Place:
        """One row after the other, `row` elements apart (those of a row where it is not given)."""
        return Place(base, prod(shape) if row is None else row, shape, contiguous_strides(shape), dtype)

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements of a row lie one after the other."""
        kept = [(size, stride) for size, stride in zip(self.shape, self.strides, strict=True) if size != 1]
        return [stride for _, stride in kept] == list(contiguous_strides(tuple(size for size, _ in kept)))

    def seen(self, kind: str, attributes: Mapping[str, Any], shape: tuple[int, ...]) -> Place | None:
        """This place as the view `kind` sees it; None for a reshape that needs a copy."""
        if kind == "slice":
            return self.sliced(attributes["axis"], attributes["start"], shape[attributes["axis"]], attributes["step"])
        if kind == "permute":
            return replace(self, shape=shape, strides=tuple(self.strides[axis] for axis in attributes["axes"]))
        if kind == "expand":
            axes = zip(self.shape, shape, self.strides, strict=True)
            return replace(self, shape=shape, strides=tuple(0 if old != new else stride for old, new, stride in axes))
        if kind == "flip":
            strides, offset = list(self.strides), self.offset
            for axis in attributes["axes"]:
                offset += (self.shape[axis] - 1) * strides[axis]
                strides[axis] = -strides[axis]
            return replace(self, strides=tuple(strides), offset=offset)
        return self._reshaped(shape)

    def sliced(self, axis: int, start: int, size: int, step: int = 1) -> Place:
        """`size` entries along an axis from `start`, every `step`."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = size, strides[axis] * step
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def _reshaped(self, shape: tuple[int, ...]) -> Place | None:
        """Split axes and join those that lie as one, as far as strides can say it."""
        groups: list[list[int]] = []  # [size, stride] of the longest runs of axes that lie as one
        for size, stride in zip(self.shape, self.strides, strict=True):
            if size == 1:
                continue
            if groups and groups[-1][1] == stride * size:
                groups[-1] = [groups[-1][0] * size, stride]
            else:
                groups.append([size, stride])
        strides, rest = [], 1  # `rest`: elements of the last group not yet given to an axis of the new shape
        for size in reversed(shape):
            if size == 1:
                strides.append(0)
                continue
            if rest == 1:
                if not groups:
                    return None
                rest, stride = groups.pop()
            if rest % size:
                return None
            strides.append(stride)
            rest, stride = rest // size, stride * size
        return replace(self, shape=shape, strides=tuple(reversed(strides)))
