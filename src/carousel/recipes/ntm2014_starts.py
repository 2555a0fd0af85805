"""How our own rows of the Neural Turing Machine's experiments set out: heads, controllers, and a task to practise on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from carousel.batch import Batch
from carousel.cells import NTM
from carousel.tasks import PrioritySort


def looking_up(make: Callable[[int, int], NTM]) -> Callable[[int, int], NTM]:
    """(inputs, outputs) -> the NTM of `make`, whose heads set out from looking up by content, and sharply.

    As heads start otherwise, all rows get about the same weight, and what is read says nothing of the key.
    """

    @torch.no_grad()
    def made(input_size: int, output_size: int) -> NTM:
        cell = make(input_size, output_size)
        for kind in ("read", "write"):
            biases = cell.head_biases(kind)
            biases["k"].zero_()  # the key is what the controller says of the sequence
            biases["beta"] += 8
            biases["g"] += 2
            biases["s"][:, cell.shift_range] += 2  # to stay
            biases["gamma"] += 1
        return cell

    return made


def writing_in_turn(make: Callable[[int, int], NTM]) -> Callable[[int, int], NTM]:
    """(inputs, outputs) -> the NTM of `make`, whose write heads set out a row further each step, whatever the rows hold.

    Read heads start as otherwise, spread over the rows: one that is sharp from the start is long in finding what was written.
    """

    @torch.no_grad()
    def made(input_size: int, output_size: int) -> NTM:
        cell = make(input_size, output_size)
        biases = cell.head_biases("write")
        biases["g"] -= 10
        biases["s"][:, -1] += 4  # the last of the shifts, the furthest on
        biases["gamma"] += 1
        return cell

    return made


def asking(make: Callable[[int, int], NTM]) -> Callable[[int, int], NTM]:
    """(inputs, outputs) -> the NTM of `make`, which sets out writing down what it hears, row by row, and asking for it.

    The controller hears its inputs loudly; write heads go on row by row; a read head's key is made as what they add together, so
    that an input shown again finds where it was written, and its shifts tend to the row after that.

    As an NTM starts otherwise an input hardly moves the controller, and keys have nothing to do with what is written. With loud
    inputs and sharp read heads alone four of ten trainings did not find within 60,000 sequences that things can be looked up:
    they seemed to answer with the mean of all items that can be meant, right where there are two.
    """

    @torch.no_grad()
    def made(input_size: int, output_size: int) -> NTM:
        cell = writing_in_turn(make)(input_size, output_size)
        first = "0.weight" if isinstance(cell.controller, nn.Sequential) else "cells.0.W"
        cell.controller.get_parameter(first)[:, :input_size] *= 8
        for parts in (cell.head_weights, cell.head_biases):
            parts("read")["k"].copy_(parts("write")["add"].sum(0))  # all write heads start at the same row
        biases = cell.head_biases("read")
        biases["beta"] += 8
        biases["s"][:, -1] += 1
        biases["gamma"] += 1
        return cell

    return made


def remembering(make: Callable[[int, int], NTM]) -> Callable[[int, int], NTM]:
    """(inputs, outputs) -> the NTM of `make`, whose LSTM sets out with the latest half dozen inputs readable from its output.

    Each candidate sees the outputs before through an orthogonal matrix, enlarged by about what the half-open input and output
    gates and tanh take away, and cells forget fast. As an LSTM starts otherwise, inputs three steps back are all but lost on the
    way, and the keys made from its output differ little from step to step.
    """

    @torch.no_grad()
    def made(input_size: int, output_size: int) -> NTM:
        cell = make(input_size, output_size)
        controller: Any = cell.controller
        layer = controller.cells[0]
        H = layer.hidden_size
        forget, candidate = slice(H, 2 * H), slice(2 * H, 3 * H)
        nn.init.orthogonal_(layer.U[candidate], gain=4)
        nn.init.normal_(layer.W[candidate, :input_size], std=2)
        layer.b.zero_()
        layer.b[forget] = -2
        layer.b -= layer.W[:, :input_size].sum(1) / 2  # bits 0 and 1 count as -1/2 and 1/2
        return cell

    return made


class GrowingSort(PrioritySort):
    """PrioritySort to practise on: batches of 1 to 3 vectors, all asked for; one more every `every` sequences.

    Once there are 20, batches are the task's. The lengths come from the count of sequences drawn, so each training needs its own.
    """

    def __init__(self, every: int = 6_400) -> None:
        super().__init__()
        self.every, self.drawn = every, 0

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        most = 3 + self.drawn // self.every
        self.drawn += B
        vectors, answers = self.ranges["vectors"][1], self.ranges["answers"][1]
        if not lengths and most < vectors:
            count = int(torch.randint(1, most + 1, (), generator=generator))
            lengths = {"vectors": count, "answers": min(count, answers)}
        return super().sample(B, generator, **lengths)

    def validation(self) -> Batch:
        """The task's own."""
        return PrioritySort().validation()
