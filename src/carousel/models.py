"""The networks that the command line offers for sequences of numbers, by name.

Each is a stack of cells with a readout, made by ``build(name, input_size, output_size, ...)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from carousel.cell import Cell, Stack
from carousel.cells import GRU, LSTM, MGU, Elman, FullyRecurrent, Window
from carousel.errors import InputError


def _recurrent(cell: Callable[..., Cell], input_size: int, output_size: int, hidden: int, layers: int, **options: Any) -> Stack:
    """`layers` cells of one kind and size, then a linear readout."""
    sizes = [input_size, *[hidden] * (layers - 1)]
    return Stack(*(cell(size, hidden, **options) for size in sizes), readout=nn.Linear(hidden, output_size))


def _window(inputs: int, input_size: int, output_size: int, hidden: int, layers: int) -> Stack:
    """A feedforward network of the latest `inputs` inputs: `layers` hidden layers of tanh units, then a linear one."""
    sizes = [inputs * input_size, *[hidden] * layers]
    readout = nn.Sequential()
    for below, above in pairwise(sizes):
        readout.extend([nn.Linear(below, above), nn.Tanh()])
    readout.append(nn.Linear(sizes[-1], output_size))
    return Stack(Window(inputs - 1, input_size), readout=readout)


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
"""name -> factory(input_size, output_size, hidden, layers); ``window-N`` stands for any number N of inputs."""


def build(name: str, input_size: int, output_size: int, *, hidden: int = 32, layers: int = 1, seed: int = 0) -> Cell:
    """The network of that name, its weights drawn from `seed` alone.

    Args:
        name:         a key of MODELS, or "window-N": the latest N inputs and a feedforward network.
        input_size:   length of the vector x of a step.
        output_size:  length of the vector y of a step.
        hidden:       units of a layer.
        layers:       recurrent layers; hidden layers of a window network.
        seed:         of the weights; torch's own generator is left as it is.

    Raises:
        InputError: an unknown name, or a size below 1.
    """
    for option, size in (("hidden", hidden), ("layers", layers)):
        if size < 1:
            raise InputError(f"model: expected {option} of at least 1, got {size}")
    window = re.fullmatch(r"window-([1-9]\d{0,5})", name)
    factory = partial(_window, int(window[1])) if window else MODELS.get(name)
    if factory is None:
        nearest = get_close_matches(name, MODELS, n=len(MODELS), cutoff=0.0)
        raise InputError(f"unknown model {name!r}, expected one of: {', '.join(nearest)} (or window-N for N inputs)")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return factory(input_size, output_size, hidden, layers)
