"""Call: one checked call of scan, as every backend receives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch._guards import TracingContext
from torch.utils import _pytree as pytree

Flat = tuple[list[Tensor], pytree.TreeSpec]
_LEAF = pytree.tree_structure(0)
_EMPTY = pytree.tree_structure(())


@dataclass(frozen=True)
class Call:
    """What a backend runs. T is the number of time steps, B the number of sequences.

    inputs:          tree of (T, B, ...).
    state:           tree of (B, ...), before the first step.
    context:         tree of (B, ...), or None.
    step_noise:      name -> (T, B, ...), drawn anew each step.
    sequence_noise:  name -> (B, ...), drawn once a sequence.
    lengths:         (B,) int64 on the CPU, or None where every sequence has T steps.
    return_states:   give the states after each step too.
    """

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
    def flat(self) -> tuple[Flat, Flat, Flat, Flat, Flat]:
        """(leaves, tree) of inputs, state, context, step_noise and sequence_noise; () for no context."""
        return flat(self.inputs), flat(self.state), flat(self.context), flat(self.step_noise), flat(self.sequence_noise)


def structure(tree: Any) -> Any:
    """What tells one tree from another, quick to make and to compare."""
    if tree is None or isinstance(tree, Tensor):
        return tree is None
    if isinstance(tree, tuple):
        return (type(tree), *map(structure, tree))
    return pytree.tree_structure(tree)


def flat(tree: Any) -> Flat:
    """(leaves, tree) of any tree; the frequent cases of a single tensor and of nothing take no time."""
    if isinstance(tree, Tensor):
        return [tree], _LEAF
    if tree is None or (isinstance(tree, dict) and not tree):
        return [], _EMPTY
    return pytree.tree_flatten(tree)


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


def being_compiled() -> bool:
    """Whether `torch.compile` or `torch.export` is tracing the call."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._len_torch_dispatch_stack() > 0 and TracingContext.try_get() is not None
