"""Many calls of many sizes leave nothing behind."""

import gc
import os
import weakref
from types import MethodType

import pytest
import torch
from torch import Tensor

import carousel
from carousel.cells import GRU, LSTM, Elman
from carousel.engine import scan_function
from carousel.engine.packing import _equal
from carousel.engine.snapshot import _watched, snapshot_of

CELLS = [
    lambda: LSTM(2, 3),
    lambda: LSTM(2, 3, peepholes=True),
    lambda: LSTM(2, 3, layer_norm=True),
    lambda: GRU(2, 3),
    lambda: Elman(2, 3),
]


def calls(count, seed):
    """Forward and backward passes and a step each, of sizes and lengths drawn anew every time."""
    generator = torch.Generator().manual_seed(seed)
    cells = [make() for make in CELLS]
    steppers = [carousel.Stepper(cell) for cell in cells]
    for n in range(count):
        cell = cells[n % len(cells)]
        T, B = (int(size) for size in torch.randint(1, 20, (2,), generator=generator))
        x = torch.randn(T, B, 2, generator=generator)
        lengths = torch.randint(T + 1, (B,), generator=generator) if n % 2 else None
        outputs, _ = carousel.scan(cell, x, lengths=lengths, backend="native")
        torch.autograd.grad(outputs.sum(), list(cell.parameters()), allow_unused=True)
        steppers[n % len(cells)](x[0, 0])


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def live():
    """(tensors, other objects) that Python knows of."""
    gc.collect()
    objects = gc.get_objects()
    tensors = sum(issubclass(type(item), Tensor) for item in objects)
    return tensors, len(objects) - tensors


def test_calls_leave_no_tensor_and_no_object():
    calls(20, seed=0)
    _equal.cache_clear()  # it may hold one tensor a size, up to its bound
    tensors, others = live()
    entries = len(scan_function._cache)
    calls(60, seed=1)
    assert len(scan_function._cache) == entries
    _equal.cache_clear()
    more_tensors, more_others = live()
    assert more_tensors <= tensors
    assert more_others - others < 60


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc to tell the memory of this process")
def test_ten_thousand_calls_keep_the_memory_as_it_is():
    calls(1000, seed=0)
    gc.collect()
    before, entries = resident(), len(scan_function._cache)
    calls(10_000, seed=1)
    gc.collect()
    assert resident() - before < 16 * 2**20
    assert len(scan_function._cache) == entries


def test_a_cell_is_not_kept_alive():
    cell = GRU(2, 3)
    carousel.scan(cell, torch.randn(3, 1, 2))
    assert cell in _watched
    reference = weakref.ref(cell)
    del cell
    gc.collect()
    assert reference() is None


def test_a_cell_that_holds_itself_is_not_remembered():
    cell = GRU(2, 3)
    snapshot_of(cell)
    cell.again = MethodType(GRU.step, cell)
    snapshot_of(cell)
    assert cell not in _watched
