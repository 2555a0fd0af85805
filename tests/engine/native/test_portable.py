"""bits="portable": the same bits whatever the processor's registers and the number of threads, or an error."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.cells import GRU, LSTM, MGU, Elman
from carousel.engine import scan_function
from carousel.engine.native import jit, tiles
from carousel.engine.native.portable import product
from carousel.errors import InputError


class Symbols(carousel.Cell):
    """An LSTM that reads a symbol and gives the cross-entropy of the next one: the loss is part of the step."""

    def __init__(self, hidden: int, symbols: int) -> None:
        super().__init__()
        self.table = nn.Embedding(symbols, 8)
        self.inner = LSTM(8, hidden)
        self.out = nn.Linear(hidden, symbols)

    def initial_state(self) -> carousel.State:
        return self.inner.initial_state()

    def step(self, x: Tensor, state: carousel.State) -> tuple[Tensor, carousel.State]:
        h, state = self.inner.step(self.table(x[0]), state)
        return -torch.log_softmax(self.out(h), 0).gather(0, x[1:]), state


CELLS: dict[str, Callable[[], carousel.Cell]] = {
    "LSTM": lambda: LSTM(3, 9, peepholes=True),
    "large LSTM": lambda: LSTM(40, 70),
    "GRU": lambda: GRU(5, 13),
    "MGU": lambda: MGU(40, 100),
    "Elman": lambda: Elman(4, 6),
    "norms": lambda: LSTM(7, 20, layer_norm=True),
    "cross-entropy": lambda: Symbols(24, 256),
}


def inputs(cell: carousel.Cell, T: int, B: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if isinstance(cell, Symbols):
        return torch.randint(256, (T, B, 2), generator=generator)
    return torch.randn(T, B, cell.input_size or 0, generator=generator)


def results(cell: carousel.Cell, B: int, bits: str = "portable") -> list[Tensor]:
    """Outputs and gradients."""
    outputs, _ = carousel.scan(cell, inputs(cell, 12, B), bits=bits)
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(outputs.shape, generator=generator)
    return [outputs.detach(), *torch.autograd.grad(outputs, list(cell.parameters()), weights)]


QUICK = ("GRU", "cross-entropy")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in CELLS]


@pytest.mark.parametrize("name", NAMES)
def test_portable_results_are_those_of_eager(name: str) -> None:
    torch.manual_seed(0)
    cell = CELLS[name]()
    portable = results(cell, 5)
    outputs, _ = carousel.scan(cell, inputs(cell, 12, 5), backend="eager")
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2))
    eager = [outputs.detach(), *torch.autograd.grad(outputs, list(cell.parameters()), weights)]
    for a, b in zip(portable, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_neither_width_nor_threads_change_a_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    cell = CELLS[name]()
    made, before = [], torch.get_num_threads()
    try:
        for bits, threads in ((128, 1), (256, 2), (512, 1)):
            torch.set_num_threads(threads)
            monkeypatch.setattr(jit, "vector_bits", lambda bits=bits: bits)
            monkeypatch.setattr(scan_function, "_cache", OrderedDict())
            monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path / str(bits)))
            tiles.library.cache_clear()
            made.append(results(cell, 17))
    finally:
        torch.set_num_threads(before)
        tiles.library.cache_clear()
    for other in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(made[0], other, strict=True))


def test_a_stepper_is_portable_too() -> None:
    torch.manual_seed(0)
    cell = GRU(5, 40)
    x = torch.randn(4, 5)
    stepper = carousel.Stepper(cell, bits="portable")
    steps = torch.stack([stepper(row) for row in x])
    with torch.no_grad():
        torch.testing.assert_close(steps, carousel.scan(cell, x[:, None], bits="portable")[0][:, 0])
    state = torch.randn(40)
    y, after = stepper.step(x[0], state)
    with torch.no_grad():
        expected, final_state = carousel.scan(cell, x[:1, None], state[None], bits="portable")
    assert torch.equal(y, expected[0, 0])
    assert torch.equal(after, final_state[0])


class Wave(carousel.Cell):
    """A step with a function of the C library."""

    input_size = output_size = 3

    def initial_state(self) -> torch.Tensor:
        return torch.zeros(3)

    def step(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.sin(x + h)
        return h, h


def test_what_has_no_portable_form_is_refused_by_scan_and_stepper() -> None:
    with pytest.raises(InputError, match="it has no sin by the C library"):
        carousel.scan(Wave(), torch.randn(4, 2, 3), bits="portable")
    with pytest.raises(InputError, match="it has no sin by the C library"):
        carousel.Stepper(Wave(), bits="portable")(torch.randn(3))
    cell = GRU(3, 4)
    torch.nn.utils.parametrizations.weight_norm(cell, "U")
    with pytest.raises(InputError, match="PyTorch computes weights of the cell from others"):
        carousel.scan(cell, torch.randn(4, 2, 3), bits="portable")
    with pytest.raises(InputError, match="PyTorch computes weights of the cell from others"):
        carousel.Stepper(cell, bits="portable")(torch.randn(3))
    population = {name: weight.detach()[None] for name, weight in Elman(3, 4).named_parameters()}
    with pytest.raises(InputError, match="does not apply with params"):
        carousel.scan(Elman(3, 4), torch.randn(4, 1, 3), params=population, bits="portable")


@pytest.mark.parametrize(("m", "k", "n"), [(1, 5, 3), (2, 9, 40), (7, 33, 17), (20, 1, 70)])
def test_a_product_adds_in_the_order_of_its_inputs(m: int, k: int, n: int) -> None:
    """Against fused multiply-adds one after the other, in float64: the factors have so few bits that it is exact there."""
    a, b = torch.randint(-2048, 2048, (m, k)).float(), torch.randint(-2048, 2048, (k, n)).float() * 1.0009765625
    wanted = torch.zeros(m, n)
    for j in range(k):
        wanted = (wanted.double() + a[:, j : j + 1].double() * b[j].double()).float()
    assert torch.equal(product(a, b), wanted)


def test_what_has_no_portable_form_is_refused() -> None:
    cell = LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    with pytest.raises(carousel.InputError, match="unknown bits 'exact'"):
        carousel.scan(cell, x, bits="exact")
    with pytest.raises(carousel.InputError, match="eager"):
        carousel.scan(cell, x, bits="portable", backend="eager")
    with pytest.raises(carousel.InputError, match="float64"):
        carousel.scan(cell.double(), x.double(), bits="portable")


def test_what_pytorch_would_make_once_a_call_is_refused() -> None:
    class Leaky(carousel.Cell):
        input_size, output_size = 3, 3

        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.zeros(3))

        def initial_state(self) -> Tensor:
            return torch.zeros(3)

        def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            h = torch.sigmoid(self.rate) * h + x
            return h, h

    with pytest.raises(carousel.InputError, match="sigmoid of what is the same at every step"):
        carousel.scan(Leaky(), torch.randn(5, 2, 3), bits="portable")
