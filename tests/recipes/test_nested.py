"""The recipe of nested expressions: its own cell against NumPy, and a unit of each network."""

import json

import numpy as np
import pytest
import torch

from carousel.forest import Forest, fold
from carousel.recipes import load, nested


def softmax(values):
    made = np.exp(values - values.max())
    return made / made.sum()


def test_table_net_against_numpy():
    torch.manual_seed(0)
    cell = nested.TableNet(4, 3).double()
    A, T = cell.A.detach().numpy(), cell.T.detach().numpy().reshape(3, 4, 3, 3)
    x = np.eye(4)[[0, 1, 2, 2, 3]]
    outputs, _ = fold(cell, Forest.of([[[], [], [0, 1], [], [2, 3]]]), torch.tensor(x))
    leaves = [softmax(A @ x[node]) for node in (0, 1, 3)]
    inner = softmax(np.einsum("ksij,s,i,j->k", T, x[2], leaves[0], leaves[1]))
    root = softmax(np.einsum("ksij,s,i,j->k", T, x[4], inner, leaves[2]))
    np.testing.assert_allclose(outputs.detach().numpy(), [leaves[0], leaves[1], inner, leaves[2], root], rtol=1e-12)


@pytest.mark.parametrize("row", ["arithmetic-table", "lists-tree-lstm", "boolean-lstm-text", "arithmetic-gru-text"])
def test_a_unit_trains_and_is_tested_at_every_depth(row, monkeypatch):
    monkeypatch.setattr(nested, "TESTS", 5)
    unit = nested.run_unit(row, 0, budget=64)
    assert json.loads(json.dumps(unit)) == unit
    assert list(unit["measures"]) == [f"accuracy at {depth}" for depth in nested.DEPTHS]


def test_the_picture_has_a_panel_for_each_language():
    summary = {f"accuracy at {depth}": {"mean": 90.0} for depth in nested.DEPTHS}
    rows = [{"row": row.name, "summary": summary} for row in load("nested").rows]
    assert [axes.get_title() for axes in nested.by_depth(rows).axes] == ["arithmetic", "boolean", "lists"]
