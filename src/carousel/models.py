"""The networks that the command line offers for sequences of numbers, by name.

Each is a stack of cells with a readout, made by ``build(name, input_size, output_size, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from carousel.cell import Cell, Stack
from carousel.cells import GRU, LSTM, MGU, Dropout, Elman, Embedding, FullyRecurrent, Mean, Window
from carousel.errors import InputError
from carousel.names import WINDOW, check_model


def _recurrent(
    cell: Callable[..., Cell], input_size: int, output_size: int, hidden: int, layers: int, dropout: float, **options: Any
) -> Stack:
    """`layers` cells of one kind and size, each followed by dropout, then a linear readout."""
    sizes = [input_size, *[hidden] * (layers - 1)]
    cells = [layer for size in sizes for layer in (cell(size, hidden, **options), *_dropout(hidden, dropout))]
    return Stack(*cells, readout=nn.Linear(hidden, output_size))


def _window(inputs: int, input_size: int, output_size: int, hidden: int, layers: int, dropout: float) -> Stack:
    """A feedforward network of the latest `inputs` inputs: `layers` hidden layers of tanh units, then a linear one."""
    sizes = [inputs * input_size, *[hidden] * layers]
    readout = nn.Sequential()
    for below, above in pairwise(sizes):
        readout.extend([nn.Linear(below, above), nn.Tanh()])
    readout.append(nn.Linear(sizes[-1], output_size))
    return Stack(Window(inputs - 1, input_size), *_dropout(sizes[0], dropout), readout=readout)


def _dropout(size: int, rate: float) -> list[Cell]:
    return [Dropout(size, rate)] if rate else []


MODELS: dict[str, Callable[..., Cell]] = {
    "window-1": partial(_window, 1),
    "window-2": partial(_window, 2),
    "elman": partial(_recurrent, Elman),
    "elman-relu": partial(_recurrent, Elman, nonlinearity="relu"),
    "fully-recurrent": partial(_recurrent, FullyRecurrent),
    "lstm": partial(_recurrent, LSTM, forget_bias=1.0),
    "lstm-no-forget": partial(_recurrent, LSTM, forget_gate=False),
    "lstm-peephole": partial(_recurrent, LSTM, peepholes=True, forget_bias=1.0),
    "lstm-coupled": partial(_recurrent, LSTM, coupled=True),
    "lstm-layer-norm": partial(_recurrent, LSTM, layer_norm=True, forget_bias=1.0),
    "gru": partial(_recurrent, GRU),
    "gru-reset-after": partial(_recurrent, GRU, reset_after=True),
    "gru-input-gates": partial(_recurrent, GRU, gates_see="xb"),
    "gru1": partial(_recurrent, GRU, gates_see="hb"),
    "gru2": partial(_recurrent, GRU, gates_see="h"),
    "gru3": partial(_recurrent, GRU, gates_see="b"),
    "mgu": partial(_recurrent, MGU),
}
"""name -> factory(input_size, output_size, hidden, layers, dropout); ``window-N`` stands for any number N of inputs."""


def build(
    name: str,
    input_size: int,
    output_size: int,
    *,
    hidden: int = 32,
    layers: int = 1,
    symbols: int = 0,
    dropout: float = 0.0,
    answer: Literal["last", "mean"] = "last",
    seed: int = 0,
) -> Cell:
    """The network of that name, its weights drawn from `seed` alone.

    Args:
        name:         a key of MODELS, or "window-N": the latest N inputs and a feedforward network.
        input_size:   length of the vector x of a step.
        output_size:  length of the vector y of a step.
        hidden:       units of a layer.
        layers:       recurrent layers; hidden layers of a window network.
        symbols:      0: a step's input is x itself. N: it is a whole number from 0 to N - 1, for each of
                      which a vector x is learned.
        dropout:      share of a layer's outputs that are dropped in training, with one mask a
                      sequence; also of the learned x, and of a window's inputs.
        answer:       y of a step: "last": what the network says there; "mean": the mean of what it has
                      said so far.
        seed:         of the weights; torch's own generator is left as it is.

    Raises:
        InputError: an unknown name, a size below 1, or a dropout outside [0, 1).
    """
    for option, size in (("hidden", hidden), ("layers", layers)):
        if size < 1:
            raise InputError(f"model: expected {option} of at least 1, got {size}")
    check_model(name)
    window = WINDOW.fullmatch(name)
    factory = partial(_window, int(window[1])) if window else MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            cell = factory(input_size, output_size, hidden, layers, dropout)
            if symbols:
                cell = Stack(Embedding(symbols, input_size), *_dropout(input_size, dropout), cell)
        except (RuntimeError, MemoryError, OverflowError) as error:  # torch has no class of its own for it
            sizes = f"{input_size} inputs, {layers} layers of {hidden} units, {output_size} outputs"
            raise InputError(f"model {name}: cannot create a network of {sizes}: {str(error).splitlines()[0][:200]}") from None
        return Stack(cell, Mean(output_size)) if answer == "mean" else cell
