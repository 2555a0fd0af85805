"""Recompute a cell from its equations in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from carousel.cell import Cell


def sigmoid(net: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-net))


def relu(net: np.ndarray) -> np.ndarray:
    return np.maximum(net, 0)


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    """U[0, 1) draws: the noise a cell is given."""
    return np.random.default_rng(seed).random(shape)


def check_equations(
    cell: Cell,
    equations: Callable[[dict[str, np.ndarray], np.ndarray, Any], tuple[np.ndarray, Any]],
    noise: Callable[[int], dict[str, np.ndarray]] | None = None,
    steps: int = 4,
    start: Any = None,
) -> None:
    """`equations(weights, x, state) -> (y, state)` in NumPy gives what the cell gives, step after step.

    state is a list of arrays, the leaves of the cell's state; it starts as `start`, or at random. `noise(t)`
    is what the cell is given in step t; None: nothing (evaluation).
    """
    cell = cell.double()
    rng = np.random.default_rng(1)
    weights = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    leaves, spec = pytree.tree_flatten(cell.initial_state() if start is None else start)
    drawn = start is None
    expected_state = [rng.uniform(-1, 1, leaf.shape) if drawn else leaf.detach().numpy() for leaf in leaves]
    state = pytree.tree_unflatten([torch.from_numpy(leaf) for leaf in expected_state], spec)
    for t in range(steps):
        x = rng.uniform(-2, 2, cell.input_size)
        extra = {} if noise is None else {"noise": {name: torch.from_numpy(draw) for name, draw in noise(t).items()}}
        y, state = cell.step(torch.from_numpy(x), state, **extra)
        expected_y, expected_state = equations(weights, x, expected_state)
        close(y, expected_y)
        for leaf, expected in zip(pytree.tree_leaves(state), expected_state, strict=True):
            close(leaf, expected)


def close(value: torch.Tensor, expected: np.ndarray) -> None:
    assert value.dtype == torch.float64
    np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-11, atol=1e-13)


def parameter_count(cell: Cell) -> int:
    return sum(parameter.numel() for parameter in cell.parameters())
