"""RTRL: against full BPTT and finite differences for every cell of the table, against the paper by hand, and SnAp-1."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from carousel import Batch, Cell, Stack, scan
from carousel.cells import GRU, LSTM, LSTM1997, Elman, Embedding, FullyRecurrent, LearnedStart, Window
from carousel.errors import InputError
from carousel.learn import RTRL, half_squared_error, objective, rtrl, stream
from cell_table import CELLS, arguments, build
from equations import sigmoid

REFUSED = {
    "window-0": "with parameters",
    "window-2": "with parameters",
    "mean": "with parameters",
    "dropout": "with parameters",
    "embedding": "with a state",
    "stack-window-mlp": None,
}
T, B = 5, 2


def squares(y: Any, target: Any) -> Tensor:
    return sum(((a - b) ** 2).sum() for a, b in zip(floats(y), floats(target), strict=True)) / 2


def floats(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if leaf.is_floating_point()]


def given(cell: Cell) -> Batch:
    """Sequences of differing lengths, with targets of the outputs' shapes at some steps."""
    inputs = arguments(cell, T, B)["inputs"]
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        y, _ = scan(cell, inputs, backend="eager")
    targets = pytree.tree_map(lambda leaf: torch.randn(leaf.shape, generator=draw, dtype=torch.float64).to(leaf.dtype), y)
    lengths = torch.tensor([T, T - 2])
    mask = (torch.arange(T)[:, None] < lengths) & (torch.arange(T)[:, None] != 1)
    return Batch(inputs, targets, mask, lengths)


def bptt_gradient(cell: Cell, batch: Batch, loss: Any = squares) -> dict[str, Tensor]:
    """The sum over sequences."""
    cell.zero_grad()
    value = objective(scan(cell, batch.inputs, lengths=batch.lengths, backend="eager")[0], batch, loss) * batch.size
    value.backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in cell.named_parameters()}


def rule_gradients(learner: RTRL, cell: Cell, batch: Batch, backend: str, loss: Any = squares) -> dict[str, Tensor]:
    """As `bptt_gradient`, each sequence of the batch a row by itself."""
    online = learner.cell(cell, loss, 1.0)
    total: dict[str, Any] = dict.fromkeys(dict(cell.named_parameters()), 0)
    for b in range(batch.size):
        tree = pytree.tree_map(lambda leaf, b=b: leaf[:, b : b + 1], (batch.inputs, batch.targets, batch.mask))
        with torch.no_grad():
            _, final = scan(online, stream(Batch(*tree, batch.lengths[b : b + 1])), backend=backend)
        for name, parameter in cell.named_parameters():
            total[name] = total[name] + (parameter.detach() - final.parameters[name][0])
    return total


@pytest.mark.parametrize("backend", ["eager", "native"])
@pytest.mark.parametrize("name", [name for name in CELLS if name not in REFUSED and name != "context"])
def test_a_sequences_gradient_is_that_of_full_bptt(name: str, backend: str) -> None:
    cell = build(name).eval()
    batch = given(cell)
    expected, got = bptt_gradient(cell, batch), rule_gradients(RTRL(every="sequence"), cell, batch, backend)
    for parameter, value in expected.items():
        torch.testing.assert_close(got[parameter], value, rtol=1e-9, atol=1e-10, msg=parameter)


@pytest.mark.parametrize("name", [name for name in REFUSED if REFUSED[name]])
def test_networks_without_state_or_parameters_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"expected a network {REFUSED[name]}"):
        RTRL().cell(build(name).eval(), squares, 0.1)
