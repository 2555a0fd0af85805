"""Forest: trees side by side; and fold, the only loop over them, for all nodes of a height at once.

A node has children, or it is a leaf. In a DAG a node is a child of several. All trees of a forest are
numbered together, each tree's nodes one after the other, children before their parents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel import engine
from carousel.cell import State, TreeCell
from carousel.engine.levels import Levels
from carousel.errors import InputError
from carousel.torch_private import pytree

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Forest:
    """B trees with n nodes in all.

    Attributes:
        inputs:    tree of (n, ...), what each node reads; None where no node reads anything.
        children:  (n, K) int64, the numbers of each node's children, -1 past its last one; a child's number is smaller.
        starts:    (B + 1,) int64: tree b has the nodes starts[b] .. starts[b + 1] - 1, the last of which is its root.
    """

    inputs: Any
    children: Numbers
    starts: Numbers

    @classmethod
    def of(cls, trees: Sequence[Sequence[Sequence[int]]], inputs: Any = None) -> Forest:
        """The forest of trees given by each node's children, numbered within the tree, children before parents, the root last.

        Args:
            trees:   of each tree, of each node the numbers of its children; none for a leaf.
            inputs:  tree of (n, ...), in the order of the nodes, tree after tree.

        Raises:
            InputError: a tree without a node, a child that does not come before its parent, inputs for another number of nodes.
        """
        sizes = [len(tree) for tree in trees]
        if 0 in sizes:
            raise InputError(f"Forest: tree {sizes.index(0)} has no node")
        starts = np.cumsum([0, *sizes], dtype=np.int64)
        most = max((len(own) for tree in trees for own in tree), default=0)
        children = np.full((int(starts[-1]), most), -1, np.int64)
        for b, (tree, start) in enumerate(zip(trees, starts, strict=False)):
            for node, own in enumerate(tree):
                if own and not 0 <= min(own) <= max(own) < node:
                    raise InputError(f"Forest: expected children of node {node} of tree {b} in 0..{node - 1}, got {list(own)}")
                children[start + node, : len(own)] = [start + child for child in own]
        return cls(inputs, children, starts)._checked()

    @classmethod
    def of_parents(cls, parents: Sequence[Sequence[int]], inputs: Any = None) -> tuple[Forest, list[list[int]]]:
        """(forest, of each tree the given number of each of its nodes) of trees given by each node's parent, -1 for the root.

        The nodes may come in any order. `inputs` are in the order of the forest's nodes; see the second result.

        Raises:
            InputError: a tree without exactly one root, a parent that is no node, a circle.
        """
        trees, orders = [], []
        for b, own in enumerate(parents):
            roots = [node for node, parent in enumerate(own) if parent == -1]
            if len(roots) != 1:
                raise InputError(f"Forest: expected one root (parent -1) in tree {b}, got {len(roots)}")
            below: list[list[int]] = [[] for _ in own]
            for node, parent in enumerate(own):
                if not -1 <= parent < len(own):
                    raise InputError(f"Forest: expected the parent of node {node} of tree {b} in -1..{len(own) - 1}, got {parent}")
                if parent != -1:
                    below[parent].append(node)
            order, pending = [], roots
            while pending:  # parents first, the last child's subtree before the first one's
                order.append(pending.pop())
                pending.extend(below[order[-1]])
            if len(order) != len(own):
                missing = min(set(range(len(own))) - set(order))
                raise InputError(f"Forest: node {missing} of tree {b} does not lead to the root: its parents go in a circle")
            order.reverse()
            number = {node: n for n, node in enumerate(order)}
            trees.append([[number[child] for child in below[node]] for node in order])
            orders.append(order)
        return cls.of(trees, inputs), orders

    def _checked(self) -> Forest:
        for leaf in pytree.tree_leaves(self.inputs) if self.inputs is not None else ():
            if not isinstance(leaf, Tensor) or leaf.shape[:1] != (self.nodes,):
                got = tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__
                raise InputError(f"Forest: expected inputs ({self.nodes}, ...) for {self.nodes} nodes, got {got}")
        return self

    def __len__(self) -> int:
        """B, the number of trees."""
        return len(self.starts) - 1

    @property
    def nodes(self) -> int:
        """n, the number of nodes of all trees."""
        return int(self.starts[-1])

    @property
    def roots(self) -> Tensor:
        """(B,) int64, the number of each tree's root."""
        return torch.from_numpy(self.starts[1:] - 1)

    def select(self, trees: Sequence[int] | Numbers) -> Forest:
        """The forest of these trees, in this order; a tree may come more than once."""
        chosen = np.asarray(trees, np.int64)
        sizes = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], sizes.cumsum()]).astype(np.int64)
        shift = np.repeat(starts[:-1] - self.starts[chosen], sizes)  # of each node's number
        nodes = np.arange(starts[-1]) - shift
        children = self.children[nodes]
        children = np.where(children < 0, -1, children + shift[:, None])
        at = torch.from_numpy(nodes)
        inputs = None if self.inputs is None else pytree.tree_map(lambda leaf: leaf[at], self.inputs)
        return Forest(inputs, children, starts)

    def nodes_of(self, trees: Sequence[int] | Numbers) -> Tensor:
        """The numbers of these trees' nodes, tree after tree: where `select` takes its nodes from."""
        return torch.from_numpy(np.concatenate([np.arange(self.starts[b], self.starts[b + 1]) for b in trees] or [np.arange(0)]))

    def to(self, device: torch.device | str) -> Forest:
        """The same forest with its inputs on another device."""
        return replace(self, inputs=pytree.tree_map(lambda leaf: leaf.to(device), self.inputs))

    @cached_property
    def heights(self) -> Numbers:
        """(n,) of each node the longest way down to a leaf; 0 for a leaf."""
        heights = np.zeros(self.nodes, np.int64)
        waiting = np.flatnonzero((self.children >= 0).any(axis=1))
        below = self.children[waiting]
        height = 0
        done = np.ones(self.nodes + 1, bool)  # the last entry stands for no child
        done[waiting] = False
        while len(waiting):
            height += 1
            ready = done[below].all(axis=1)
            heights[waiting[ready]] = height
            done[waiting[ready]] = True
            waiting, below = waiting[~ready], below[~ready]
        return heights

    @cached_property
    def schedule(self) -> Schedule:
        """In which order a fold comes to the nodes."""
        return _schedule(self)


