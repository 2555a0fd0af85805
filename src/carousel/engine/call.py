"""Call: one checked call of scan, as every backend receives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


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
