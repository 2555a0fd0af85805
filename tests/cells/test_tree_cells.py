"""The cells over trees against their papers' equations in NumPy float64, and their numbers of parameters."""

from typing import Any

import numpy as np
import pytest
import torch

from carousel import Forest, InputError, TreeCell, fold
from carousel.cells import RNTN, ChildSumTreeLSTM, NaryTreeLSTM, RecursiveNet, TreeGRU

I, H = 3, 2
TREE = [[], [], [0, 1], [], [2, 3]]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def run(cell: TreeCell, trees: list[list[list[int]]]) -> tuple[dict[str, Any], Any, Any]:
    """(parameters, x, outputs) as NumPy arrays."""
    cell = cell.double()
    forest = Forest.of(trees)
    x = torch.randn(forest.nodes, cell.input_size or I, dtype=torch.double, generator=torch.Generator().manual_seed(3))
    outputs, _ = fold(cell, forest, x)
    weights = {name: parameter.detach().numpy() for name, parameter in cell.named_parameters()}
    return weights, x.numpy(), outputs.detach().numpy()


def test_the_plain_recursive_network() -> None:
    p, x, outputs = run(RecursiveNet(H), [TREE])
    h = [x[0], x[1], None, x[3], None]
    for node, (left, right) in ((2, (0, 1)), (4, (2, 3))):
        h[node] = np.tanh(p["W"] @ np.concatenate([h[left], h[right]]) + p["b"])
    np.testing.assert_allclose(outputs, np.stack(h), rtol=1e-12)


def test_the_recursive_neural_tensor_network() -> None:
    p, x, outputs = run(RNTN(H), [TREE])
    h = [x[0], x[1], None, x[3], None]
    for node, (left, right) in ((2, (0, 1)), (4, (2, 3))):
        below = np.concatenate([h[left], h[right]])
        pairs = np.array([below @ p["V"][d] @ below for d in range(H)])
        h[node] = np.tanh(pairs + p["W"] @ below + p["b"])
    np.testing.assert_allclose(outputs, np.stack(h), rtol=1e-12)


@pytest.mark.parametrize("inner_inputs", [False, True])
def test_the_nary_tree_lstm(inner_inputs: bool) -> None:
    p, x, outputs = run(NaryTreeLSTM(I, H, inner_inputs=inner_inputs), [TREE])
    b_i, b_o, b_u, b_f = np.split(p["b"], 4)
    W_i, W_o, W_u, *W_f = np.split(p["W"], len(p["W"]) // H)
    U_i, U_o, U_u, U_f1, U_f2 = np.split(p["U"], 5)  # each (H, 2 H): for the first child and the second one
    h, c = np.zeros((5, H)), np.zeros((5, H))
    for node, own in enumerate(TREE):
        reads = 1.0 if inner_inputs or not own else 0.0
        below = np.concatenate([h[own[0]], h[own[1]]]) if own else np.zeros(2 * H)
        i = sigmoid(reads * W_i @ x[node] + U_i @ below + b_i)
        o = sigmoid(reads * W_o @ x[node] + U_o @ below + b_o)
        u = np.tanh(reads * W_u @ x[node] + U_u @ below + b_u)
        c[node] = i * u
        for child, U_f in zip(own, (U_f1, U_f2), strict=False):
            given = W_f[0] @ x[node] if inner_inputs else 0
            c[node] += sigmoid(given + U_f @ below + b_f) * c[child]
        h[node] = o * np.tanh(c[node])
    np.testing.assert_allclose(outputs, h, rtol=1e-12)


def test_the_child_sum_tree_lstm() -> None:
    tree = [[], [], [], [0, 1, 2], [3]]
    p, x, outputs = run(ChildSumTreeLSTM(I, H), [tree])
    W_i, W_o, W_u, W_f = np.split(p["W"], 4)
    U_i, U_o, U_u = np.split(p["U"], 3)
    b_i, b_o, b_u, b_f = np.split(p["b"], 4)
    h, c = np.zeros((5, H)), np.zeros((5, H))
    for node, own in enumerate(tree):
        before = sum((h[child] for child in own), np.zeros(H))
        i = sigmoid(W_i @ x[node] + U_i @ before + b_i)
        o = sigmoid(W_o @ x[node] + U_o @ before + b_o)
        u = np.tanh(W_u @ x[node] + U_u @ before + b_u)
        c[node] = i * u + sum(sigmoid(W_f @ x[node] + p["U_f"] @ h[child] + b_f) * c[child] for child in own)
        h[node] = o * np.tanh(c[node])
    np.testing.assert_allclose(outputs, h, rtol=1e-12)


def test_the_tree_gru() -> None:
    tree = [[], [], [], [0, 1, 2], [3]]
    p, x, outputs = run(TreeGRU(I, H), [tree])
    W_z, W_r, W = np.split(p["W"], 3)
    b_z, b_r, b = np.split(p["b"], 3)
    U_z, U_r, U = p["U"]
    h = np.zeros((5, H))
    for node, own in enumerate(tree):
        before = sum((h[child] for child in own), np.zeros(H))
        z = sigmoid(W_z @ x[node] + U_z @ before + b_z)
        let_through = sum((sigmoid(W_r @ x[node] + U_r @ h[child] + b_r) * h[child] for child in own), np.zeros(H))
        new = np.tanh(W @ x[node] + U @ let_through + b)
        h[node] = (1 - z) * new + z * before
    np.testing.assert_allclose(outputs, h, rtol=1e-12)


def test_numbers_of_parameters() -> None:
    """Counted from the equations; d = 150 and x of 300 are the sizes of Tai et al."""

    def count(cell: TreeCell) -> int:
        return sum(parameter.numel() for parameter in cell.parameters())

    d, x = 150, 300
    assert count(NaryTreeLSTM(x, d)) == 3 * d * x + 5 * d * 2 * d + 4 * d
    assert count(ChildSumTreeLSTM(x, d)) == 4 * d * x + 4 * d * d + 4 * d
    assert count(RNTN(25)) == 25 * 50 * 50 + 25 * 50 + 25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecursiveNet(0), "RecursiveNet: expected hidden_size of 1 or more, got 0"),
        (lambda: RNTN(2, arity=0), "RNTN: expected arity of 1 or more, got 0"),
        (lambda: NaryTreeLSTM(2, 2, arity=0), "NaryTreeLSTM: expected arity of 1 or more, got 0"),
        (lambda: ChildSumTreeLSTM(0, 2), "ChildSumTreeLSTM: expected input_size of 1 or more, got 0"),
        (lambda: TreeGRU(2, 0), "TreeGRU: expected hidden_size of 1 or more, got 0"),
    ],
)
def test_sizes_below_one_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