@dataclass(frozen=True)
class Schedule:
    """The nodes of a forest by height, so that all of a height are made at once. Packed, the leaves come first.

    Attributes:
        order:     (n,) the node at each packed place.
        place:     (n,) the packed place of each node.
        leaves:    how many nodes are leaves.
        offsets:   the nodes of height 1, 2, ... are those at offsets[0]..offsets[1], offsets[1]..offsets[2], ... past the leaves.
        children:  (n - leaves, K) packed places of their children; n where there is none.
        parents:   (n, P) of each packed node its places in the rows of `children`, flat; their number, (n - leaves) * K, for none.
    """

    order: Tensor
    place: Tensor
    leaves: int
    offsets: list[int]
    children: Tensor
    parents: Tensor


def _schedule(forest: Forest) -> Schedule:
    n, heights = forest.nodes, forest.heights
    order = np.argsort(heights, kind="stable")
    place = np.empty(n + 1, np.int64)
    place[order] = np.arange(n)
    place[n] = n  # no child
    counts = np.bincount(heights, minlength=1)
    leaves = int(counts[0]) if n else 0
    children = place[np.where(forest.children < 0, n, forest.children)][order[leaves:]]
    flat = children.reshape(-1)
    slots = np.argsort(flat, kind="stable")[: int((flat < n).sum())]  # by child, a child's places in their order
    of = flat[slots]
    first = np.searchsorted(of, np.arange(n))
    rank = np.arange(len(of)) - first[of]
    parents = np.full((n, int(rank.max(initial=0)) + 1), flat.size, np.int64)
    parents[of, rank] = slots
    as_tensor = torch.from_numpy
    offsets = [0, *counts[1:].cumsum().tolist()]
    return Schedule(as_tensor(order), as_tensor(place[:n]), leaves, offsets, as_tensor(children), as_tensor(parents))


