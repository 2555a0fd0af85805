"""fold: native against PyTorch, a forest against its trees one by one, gradients against finite differences, odd shapes."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from carousel import Forest, InputError, TreeCell, engine, fold, scan
from carousel.cells import RNTN, ChildSumTreeLSTM, Elman, NaryTreeLSTM, RecursiveNet, TreeGRU
from carousel.engine import reference, scan_function
from test_forest import forests

CELLS = {
    "recursive": lambda: RecursiveNet(3, arity=4),
    "rntn": lambda: RNTN(2, arity=4),
    "nary": lambda: NaryTreeLSTM(3, 2, arity=4),
    "nary-inner": lambda: NaryTreeLSTM(3, 2, arity=4, inner_inputs=True),
    "child-sum": lambda: ChildSumTreeLSTM(3, 2),
    "gru": lambda: TreeGRU(3, 2),
}


def cell_of(name: str) -> TreeCell:
    torch.manual_seed(0)
    return CELLS[name]().double()


def inputs_of(forest: Forest, cell: TreeCell) -> Tensor:
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(forest.nodes, cell.input_size or 1, generator=drawn, dtype=torch.double).requires_grad_()


def gradients(outputs: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2), dtype=outputs.dtype)
    found = torch.autograd.grad((outputs * weights).sum(), wanted, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(wanted, found, strict=True)]


@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=10, deadline=None)
@given(trees=forests())
def test_native_is_what_pytorch_computes_and_a_forest_is_its_trees(name: str, trees: Any) -> None:
    cell = cell_of(name)
    forest = Forest.of(trees)
    x = inputs_of(forest, cell)
    found = []
    for backend in ("native", "eager"):
        outputs, states = fold(cell, forest, x, backend=backend)
        found.append((outputs, states, gradients(outputs, [x, *cell.parameters()])))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
    for b in range(len(forest)):
        nodes = forest.nodes_of([b])
        alone, _ = fold(cell, forest.select([b]), x[nodes])
        torch.testing.assert_close(alone, found[0][0][nodes], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    cell = cell_of(name)
    forest = Forest.of([[[], [], [0, 1], [], [2, 3]], [[]], [[], [0], [], [], [1, 2, 3]]])

    def outputs(x: Tensor, *parameters: Tensor) -> Tensor:
        return fold(cell, forest, x)[0]

    assert torch.autograd.gradcheck(outputs, (inputs_of(forest, cell), *cell.parameters()))


def test_a_shared_node_gets_the_gradient_of_all_its_parents() -> None:
    cell = cell_of("child-sum")
    shared = Forest.of([[[], [0], [0], [0, 1, 2]]])  # node 0 is a child of all others
    copies = Forest.of([[[], [], [1], [], [3], [0, 2, 4]]])
    x = inputs_of(shared, cell)
    of_shared = [0, 0, 1, 0, 2, 3]
    one, other = fold(cell, shared, x)[0][-1], fold(cell, copies, x[of_shared])[0][-1]
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(gradients(one, [x]), gradients(other, [x]))


class ElmanTree(TreeCell):
    """Elman's network on a right-branching tree: the first child is a word, the second the rest of the sentence."""

    arity = 2
    input_size, output_size = 3, 4

    def __init__(self, elman: Elman) -> None:
        super().__init__()
        self.elman = elman

    def leaf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.elman.initial_state(), x

    def merge(self, x: Tensor, children: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, word = children
        new = self.elman(word[0], h[1])[0]
        return new, torch.zeros_like(word[0])


def test_a_right_branching_tree_is_a_recurrent_network() -> None:
    elman = Elman(3, 4).double()
    words = torch.randn(6, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    tree: list[list[int]] = [[]]  # the end of the sentence
    for _ in range(6):
        tree += [[], [len(tree), len(tree) - 1]]
    x = torch.zeros(len(tree), 3, dtype=torch.double)
    x[1::2] = words
    outputs, _ = fold(ElmanTree(elman), Forest.of([tree]), x)
    expected, _ = scan(elman, words[:, None])
    torch.testing.assert_close(outputs[2::2], expected[:, 0])
    torch.testing.assert_close(
        gradients(outputs[-1], list(elman.parameters())), gradients(expected[-1, 0], list(elman.parameters()))
    )


@pytest.mark.parametrize("backend", ["native", "eager"])
def test_a_tree_of_depth_10000_hits_no_limit(backend: str) -> None:
    cell = TreeGRU(2, 3)
    deep = Forest.of([[[], *([n] for n in range(10_000))]])
    x = torch.randn(deep.nodes, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    outputs, _ = fold(cell, deep, x, backend=backend)
    assert torch.isfinite(outputs).all()
    if backend == "native":
        (found,) = torch.autograd.grad(outputs[-1].sum(), x)
        assert found[-1].abs().sum() > 0


@pytest.mark.parametrize("backend", ["native", "eager"])
def test_single_leaves_and_no_tree_at_all(backend: str) -> None:
    cell = cell_of("child-sum")
    for forest in (Forest.of([[[]], [[]]]), Forest.of([])):
        x = inputs_of(forest, cell)
        outputs, states = fold(cell, forest, x, backend=backend)
        assert outputs.shape == states.c.shape == (forest.nodes, 2)


def test_other_shapes_and_numbers_of_children_are_no_other_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    captures = []
    real = scan_function.capture
    monkeypatch.setattr(scan_function, "capture", lambda *given: captures.append(1) or real(*given))
    cell = ChildSumTreeLSTM(2, 5)
    for most in range(1, 17):
        star = Forest.of([[*([] for _ in range(most)), list(range(most))]])
        fold(cell, star, torch.zeros(star.nodes, 2))
    assert len(captures) == 5  # 1, 2, 4, 8 and 16 children


def test_the_same_again_gives_the_same_bits() -> None:
    cell = cell_of("child-sum").float()
    forest = Forest.of([[[], [], [0, 1], [0, 2], [2, 3]]] * 3)
    x = inputs_of(forest, cell).detach().float().requires_grad_()
    first, second = (gradients(fold(cell, forest, x)[0], [x, *cell.parameters()]) for _ in range(2))
    assert all(map(torch.equal, first, second))


class Unknown(TreeCell):
    input_size = output_size = 2
    arity = 2

    def leaf(self, x: Tensor) -> Tensor:
        return x

    def merge(self, x: Tensor, children: Tensor) -> Tensor:
        return torch.lgamma(1 + children.square().sum(0))


class Wrong(Unknown):
    def merge(self, x: Tensor, children: Tensor) -> Tensor:
        return children


def test_what_native_code_does_not_know_is_left_to_pytorch_and_refused_by_name() -> None:
    forest = Forest.of([[[], [], [0, 1]]], torch.ones(3, 2))
    torch.testing.assert_close(fold(Unknown(), forest), fold(Unknown(), forest, backend="eager"))
    with pytest.raises(InputError, match="lgamma"):
        fold(Unknown(), forest, backend="native")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda forest: fold(Elman(2, 2), forest), r"fold: expected a carousel.TreeCell, got Elman"),
        (
            lambda forest: scan(RecursiveNet(2), torch.zeros(3, 1, 2)),
            r"RecursiveNet is a cell over trees; run it with carousel.fold",
        ),
        (lambda forest: fold(RecursiveNet(2, arity=1), forest), r"RecursiveNet takes 1 children a node, node 2 has 2"),
        (lambda forest: fold(RecursiveNet(3), forest), r"expected inputs \(3, 3\) for RecursiveNet, got \(3, 2\)"),
        (
            lambda forest: fold(RecursiveNet(2), forest, torch.zeros(4, 2)),
            r"expected inputs \(3, \.\.\.\), one for each node, got \(4, 2\)",
        ),
        (lambda forest: fold(RecursiveNet(2), Forest.of([[[]]])), "fold: expected inputs, in the forest or beside it"),
        (lambda forest: fold(RecursiveNet(2), forest, backend="fast"), "fold: unknown backend 'fast'"),
        (lambda forest: fold(Wrong(), forest), r"Wrong.merge must return a state like the one it got: expected state \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(Forest.of([[[], [], [0, 1]]], torch.ones(3, 2)))


class Weighted(TreeCell):
    """A cell of one's own: a weighted mean of the children by a learned score."""

    input_size = output_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.ones(2))

    def leaf(self, x: Tensor) -> Tensor:
        return x

    def merge(self, x: Tensor, children: Tensor) -> Tensor:
        return x + torch.softmax(children @ self.score, 0) @ children


def test_a_cell_of_ones_own_runs_natively() -> None:
    forest = Forest.of([[[], [], [0, 1], [], [2, 3]]], torch.randn(5, 2, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(fold(Weighted(), forest, backend="native"), fold(Weighted(), forest, backend="eager"))


class Twice(TreeCell):
    """A state of two parts that a node makes alike and a leaf does not."""

    input_size = output_size = arity = 2

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double))

    def leaf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, 2 * x

    def merge(self, x: Tensor, children: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.W @ (children[0] + children[1]).reshape(-1) + x)
        return h, h


def test_a_state_whose_parts_are_one_value_runs_natively() -> None:
    cell = Twice()
    forest = Forest.of([[[], [], [0, 1], [], [2, 3], [4, 4]], [[], [0]]])
    x = inputs_of(forest, cell)
    found = []
    for backend in ("native", "eager"):
        outputs, states = fold(cell, forest, x, backend=backend)
        found.append((outputs, states, gradients(outputs + 3 * states[1], [x, cell.W])))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("hidden", [6, 260])  # the matrices of the larger are read by all threads together
def test_threads_share_the_nodes_of_a_height(threads: int, hidden: int) -> None:
    torch.manual_seed(0)
    cell = NaryTreeLSTM(3, hidden)
    star = [[], [], [0, 1], [], [2, 3], [], [], [5, 6], [4, 7]]
    forest = Forest.of([star, [[]], *[star] * 20])
    x = torch.randn(forest.nodes, 3).requires_grad_()
    sides = []
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for backend in ("native", "native", "eager"):
            outputs, _ = fold(cell, forest, x, backend=backend)
            sides.append([outputs, *gradients(outputs, [x, *cell.parameters()])])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, sides[0], sides[1]))
    for ours, theirs in zip(sides[0], sides[2], strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_the_reference_lowering_runs_over_heights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_of("child-sum")
    forest = Forest.of([[[], [], [0, 1], [0, 2], [1, 2, 3]]])
    x = inputs_of(forest, cell)
    expected = gradients(fold(cell, forest, x, backend="native")[0], [x, *cell.parameters()])
    monkeypatch.setattr(engine, "LOWERING", reference.Reference())
    found = gradients(fold(cell, forest, x, backend="native")[0], [x, *cell.parameters()])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
