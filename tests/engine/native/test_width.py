"""The same bits on every machine: results do not depend on how wide its vector registers are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import carousel
from carousel.cells import GRU, LSTM, MGU, NTM
from carousel.engine import scan_function
from carousel.engine.native import jit, tiles

CELLS: dict[str, Callable[[], carousel.Cell]] = {
    "products in full": lambda: LSTM(3, 9, peepholes=True),
    "few outputs": lambda: GRU(5, 13),
    "tiles, the last one in part": lambda: MGU(40, 100),
    "norms": lambda: LSTM(7, 20, layer_norm=True),
    "reductions, blocks of rows": lambda: NTM(5, 4, 24, N=13, M=7),
}


def results(cell: carousel.Cell, B: int, dtype: torch.dtype) -> list[Tensor]:
    """Outputs and gradients."""
    generator = torch.Generator().manual_seed(1)
    x, weights = (torch.randn(12, B, size or 0, generator=generator, dtype=dtype) for size in (cell.input_size, cell.output_size))
    outputs, _ = carousel.scan(cell, x.requires_grad_(), backend="native")
    return [outputs.detach(), *torch.autograd.grad((outputs * weights).sum(), [x, *cell.parameters()])]


SINGLE, DOUBLE = torch.float32, torch.float64


@pytest.mark.parametrize(
    ("name", "B", "dtype"), [*((name, 32, SINGLE) for name in CELLS), ("norms", 1, SINGLE), ("products in full", 3, DOUBLE)]
)
def test_the_width_of_registers_changes_no_bit(
    name: str, B: int, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    cell = CELLS[name]().to(dtype)
    made = []
    for bits in (256, 512):
        monkeypatch.setattr(jit, "vector_bits", lambda bits=bits: bits)
        monkeypatch.setattr(scan_function, "_cache", OrderedDict())
        monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path / str(bits)))
        tiles.library.cache_clear()
        made.append(results(cell, B, dtype))
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))
