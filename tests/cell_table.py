"""The table of all cells and options, and the reference they are held against: a plain loop over `step`.

`tests/test_conformance.py` runs the table on every backend of the engine. A new cell, or a new
option of one, is a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from carousel.cell import Cell, Stack
from carousel.cells import (
    GRU,
    LSTM,
    LSTM1997,
    MGU,
    NTM,
    Dropout,
    Elman,
    Embedding,
    FullyRecurrent,
    LearnedStart,
    Mean,
    NTMState,
    Window,
)
from carousel.nn import Reset

I, H = 2, 3


class Attending(Cell):
    """A probe for context: y reads the caller's keys with the state as query."""

    input_size, output_size = I, H

    def __init__(self) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.empty(H, I + H).uniform_(-1, 1))

    def initial_state(self) -> Tensor:
        return self.U.new_zeros(H)

    def step(self, x: Tensor, state: Tensor, *, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert context is not None
        read = torch.softmax(context @ state, dim=0) @ context
        h = torch.tanh(self.U @ torch.cat([x, read]))
        return h, h


class Pair(NamedTuple):
    """Inputs that are a tree with an integer in it."""

    symbol: Tensor
    x: Tensor


class SymbolAndVector(Cell):
    """A probe for trees: inputs and outputs are NamedTuples, one input is an index, the start is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.E = nn.Parameter(torch.empty(5, H).uniform_(-1, 1))
        self.U = nn.Parameter(torch.empty(H, I + H).uniform_(-1, 1))
        self.h0 = nn.Parameter(torch.empty(H).uniform_(-1, 1))

    def initial_state(self) -> dict[str, Tensor]:
        return {"h": self.h0}

    def step(self, x: Pair, state: dict[str, Tensor]) -> tuple[Pair, dict[str, Tensor]]:
        h = torch.tanh(F.embedding(x.symbol, self.E) + self.U @ torch.cat([x.x, state["h"]]))
        return Pair(x.symbol + 1, h[:I]), {"h": h}


def _some_connections() -> dict[str, Any]:
    masks = torch.rand(2, H, I + H + 1, generator=torch.Generator().manual_seed(0)) < 0.7
    return {"exists": masks[0], "trained": masks[1]}


CELLS: dict[str, Callable[[], Cell]] = {
    "window-0": lambda: Window(0, I),
    "window-2": lambda: Window(2, I),
    "fully-recurrent": lambda: FullyRecurrent(I, H),
    "fully-recurrent-relu": lambda: FullyRecurrent(I, H, f="relu"),
    "fully-recurrent-identity": lambda: FullyRecurrent(I, H, f="identity"),
    "fully-recurrent-tanh-output": lambda: FullyRecurrent(I, H, f="tanh", output_size=1),
    "fully-recurrent-masks": lambda: FullyRecurrent(I, H, **_some_connections()),
    "elman": lambda: Elman(I, H),
    "elman-relu-no-bias": lambda: Elman(I, H, nonlinearity="relu", bias=False),
    "lstm": lambda: LSTM(I, H),
    "lstm-no-bias": lambda: LSTM(I, H, bias=False),
    "lstm-no-forget": lambda: LSTM(I, H, forget_gate=False),
    "lstm-no-forget-peepholes": lambda: LSTM(I, H, forget_gate=False, peepholes=True),
    "lstm-peepholes": lambda: LSTM(I, H, peepholes=True),
    "lstm-coupled": lambda: LSTM(I, H, coupled=True),
    "lstm-coupled-peepholes": lambda: LSTM(I, H, coupled=True, peepholes=True),
    "lstm-projection": lambda: LSTM(I, H, proj_size=2),
    "lstm-layer-norm": lambda: LSTM(I, H, layer_norm=True),
    "lstm-forget-bias": lambda: LSTM(I, H, forget_bias=1.0),
    "lstm-zoneout": lambda: LSTM(I, H, zoneout_h=0.5, zoneout_c=0.3),
    "lstm-zoneout-h": lambda: LSTM(I, H, zoneout_h=0.5),
    "lstm-dropout": lambda: LSTM(I, H, dropout_x=0.5, dropout_h=0.3),
    "lstm-everything": lambda: LSTM(
        I, H, peepholes=True, proj_size=2, layer_norm=True, zoneout_h=0.3, zoneout_c=0.3, dropout_x=0.3, dropout_h=0.3
    ),
    "lstm1997": lambda: LSTM1997(I, 2, blocks=2, block_size=2),
    "lstm1997-gate-biases": lambda: LSTM1997(I, 1, blocks=3, biases="gates", in_bias=(-1, -2, -3), out_bias=(-1, 0, 1)),
    "lstm1997-no-bias": lambda: LSTM1997(I, 1, blocks=1, block_size=3, biases="none", bound=0.9),
    "lstm1997-hidden-biases": lambda: LSTM1997(I, 1, blocks=2, biases="hidden"),
    "lstm1997-linear": lambda: LSTM1997(I, 2, blocks=1, output="identity"),
    "lstm1997-no-output-gate": lambda: LSTM1997(I, 2, blocks=2, gated=("in",), in_bias=(-1, -2)),
    "lstm1997-no-gates": lambda: LSTM1997(I, 2, blocks=2, block_size=2, gated=()),
    "lstm1997-inputs-only": lambda: LSTM1997(I, 2, blocks=2, recurrent=False),
    "lstm1997-simple": lambda: LSTM1997(I, 2, blocks=1, biases="none", simple=True),
    "gru": lambda: GRU(I, H),
    "gru-no-bias": lambda: GRU(I, H, bias=False),
    "gru-reset-after": lambda: GRU(I, H, reset_after=True),
    "gru-reset-after-no-bias": lambda: GRU(I, H, reset_after=True, bias=False),
    "gru-relu": lambda: GRU(I, H, activation="relu"),
    "gru1": lambda: GRU(I, H, gates_see="hb"),
    "gru2": lambda: GRU(I, H, gates_see="h"),
    "gru3": lambda: GRU(I, H, gates_see="b"),
    "gru3-reset-after": lambda: GRU(I, H, gates_see="b", reset_after=True),
    "gru-input-gates": lambda: GRU(I, H, gates_see="xb"),
    "gru-noise": lambda: GRU(I, H, zoneout=0.3, dropout_x=0.3, dropout_h=0.3),
    "mgu": lambda: MGU(I, H),
    "embedding": lambda: Embedding(5, H),
    "mean": lambda: Mean(I),
    "dropout": lambda: Dropout(I, 0.4),
    "stack": lambda: Stack(LSTM(I, H), GRU(H, 2), readout=nn.Linear(2, 1)),
    "stack-skips": lambda: Stack(GRU(I, H), LSTM(I + H, 2), Elman(I + 2, 2), skips=True, readout=nn.Linear(H + 4, 1)),
    "stack-noise": lambda: Stack(LSTM(I, H, zoneout_h=0.4), Elman(H, 2), GRU(2, 2, dropout_h=0.4)),
    "stack-window-mlp": lambda: Stack(Window(1, I), readout=nn.Sequential(nn.Linear(2 * I, H), nn.Tanh(), nn.Linear(H, 1))),
    "stack-mean": lambda: Stack(Stack(Embedding(5, I), Dropout(I, 0.4), GRU(I, H), readout=nn.Linear(H, 2)), Mean(2)),
    "stack-stack": lambda: Stack(Stack(LSTM(I, H), MGU(H, 2)), FullyRecurrent(2, 2)),
    "learned-start": lambda: LearnedStart(Stack(LSTM(I, H, zoneout_h=0.4), Elman(H, 2))),
    "ntm": lambda: NTM(I, 1, 2, N=3, M=2),
    "ntm-feedforward": lambda: NTM(I, 1, 2, controller="feedforward", layers=2, N=3, M=2, memory="random"),
    "ntm-heads": lambda: NTM(
        I, 1, 1, controller="feedforward", N=3, M=2, read_heads=2, write_heads=2, memory="learned", learned_start=True
    ),
    "ntm-learned-random": lambda: NTM(I, 1, 2, N=3, M=2, memory="learned-random"),
    "ntm-read-first": lambda: NTM(I, 1, 1, layers=2, N=3, M=1, learned_start=True, shift_range=0, read_first=True),
    "reset": lambda: Reset(LSTM(I, H, zoneout_h=0.4)),
    "context": Attending,
    "trees-and-integers": SymbolAndVector,
}
"""name -> factory of a small cell; its start is random, so seed torch before."""


def build(name: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> Cell:
    """The cell of that name, its parameters drawn from the seed, norms away from gain 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cell = CELLS[name]().to(dtype)
        for parameter_name, parameter in cell.named_parameters():
            if ".norm_" in f".{parameter_name}":
                nn.init.uniform_(parameter, 0.5, 1.5)
    return cell


def arguments(cell: Cell, T: int, B: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> dict[str, Any]:
    """Random inputs (T, B, ...) as the cell reads them, state (B, ...) and, for the probe, context: keyword arguments of scan."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    inputs: Any = draw(T, B, I)
    if cell.input_size is None and not isinstance(cell, Attending | Reset | SymbolAndVector):
        inputs = torch.randint(5, (T, B), generator=generator)
    if isinstance(cell, Reset):
        inputs = (inputs, torch.rand(T, B, generator=generator) < 0.3)
    if isinstance(cell, SymbolAndVector):
        inputs = Pair(torch.randint(5, (T, B), generator=generator), inputs)
    state = pytree.tree_map(lambda leaf: draw(B, *leaf.shape), cell.initial_state())
    if isinstance(state, NTMState):  # weightings sum to one
        state = state._replace(read_w=state.read_w.softmax(-1), write_w=state.write_w.softmax(-1))
    given = {"inputs": inputs, "state": state}
    if isinstance(cell, Attending):
        given["context"] = draw(B, 4, H)
    return given


def plain_loop(
    cell: Cell,
    inputs: Any,
    state: Any,
    *,
    context: Any = None,
    lengths: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Any, Any, Any]:
    """What scan must give, by one Python loop per sequence: (outputs, final state, states), at least one step and sequence.

    The noise is drawn as scan promises: U[0, 1) in the cell's dtype, name after name, (T, B, ...)
    where it is drawn each step and (B, ...) where it is drawn once a sequence.
    """
    T, B = pytree.tree_leaves(inputs)[0].shape[:2]
    dtype = next((tensor.dtype for tensor in cell.state_dict().values() if tensor.is_floating_point()), torch.float32)
    leading = {"step": (T, B), "sequence": (B,)}
    shapes = cell.noise_shapes() if cell.training else {}
    noise = {
        name: (kind, torch.rand(*leading[kind], *shape, generator=generator, dtype=dtype)) for name, (kind, shape) in shapes.items()
    }
    columns = []
    for b in range(B):
        now = pick(state, b)
        length = T if lengths is None else int(lengths[b])
        steps = []
        for t in range(T):
            draws = {name: draw[t, b] if kind == "step" else draw[b] for name, (kind, draw) in noise.items()}
            y, after = cell(pick(inputs, t, b), now, context=None if context is None else pick(context, b), noise=draws or None)
            if t < length:
                now = after
            else:
                y = pytree.tree_map(torch.zeros_like, y)
            steps.append((y, now))
        columns.append((_stack(steps, 0), now))
    outputs, states = _stack([steps for steps, _ in columns], 1)
    return outputs, _stack([final for _, final in columns], 0), states


def pick(tree: Any, *index: int) -> Any:
    """One step, or one step of one sequence, of every leaf."""
    return pytree.tree_map(lambda leaf: leaf[index], tree)


def _stack(trees: list[Any], axis: int) -> Any:
    return pytree.tree_map(lambda *leaves: torch.stack(leaves, axis), *trees)
