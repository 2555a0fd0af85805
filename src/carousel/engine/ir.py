"""The intermediate representation: a step of one sequence as a list of plain operations, and a loop over it.

A `Graph` is a cell's step, written in the kinds of operation that the table has (kinds/); the adjoint of
a graph is written in the same kinds. `Loop` is what remains of it once everything that is in no
cycle has been moved out: the contract between the plan (loop_distribution.py) and the lowerings that run
a loop (reference.py: PyTorch, step by step; native/: machine code).

Shapes here are those of one row (one sequence) at one step: no T, no B. Where a loop reads and
writes memory, rows and steps are packed in one axis of N = sum of lengths: the B sequences are
sorted by falling length, so the n_t sequences that are still running at step t are the rows
0 .. n_t - 1, and row r of step t stands at offsets[t] + r, with offsets (T + 1,) int64, offsets[0]
= 0, offsets[t + 1] - offsets[t] = n_t. With equal lengths that is simply (T, B, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

DTYPES = frozenset({torch.float32, torch.float64, torch.int64, torch.int32, torch.bool})
"""What operations read and give."""


@dataclass(frozen=True, eq=False)  # a value equals itself only: values are looked up at every call of a plan
class Value:
    """A tensor of one row at one step. Names are unique in a graph."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


Input = Value | float | int | bool
"""What an operation reads: a value, or a literal (in elementwise kinds only)."""


SHARED, ROW, STEP = range(3)
"""What a value has beside its own axes: nothing (one for all), the rows B, or rows and steps N."""


@dataclass(frozen=True)
class Op:
    """output = kind(inputs; attributes).

    In elementwise kinds all inputs that are values have the rank of the output, and each axis has
    the output's size or 1; float literals take the dtype of the other input. `line` is the place in the cell's
    source that the operation came from.
    """

    kind: str
    inputs: tuple[Input, ...]
    output: Value
    attributes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    line: str = ""

    @property
    def values(self) -> tuple[Value, ...]:
        """The inputs that are values."""
        return tuple(value for value in self.inputs if isinstance(value, Value))


@dataclass(frozen=True)
class Carry:
    """What one step hands to the next: `before` is read in a step, `after` is `before` of the next one."""

    before: Value
    after: Value


@dataclass(frozen=True)
class Loop:
    """A recurrence over time, one row after the other or many at once; rows know nothing of one another.

    ops:         in an order in which they can be run.
    shared:      read; one copy (...) for all rows and steps: weights and what was made from them.
    per_row:     read; (B, ...): context, noise of a sequence.
    per_step:    read; (N, ...).
    carried:     one buffer (B, ...) each, changed in place: on entry what the first step of a row
                 reads, on return what its last step gave. Rows of length 0 stay as they are.
    written:     (N, ...), each step's value at its place; values computed in the loop (any op's
                 output, or the `before` of a carry).
    summed:      values whose sum over all rows and steps is wanted: (threads, ...) zero on entry,
                 one part a thread, each added to in the order of rows and steps so that the same
                 thread count gives the same bits.
    row_summed:  values whose sum over the steps of a row is wanted: (B, ...), zero on entry.
    reverse:     steps run from T - 1 down to 0 (a row begins at its own last step), else from 0 up.

    A lowering takes the buffers in this order: shared, per_row, per_step, carried, written,
    summed, row_summed, all contiguous; int64 and bool (one byte) as PyTorch has them.
    """

    ops: tuple[Op, ...]
    shared: tuple[Value, ...] = ()
    per_row: tuple[Value, ...] = ()
    per_step: tuple[Value, ...] = ()
    carried: tuple[Carry, ...] = ()
    written: tuple[Value, ...] = ()
    summed: tuple[Value, ...] = ()
    row_summed: tuple[Value, ...] = ()
    reverse: bool = False


@dataclass(frozen=True)
class Graph:
    """A step of one sequence.

    weights:         the cell's parameters and buffers by name, in the order of `standin.lifted`.
    inputs:          leaves of x.
    state:           leaves of the state before the step.
    context, step_noise, sequence_noise: leaves, as the call has them.
    constants:       values known when the graph was made, and what they are.
    lead:            what each value has beside its own axes: SHARED, ROW or STEP.
    stopped:         values through which no gradient flows.
    outputs:         leaves of y.
    new_state:       leaves of the state after the step.
    """

    ops: tuple[Op, ...]
    weights: tuple[Value, ...]
    inputs: tuple[Value, ...]
    state: tuple[Value, ...]
    context: tuple[Value, ...]
    step_noise: tuple[Value, ...]
    sequence_noise: tuple[Value, ...]
    constants: Mapping[Value, torch.Tensor]
    lead: Mapping[Value, int]
    stopped: frozenset[Value]
    outputs: tuple[Value, ...]
    new_state: tuple[Value, ...]
