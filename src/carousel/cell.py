"""What a cell is: one step of one sequence, written as its equations.

A cell has ``initial_state() -> state`` and ``step(x, state) -> (y, state)``. There is no batch
axis, no time axis, no loop, no device, no random draw, no in-place change and no ``.item()`` in
it. x, y and state are tensors or NamedTuples of tensors. Looping is `carousel.scan`'s business,
batching the engine's.

A cell that needs more declares it in ``step(x, state, *, context=None, noise=None)``:

- ``context`` is the caller's, constant over a sequence (attention keys);
- ``noise`` is a dict of uniform draws in [0, 1), one entry for each name in ``noise_shapes()``,
  given in training mode and None in evaluation. Cells never draw random numbers themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from carousel.errors import InputError
from carousel.torch_private import pytree

State = Any
"""A tensor, or a (nested) tuple or NamedTuple of tensors, without batch or time axis."""


NoiseShapes = dict[str, tuple[Literal["step", "sequence"], tuple[int, ...]]]
"""Uniform draws by name: (drawn anew each "step" or once a "sequence", shape)."""


def built(state: State) -> str:
    """How a tree of tensors is built, in one line: "LSTMState(h=tensor, c=tensor)"."""
    return str(pytree.tree_map(lambda leaf: "tensor", state)).replace("'tensor'", "tensor")


class Cell(nn.Module):
    """Base class of every cell.

    Attributes:
        input_size:   length of the vector x; None where x is something else (an index, a tuple).
        output_size:  length of the vector y; None where y is something else.
        is_differentiated:  whether gradients of the step may be asked for; not those of a cell that learns by itself, step by step.
        carries:      names of the state fields through which error flows under the truncated
                      rule of 1997; empty where the rule does not apply.
    """

    input_size: int | None = None
    output_size: int | None = None
    is_differentiated: bool = True
    carries: tuple[str, ...] = ()

    def initial_state(self) -> State:
        """The state before the first step of one sequence; it may depend on parameters."""
        raise NotImplementedError(f"{type(self).__name__} must define initial_state()")

    def step(self, x: Any, state: State) -> tuple[Any, State]:
        """One step: (y, next state). The next state has the structure, shapes and dtypes of state."""
        raise NotImplementedError(f"{type(self).__name__} must define step(x, state)")

    def gates(self, x: Any, state: State) -> dict[str, Tensor]:
        """What a picture of this step shows, by name; `step` computes from the same values."""
        return {}

    def noise_shapes(self) -> NoiseShapes:
        """Uniform draws that training needs: name -> (drawn anew each "step" or "sequence", shape)."""
        return {}

    def extra_repr(self) -> str:
        """The sizes and options, as torch's modules show theirs."""
        plain = (bool, int, float, str, tuple)
        own = {name: value for name, value in vars(self).items() if not name.startswith("_") and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in own.items() if isinstance(value, plain))

    def forward(self, x: Any, state: State, *, context: Any = None, noise: dict[str, Tensor] | None = None) -> Any:
        """`step`, called with those of context and noise that are there."""
        extra = {name: value for name, value in (("context", context), ("noise", noise)) if value is not None}
        return self.step(x, state, **extra)


class TreeCell(Cell):
    """Base class of the cells over trees: one node of one tree. `carousel.fold` runs it over forests.

    Attributes:
        input_size:   length of the vector x; None where x is something else.
        output_size:  length of the vector y; None where y is something else.
        arity:        K, the most children of a node; None for any number.
    """

    arity: int | None = None

    def leaf(self, x: Any) -> State:
        """The state of a leaf."""
        raise NotImplementedError(f"{type(self).__name__} must define leaf(x)")

    def merge(self, x: Any, children: State) -> State:
        """The state of a node with children.

        Args:
            x:         what the node reads.
            children:  their states, each tensor with an axis more, (K, ...). Where a node has fewer than K children the rest
                       are zero. With `arity` None, K is 1, 2, 4, 8 and so on, whichever holds the most children of the forest.
        """
        raise NotImplementedError(f"{type(self).__name__} must define merge(x, children)")

    def output(self, state: State) -> Any:
        """y of a node; the first tensor of its state, unless a cell says otherwise."""
        return pytree.tree_leaves(state)[0]

    def step(self, x: Any, state: State) -> tuple[Any, State]:
        """A node as the engine captures it: `state` are the children's, and nothing is given out beside the node's own."""
        return (), self.merge(x, state)

    def initial_state(self) -> State:
        raise InputError(f"{type(self).__name__} is a cell over trees; run it with carousel.fold")


def initial_state_of(cell: Cell, parameters: Mapping[str, Tensor]) -> State:
    """The cell's initial state with these parameters in the place of its own."""
    return functional_call(_InitialState(cell), {f"cell.{name}": value for name, value in parameters.items()}, ())