def fold(cell: TreeCell, forest: Forest, inputs: Any = None, *, backend: str = "auto") -> tuple[Any, State]:
    """Run a cell over the trees of a forest, from the leaves to the roots.

    Args:
        cell:     one node; its parameters and the inputs receive gradients.
        forest:   the trees, of any shapes; nodes may be shared (a DAG).
        inputs:   tree of (n, ...), what each node reads, in place of `forest.inputs`.
        backend:  "native" (machine code, a height at a time), "eager" (PyTorch, likewise), or "auto": native where it applies.

    Returns:
        (outputs (n, ...), states (n, ...)) of all nodes, in the order of the forest's; a tree's root is at `forest.roots`.

    Raises:
        InputError: a node with more children than the cell takes, inputs that do not fit; a backend that was named and does
            not apply, with the reason.
    """
    if not isinstance(cell, TreeCell):
        raise InputError(f"fold: expected a carousel.TreeCell, got {type(cell).__name__}; a cell over sequences runs with scan")
    x = forest.inputs if inputs is None else inputs
    if x is None:
        raise InputError("fold: expected inputs, in the forest or beside it, got none")
    for leaf in pytree.tree_leaves(x):
        if not isinstance(leaf, Tensor) or leaf.shape[:1] != (forest.nodes,):
            got = tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__
            raise InputError(f"fold: expected inputs ({forest.nodes}, ...), one for each node, got {got}")
    if cell.input_size is not None and (not isinstance(x, Tensor) or x.shape[1:] != (cell.input_size,)):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"fold: expected inputs ({forest.nodes}, {cell.input_size}) for {type(cell).__name__}, got {got}")
    schedule = _with_arity(cell, forest)
    states = _states(cell, schedule, pytree.tree_map(lambda leaf: leaf.index_select(0, schedule.order), x), backend)
    states = pytree.tree_map(lambda leaf: leaf.index_select(0, schedule.place), states)
    return torch.vmap(cell.output)(states), states


def _with_arity(cell: TreeCell, forest: Forest) -> Schedule:
    """The forest's schedule, its children as many a node as the cell is captured for."""
    schedule = forest.schedule
    inner, most = schedule.children.shape
    if cell.arity is not None and most > cell.arity:
        node = int((forest.children >= 0).sum(1).argmax())
        raise InputError(f"fold: {type(cell).__name__} takes {cell.arity} children a node, node {node} has {most}")
    K = cell.arity if cell.arity is not None else 1 << (max(most, 1) - 1).bit_length()
    if most == K:
        return schedule
    children = torch.full((inner, K), forest.nodes)
    children[:, :most] = schedule.children
    none = schedule.parents == inner * most
    slot, rest = schedule.parents // max(most, 1), schedule.parents % max(most, 1)
    parents = torch.where(none, inner * K, slot * K + rest)
    return Schedule(schedule.order, schedule.place, schedule.leaves, schedule.offsets, children, parents)


def _states(cell: TreeCell, schedule: Schedule, x: Any, backend: str) -> State:
    """The states of all nodes, packed."""
    leaves = schedule.leaves
    if not leaves:  # no node at all: shapes only
        one = cell.leaf(pytree.tree_map(lambda leaf: leaf.new_zeros(leaf.shape[1:]), x))
        return pytree.tree_map(lambda leaf: leaf.new_empty((0, *leaf.shape)), one)
    x_inner = pytree.tree_map(lambda leaf: leaf[leaves:], x)
    leaf_states = torch.vmap(cell.leaf)(pytree.tree_map(lambda leaf: leaf[:leaves], x))
    if len(schedule.children) == 0:
        return leaf_states
    levels = Levels(leaves, schedule.offsets, schedule.children, schedule.parents)
    inner = engine.fold(cell, x_inner, leaf_states, levels, backend)
    if inner is None:
        inner = _by_pytorch(cell, x_inner, leaf_states, schedule)
    return pytree.tree_map(lambda *parts: torch.cat(parts), leaf_states, inner)


def _by_pytorch(cell: TreeCell, x: Any, leaf_states: State, schedule: Schedule) -> State:
    """The states of the nodes with children, a height at a time: the reference."""
    inner, K = schedule.children.shape
    leaves, spec = pytree.tree_flatten(leaf_states)
    heights = [leaves]  # of each height the states of its nodes
    starts = torch.tensor([0, *(schedule.leaves + start for start in schedule.offsets)])
    nothing = [leaf.new_zeros((1, *leaf.shape[1:])) for leaf in leaves]
    for start, stop in pairwise(schedule.offsets):
        index = schedule.children[start:stop].reshape(-1)
        of = torch.searchsorted(starts, index, right=True) - 1  # the height of each child
        used, among = of.unique(return_inverse=True)
        there = [n for n in used.tolist() if n < len(heights)]  # past them all stands the place of no child
        first = torch.tensor([0, *(len(heights[n][0]) for n in there)]).cumsum(0)
        index = torch.where(index == schedule.leaves + inner, first[-1], first[among] + index - starts[of])
        parts = [[*(heights[n][m] for n in there), zero] for m, zero in enumerate(nothing)]
        children = [torch.cat(part)[index].reshape(stop - start, K, *part[-1].shape[1:]) for part in parts]
        here = pytree.tree_map(lambda leaf: leaf[start:stop], x)  # noqa: B023
        heights.append(pytree.tree_leaves(torch.vmap(cell.merge)(here, pytree.tree_unflatten(children, spec))))
    return pytree.tree_unflatten([torch.cat(parts) for parts in zip(*heights[1:], strict=True)], spec)
