"""Rows as lanes: what `agree` (conftest.py) checks of every kind, and when blocks of rows are taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import carousel
from carousel.cells import FullyRecurrent
from carousel.engine.ir import Carry, Loop, Op, Value
from carousel.engine.kinds import ELEMENTWISE, KINDS
from carousel.engine.native import lanes
from carousel.engine.native.compiled import compile_loop

OF_THEIR_OWN = {"argmax", "argmin", "argsort", "gather", "scatter_add"}
"""Kinds that look at places which differ from row to row."""


def value(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Value:
    return Value(name, shape, dtype)


def small() -> Loop:
    """h = tanh(W h + x) of six units, with weights of every row's own."""
    W, x, h, row = value("W", 6, 6), value("x", 6), value("h", 6), value("row", 1, 6)
    p, u, a, n = value("p", 6, 6), value("u", 6), value("a", 6), value("n", 6)
    ops = (
        Op("reshape", (h,), row),
        Op("mul", (W, row), p),
        Op("sum", (p,), u, {"axes": (1,)}),
        Op("add", (u, x), a),
        Op("tanh", (a,), n),
    )
    return Loop(ops, per_row=(W,), per_step=(x,), carried=(Carry(h, n),))


@pytest.mark.parametrize("kind", sorted(OF_THEIR_OWN))
def test_rows_that_look_things_up_have_no_lanes(kind: str) -> None:
    x, index, out = value("x", 4), value("i", 4, dtype=torch.int64), value("y", 4)
    inputs = {"argmax": (x,), "argmin": (x,), "argsort": (x,)}.get(kind, (x, index) if kind == "gather" else (index, x))
    loop = Loop((Op(kind, inputs, out, {"axis": 0, "descending": False}),), per_step=inputs, written=(out,))
    assert lanes.in_lanes(loop, 4) is None


def test_every_other_kind_has_them() -> None:
    """A kind that is new must be put on one of the two sides."""
    import inspect

    source = inspect.getsource(lanes)
    assert {
        kind for kind, row in KINDS.items() if kind not in ELEMENTWISE and not row.lanes and f'"{kind}"' not in source
    } == OF_THEIR_OWN


def test_taken_for_many_rows_of_a_small_network_only() -> None:
    compiled = compile_loop(small(), 16)
    assert compiled.in_lanes(1, 1) is None
    assert compiled.in_lanes(16, 1) is not None
    assert compiled.in_lanes(16, 16) is None  # a row for each thread


@pytest.mark.parametrize(("rows", "expected"), [(1, 1), (2, 2), (5, 8), (16, 16), (40, 16)])
def test_lanes_are_no_more_than_rows_ask_for(rows: int, expected: int) -> None:
    assert lanes.lanes_for(small(), rows, 16) == expected


def test_a_large_network_keeps_its_rows() -> None:
    W, h, u = value("W", 200, 200), value("h", 200), value("u", 200)
    loop = Loop((Op("matvec", (W, h), u, {"transposed": False}),), shared=(W,), carried=(Carry(h, u),))
    assert not lanes.pays(loop, 16, 16)


@pytest.mark.parametrize("B", [16, 21])
def test_a_population_through_scan_is_the_networks_one_by_one(B: int) -> None:
    """Values and gradients, in float64, where the plain path takes one row after the other."""
    cell = FullyRecurrent(2, 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    named = dict(cell.named_parameters())
    params = {name: torch.randn(B, *p.shape, generator=generator, dtype=torch.float64) / 2 for name, p in named.items()}
    together = {name: p.clone().requires_grad_() for name, p in params.items()}
    x = torch.randn(7, B, 1, 2, generator=generator, dtype=torch.float64)
    outputs = carousel.scan(cell, x, params=together, backend="native")[0]
    (outputs**2).sum().backward()
    for n in range(B):
        own = {name: p[n].clone().requires_grad_() for name, p in params.items()}
        alone = torch.func.functional_call(_Scanned(cell), {f"cell.{name}": p for name, p in own.items()}, (x[:, n],))
        (alone**2).sum().backward()
        torch.testing.assert_close(outputs[:, n], alone, rtol=0, atol=1e-12)
        for name, p in own.items():
            torch.testing.assert_close(together[name].grad[n], p.grad, rtol=0, atol=1e-11)


class _Scanned(torch.nn.Module):
    def __init__(self, cell: carousel.Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return carousel.scan(self.cell, x)[0]


def test_networks_with_weights_of_their_own(agree: Callable[..., Any]) -> None:
    agree(small(), T=5, B=7)
    agree(small(), T=5, B=7, threads=2)