class _InitialState(nn.Module):
    """A cell's initial state as the forward of a module, which is what `functional_call` calls."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self) -> State:
        return self.cell.initial_state()


class Stack(Cell):
    """Cells on top of one another, itself a cell (deep recurrent network, Graves 2013, section 3.1).

    Layer n reads the output of layer n - 1, layer 0 reads x, and y is the last layer's output,
    passed through `readout` where there is one. With ``skips=True`` every layer n > 0 reads
    [x, output of layer n - 1], and the readout reads the outputs of all layers, concatenated.

    state and context are tuples, one entry a layer, () where a layer takes no context; a layer's
    noise names are prefixed with "<n>.", its gates likewise.

    Args:
        cells:    at least one cell; sizes must fit, InputError says which do not.
        readout:  a module from the last layer's output (or all layers', with skips) to y, applied
                  at every step to one sequence, e.g. ``nn.Linear(hidden, classes)``.
        skips:    feed the input to every layer and every layer to the readout.
    """

    def __init__(self, *cells: Cell, readout: nn.Module | None = None, skips: bool = False) -> None:
        super().__init__()
        if not cells:
            raise InputError("Stack needs at least one cell, got none")
        self.cells = nn.ModuleList(cells)
        self.readout = readout
        self.skips = skips
        self.input_size = cells[0].input_size
        for n, (below, cell) in enumerate(pairwise(cells), start=1):
            sizes = (below.output_size, self.input_size) if skips else (below.output_size,)
            if cell.input_size is None or None in sizes:
                continue
            given = sum(size for size in sizes if size is not None)
            if given != cell.input_size:
                raise InputError(f"Stack: cell {n} ({type(cell).__name__}) has input_size {cell.input_size}, got {given}")
        self.output_size = self._output_size()

    def _output_size(self) -> int | None:
        sizes = [cell.output_size for cell in (self._layers() if self.skips else self._layers()[-1:])]
        size = None if None in sizes else sum(size for size in sizes if size is not None)
        if self.readout is None or size is None:
            return size
        # What the readout makes of it, tried on tensors without storage.
        weights = {name: tensor.to("meta") for name, tensor in self.readout.state_dict().items()}
        dtype = next((weight.dtype for weight in weights.values()), None)
        try:
            y = functional_call(self.readout, weights, torch.empty(size, dtype=dtype, device="meta"))
        except RuntimeError as error:
            raise InputError(f"Stack: expected a readout that takes a vector of length {size}: {error}") from error
        return y.shape[0] if isinstance(y, Tensor) and y.dim() == 1 else None

    def _layers(self) -> list[Cell]:
        return list(self.cells)  # type: ignore[arg-type]

    def initial_state(self) -> tuple[State, ...]:
        return tuple(cell.initial_state() for cell in self._layers())

    def noise_shapes(self) -> NoiseShapes:
        return {f"{n}.{name}": spec for n, cell in enumerate(self._layers()) for name, spec in cell.noise_shapes().items()}

    def step(
        self,
        x: Any,
        state: tuple[State, ...],
        *,
        context: tuple[Any, ...] | None = None,
        noise: dict[str, Tensor] | None = None,
    ) -> tuple[Any, tuple[State, ...]]:
        outputs: list[Any] = []
        new_state: list[State] = []
        for n, cell in enumerate(self._layers()):
            layer_x = self._layer_input(n, x, outputs)
            y, layer_state = cell(layer_x, state[n], context=_layer_context(context, n), noise=_layer_noise(noise, n))
            outputs.append(y)
            new_state.append(layer_state)
        y = torch.cat(outputs) if self.skips else outputs[-1]
        return (y if self.readout is None else self.readout(y)), tuple(new_state)

    def gates(self, x: Any, state: tuple[State, ...]) -> dict[str, Tensor]:
        """The gates of every layer in evaluation, prefixed with the layer's number."""
        gates: dict[str, Tensor] = {}
        outputs: list[Any] = []
        for n, cell in enumerate(self._layers()):
            layer_x = self._layer_input(n, x, outputs)
            gates.update({f"{n}.{name}": value for name, value in cell.gates(layer_x, state[n]).items()})
            outputs.append(cell(layer_x, state[n])[0])
        return gates

    def _layer_input(self, n: int, x: Any, outputs: list[Any]) -> Any:
        if n == 0:
            return x
        return torch.cat([x, outputs[-1]]) if self.skips else outputs[-1]


def _layer_context(context: tuple[Any, ...] | None, n: int) -> Any:
    """The context of layer n; None where there is none."""
    return context[n] if context is not None and pytree.tree_leaves(context[n]) else None


def _layer_noise(noise: dict[str, Tensor] | None, n: int) -> dict[str, Tensor] | None:
    """The draws of layer n, without the prefix; None in evaluation and for a layer that draws nothing."""
    prefix = f"{n}."
    own = {name.removeprefix(prefix): draw for name, draw in (noise or {}).items() if name.startswith(prefix)}
    return own or None
