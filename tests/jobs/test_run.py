"""The folder of a run: what the jobs share in using it."""

import numpy as np
import torch

from carousel import Stack
from carousel.cells import GRU, LSTM, Window
from carousel.jobs.run import gates


def test_gates_are_those_that_the_steps_compute_from() -> None:
    torch.manual_seed(0)
    cell = Stack(LSTM(2, 3), GRU(3, 4)).eval()
    inputs = torch.randn(9, 2)
    for last in (4, 9, 20):
        found = gates(cell, inputs, last)
        state, expected = cell.initial_state(), []
        with torch.no_grad():
            for x in inputs:
                expected.append(cell.gates(x, state))
                _, state = cell.step(x, state)
        assert set(found) == set(expected[0])
        for name, values in found.items():
            np.testing.assert_allclose(values, torch.stack([step[name] for step in expected[-last:]]), atol=1e-6)


def test_a_network_without_gates_has_none() -> None:
    assert gates(Stack(Window(2, 1)), torch.randn(5, 1), 3) == {}
