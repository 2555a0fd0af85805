"""Call: one checked call of scan, as every backend receives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from carousel.engine.snapshot import Snapshot
from carousel.torch_private import is_traced, pytree


@dataclass(frozen=True)
class Call:
    """What a backend runs. T is the number of time steps, B the number of sequences.

    cell_now:        the cell's key and weights when the call began.
    inputs:          tree of (T, B, ...).
    state:           tree of (B, ...), before the first step.
    context:         tree of (B, ...), or None.
    step_noise:      name -> (T, B, ...), drawn anew each step.
    sequence_noise:  name -> (B, ...), drawn once a sequence.
    lengths:         (B,) int64 on the CPU, or None where every sequence has T steps.
    return_states:   give the states after each step too.
    """

    cell_now: Snapshot
    steps: int
    batch: int
    inputs: Any
    state: Any
    context: Any
    step_noise: dict[str, Tensor]
    sequence_noise: dict[str, Tensor]
    lengths: Tensor | None
    return_states: bool

    @cached_property
    def leaves(self) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Those of inputs, state, context, step_noise and sequence_noise."""
        context = () if self.context is None else self.context
        return (
            leaves(self.inputs),
            leaves(self.state),
            leaves(context),
            list(self.step_noise.values()),
            list(self.sequence_noise.values()),
        )


def structure(tree: Any) -> Any:
    """What tells one tree from another, quick to make and to compare."""
    if tree is None or isinstance(tree, Tensor):
        return tree is None
    if isinstance(tree, tuple):
        return (type(tree), *map(structure, tree))
    return pytree.tree_structure(tree)


def leaves(tree: Any) -> list[Tensor]:
    """The leaves of any tree, in pytree's order; the frequent trees of tuples take a fraction of its time."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return pytree.tree_leaves(tree)


def mapped(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """The tree with function(tensor) for each tensor; the frequent trees of tuples take a quarter of pytree's time."""
    if isinstance(tree, Tensor):
        return function(tree)
    kind = type(tree)
    if kind is tuple:
        return tuple([mapped(function, part) for part in tree])
    if kind.__base__ is tuple and hasattr(kind, "_make"):
        return kind._make([mapped(function, part) for part in tree])
    return pytree.tree_map(function, tree)


def rebuilt(tree: Any, leaves: Iterable[Tensor]) -> Any:
    """The tree with these leaves in the place of its own."""
    rest = iter(leaves)
    return mapped(lambda _: next(rest), tree)


def being_compiled() -> bool:
    """Whether `torch.compile` or `torch.export` is tracing the call."""
    return torch.compiler.is_compiling() or is_traced()
