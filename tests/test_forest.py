"""Forest: numbering, selection, schedules, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carousel import Forest, InputError

TREES = [[[], [], [0, 1]], [[]], [[], [0], [], [1, 2]]]


@st.composite
def forests(draw, most=4):
    """Any trees of up to 12 nodes with up to `most` children, children before parents."""
    trees = []
    for _ in range(draw(st.integers(1, 4))):
        open_nodes, tree = [], []
        for _ in range(draw(st.integers(1, 12))):
            count = draw(st.integers(0, min(len(open_nodes), most)))
            own = [open_nodes.pop() for _ in range(count)][::-1]
            tree.append(own)
            open_nodes.append(len(tree) - 1)
        while len(open_nodes) > 1:
            own = [open_nodes.pop() for _ in range(min(len(open_nodes), max(most, 2)))][::-1]
            tree.append(own)
            open_nodes.append(len(tree) - 1)
        trees.append(tree)
    return trees


def test_nodes_are_numbered_tree_after_tree():
    forest = Forest.of(TREES, torch.arange(8))
    assert len(forest) == 3
    assert forest.nodes == 8
    assert forest.roots.tolist() == [2, 3, 7]
    assert forest.children.tolist() == [[-1, -1], [-1, -1], [0, 1], [-1, -1], [-1, -1], [4, -1], [-1, -1], [5, 6]]
    assert forest.heights.tolist() == [0, 0, 1, 0, 0, 1, 0, 2]


def test_select_takes_trees_with_their_inputs():
    forest = Forest.of(TREES, torch.arange(8))
    chosen = forest.select([2, 0, 2])
    assert chosen.inputs.tolist() == [4, 5, 6, 7, 0, 1, 2, 4, 5, 6, 7]
    assert chosen.roots.tolist() == [3, 6, 10]
    assert chosen.children[chosen.roots].tolist() == [[1, 2], [4, 5], [8, 9]]
    assert torch.equal(forest.nodes_of([2, 0, 2]), chosen.inputs)


@settings(max_examples=40, deadline=None)
@given(forests())
def test_a_schedule_has_children_before_parents_and_every_child_once(trees):
    forest = Forest.of(trees)
    schedule = forest.schedule
    n, inner = forest.nodes, len(schedule.children)
    assert torch.equal(schedule.order[schedule.place], torch.arange(n))
    bounds = [0, *(schedule.leaves + offset for offset in schedule.offsets)]
    for row, children in enumerate(schedule.children.tolist()):
        node = schedule.order[schedule.leaves + row]
        assert [schedule.order[child] for child in children if child < n] == [c for c in forest.children[node] if c >= 0]
        here = next(start for start, stop in pairwise(bounds) if start <= schedule.leaves + row < stop)
        assert all(child < here or child == n for child in children)
    flat = schedule.children.reshape(-1)
    for packed, slots in enumerate(schedule.parents.tolist()):
        assert [slot for slot in slots if slot < flat.numel()] == np.flatnonzero(flat == packed).tolist()
    assert inner == sum(bool(own) for tree in trees for own in tree)


def test_parents_in_any_order():
    forest, orders = Forest.of_parents([[2, -1, 1, 1, 2]])
    assert sorted(orders[0]) == [0, 1, 2, 3, 4]
    parents = {}
    for node, own in enumerate(forest.children.tolist()):
        parents |= {orders[0][child]: orders[0][node] for child in own if child >= 0}
    assert parents == {0: 2, 2: 1, 3: 1, 4: 2}
    left_to_right = [orders[0][child] for child in forest.children[forest.roots[0]] if child >= 0]
    assert left_to_right == [2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Forest.of([[]]), "tree 0 has no node"),
        (lambda: Forest.of([[[]], [[], [2]]]), r"expected children of node 1 of tree 1 in 0\.\.0, got \[2\]"),
        (lambda: Forest.of([[[], [-1]]]), r"expected children of node 1 of tree 0 in 0\.\.0, got \[-1\]"),
        (lambda: Forest.of([[[]]], torch.zeros(2, 3)), r"expected inputs \(1, \.\.\.\) for 1 nodes, got \(2, 3\)"),
        (lambda: Forest.of_parents([[0]]), r"expected one root \(parent -1\) in tree 0, got 0"),
        (lambda: Forest.of_parents([[-1, -1]]), "got 2"),
        (lambda: Forest.of_parents([[-1, 5]]), r"expected the parent of node 1 of tree 0 in -1\.\.1, got 5"),
        (lambda: Forest.of_parents([[-1, 2, 1]]), "node 1 of tree 0 does not lead to the root"),
    ],
)
def test_what_is_no_tree_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
