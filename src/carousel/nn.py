"""Layers shaped like torch.nn's over cells: drop-in `LSTM`, `GRU` and `RNN`, and those torch.nn has not.

    import torch
    from carousel import nn

    layer = nn.PeepholeLSTM(3, 8, num_layers=2, bidirectional=True)   # as torch.nn.LSTM's arguments
    x = torch.randn(20, 4, 3)                                         # (T, B, I)
    y, (h, c) = layer(x)                                              # (20, 4, 16), (4, 4, 8) twice
    y, (h, c), states = layer(x, (h, c), return_states=True)          # states.c: (4, 20, 4, 8)
    begins = torch.rand(20, 4) < 0.1                                  # a new episode begins here
    y, (h, c) = layer(x, reset=begins)
    plain = nn.LSTM(3, 8)
    plain.load_state_dict(torch.nn.LSTM(3, 8).state_dict())           # strict

`LSTM`, `GRU` and `RNN` take the arguments of torch.nn's layers of that name and give their results;
any other cell becomes a layer through `Recurrent`. What differs from torch.nn:

- Parameters are the cells' (``cells.<n>.W``, n = layer * directions + direction). torch.nn's names
  are understood when loading, never written. There is one bias where torch.nn has two that are
  added (a GRU keeps one more for its candidate): torch.nn's two are added on load, and the one
  starts with half the variance of their sum.
- The state of an LSTM is a NamedTuple (h, c); as torch.nn's it unpacks to two, and a plain pair is
  accepted.
- Sequences of zero steps are accepted; the final state is then the initial one.
- Wrong arguments raise InputError (a ValueError).
- No `flatten_parameters`, no autocast.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from carousel import cells
from carousel.cell import Cell, NoiseShapes, State
from carousel.errors import InputError
from carousel.loop import scan
from carousel.torch_private import pytree


class Reset(Cell):
    """A cell that starts over on request: it reads the pair (x, reset), reset a bool ().

    Where reset is True the state before the step is replaced by the cell's initial state.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.output_size, self.carries = cell.output_size, cell.carries
        self.training = cell.training  # a new module would be in training mode, and draw noise

    def initial_state(self) -> State:
        return self.cell.initial_state()

    def noise_shapes(self) -> NoiseShapes:
        return self.cell.noise_shapes()

    def step(
        self, x: tuple[Any, Tensor], state: State, *, context: Any = None, noise: dict[str, Tensor] | None = None
    ) -> tuple[Any, State]:
        x, reset = x
        state = pytree.tree_map(lambda start, old: torch.where(reset, start, old), self.initial_state(), state)
        return self.cell(x, state, context=context, noise=noise)


class Recurrent(nn.Module):
    """Layers of any cell, called as torch.nn's recurrent layers are.

    Args:
        cell:           makes the cell that reads vectors of a given length: ``cell(input_size) -> Cell``,
                        e.g. ``functools.partial(carousel.cells.FullyRecurrent, units=8)``.
        input_size:     I, length of the vectors that the lowest layer reads.
        num_layers:     layers on top of one another.
        batch_first:    inputs and outputs are (B, T, ...) in place of (T, B, ...).
        dropout:        in training, rate of the entries of every layer's output but the last's that
                        are dropped, drawn from torch's default generator.
        bidirectional:  each layer has a second cell that reads every sequence from its own end.

    D is 2 for bidirectional layers, else 1.
    """

    loads_torch = False
    """Whether `load_state_dict` understands the names of torch.nn's layers."""

    def __init__(
        self,
        cell: Callable[[int], Cell],
        input_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _check_kind(name, bool, batch_first=batch_first, bidirectional=bidirectional)
        _check_kind(name, int, input_size=input_size, num_layers=num_layers)
        _check_kind(name, float, dropout=dropout)
        if num_layers < 1:
            raise InputError(f"{name}: expected num_layers of 1 or more, got {num_layers}")
        if not 0 <= dropout <= 1:
            raise InputError(f"{name}: expected dropout in [0, 1], got {dropout}")
        if dropout and num_layers == 1:
            warnings.warn(f"{name}: dropout={dropout} acts between layers, and num_layers is 1", stacklevel=3)
        self.input_size, self.num_layers, self.batch_first = input_size, num_layers, batch_first
        self.dropout, self.bidirectional = dropout, bidirectional
        self.cells = nn.ModuleList()
        size = input_size
        for _ in range(num_layers):
            layer = [cell(size) for _ in range(self._directions)]
            self.cells.extend(layer)
            output_size = layer[0].output_size
            if output_size is None:
                raise InputError(f"{name}: expected a cell with an output_size, got {type(layer[0]).__name__}")
            size = self._directions * output_size
        self.output_size = size

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State = None,
        *,
        reset: Tensor | None = None,
        return_states: bool = False,
        backend: str = "auto",
    ) -> tuple[Any, ...]:
        """Run the layers over the sequences.

        Args:
            input:          (T, B, I), or (B, T, I) with batch_first, or (T, I), one sequence, or a
                            PackedSequence.
            hx:             the states before the first step, a tree of (num_layers * D, B, ...), or
                            (num_layers * D, ...) for one sequence; None for the cells' initial state.
            reset:          bool, laid out as the input without its last axis ((T, B) for a
                            PackedSequence, in the caller's order). True where a new episode begins
                            in a sequence: no direction carries its state from one to the other, and
                            the forward one starts it from the cell's initial state.
            return_states:  give the states after each step too.
            backend:        as in `carousel.scan`.

        Returns:
            (output, state) or (output, state, states). output is laid out as the input, with
            D * cell.output_size entries, forward first; state, after each sequence's last step, is
            built as hx; states is a tree of (num_layers * D, T, B, ...), T and B laid out as in the
            input. Of a PackedSequence, output is a PackedSequence, and state and states have the
            caller's order; past a sequence's end, output is zero and states keep the last one.

        Raises:
            InputError: shapes or dtypes that do not fit, with what was expected and what was given.
        """
        lengths = None
        if isinstance(input, PackedSequence):
            x, lengths = pad_packed_sequence(input)
        else:
            x = input
        self._check(x, reset)
        batched = x.dim() == 3
        batch_first = self.batch_first and batched and lengths is None

        def time_first(tensor: Tensor) -> Tensor:
            if not batched:
                return tensor.unsqueeze(1)
            return tensor.transpose(0, 1) if batch_first else tensor

        def as_given(tensor: Tensor, time: int = 0) -> Tensor:
            if not batched:
                return tensor.squeeze(time + 1)
            return tensor.transpose(time, time + 1) if batch_first else tensor

        x = time_first(x)
        reset = None if reset is None else time_first(reset)
        starts = self._starts(hx, x.shape[1], batched)
        finals: list[State] = []
        states: list[State] = []
        for layer in range(self.num_layers):
            if layer:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for direction in range(self._directions):
                n = layer * self._directions + direction
                output, final, *all_states = _read(
                    self.cells[n], x, reset, starts[n], lengths, direction == 1, return_states=return_states, backend=backend
                )
                outputs.append(output)
                finals.append(final)
                states.extend(all_states)
            x = torch.cat(outputs, dim=-1)

        y = as_given(x) if lengths is None else _packed_as(input, x, lengths)
        final = pytree.tree_map(lambda leaf: leaf if batched else leaf.squeeze(1), _stacked(finals))
        if not return_states:
            return y, final
        return y, final, pytree.tree_map(lambda leaf: as_given(leaf, time=1), _stacked(states))

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, num_layers={self.num_layers}, batch_first={self.batch_first}, "
            f"dropout={self.dropout}, bidirectional={self.bidirectional}"
        )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        ours = any(key.startswith(f"{prefix}cells.") for key in state_dict)
        theirs = any(key.startswith((f"{prefix}weight_", f"{prefix}bias_")) for key in state_dict)
        if self.loads_torch and theirs and not ours:
            for n, cell in enumerate(self.cells):
                layer, direction = divmod(n, self._directions)
                key = f"{prefix}{{}}_l{layer}{'_reverse' if direction else ''}"
                _take_torch_names(cell, state_dict, key, f"{prefix}cells.{n}.", missing_keys, error_msgs)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)

    def _check(self, x: Any, reset: Any) -> None:
        name, size = type(self).__name__, self.input_size
        if not isinstance(x, Tensor) or x.dim() not in (2, 3) or x.shape[-1] != size:
            layout = f"(B, T, {size})" if self.batch_first else f"(T, B, {size})"
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"{name}: expected input {layout}, (T, {size}) or a PackedSequence of such vectors, got {got}")
        parameter = next(self.parameters(), None)
        if parameter is not None and x.dtype != parameter.dtype:
            raise InputError(f"{name}: expected input of dtype {parameter.dtype}, as the parameters', got {x.dtype}")
        if reset is None:
            return
        if not isinstance(reset, Tensor) or reset.shape != x.shape[:-1] or reset.dtype != torch.bool:
            got = f"{tuple(reset.shape)} {reset.dtype}" if isinstance(reset, Tensor) else type(reset).__name__
            raise InputError(f"{name}: expected reset {tuple(x.shape[:-1])} torch.bool, for the input {tuple(x.shape)}, got {got}")

    def _starts(self, hx: State, batch: int, batched: bool) -> list[State]:
        """Each cell's state before the first step, tree of (B, ...), or None."""
        if hx is None:
            return [None] * len(self.cells)
        name = type(self).__name__
        first: Cell = self.cells[0]  # type: ignore[assignment]
        like, spec = pytree.tree_flatten(first.initial_state())
        paths = [f"hx{pytree.keystr(path)}" for path, _ in pytree.tree_leaves_with_path(first.initial_state())]
        leaves = pytree.tree_leaves(hx)
        if len(leaves) != len(like) or not all(isinstance(leaf, Tensor) for leaf in leaves):
            got = ", ".join(type(leaf).__name__ for leaf in leaves)
            raise InputError(f"{name}: expected hx of {len(like)} tensors ({', '.join(paths)}), got {len(leaves)} ({got})")
        for path, want, leaf in zip(paths, like, leaves, strict=True):
            shape = (len(self.cells), *((batch,) if batched else ()), *want.shape)
            if leaf.shape != shape or leaf.dtype != want.dtype:
                raise InputError(f"{name}: expected {path} {shape} {want.dtype}, got {tuple(leaf.shape)} {leaf.dtype}")
        if not batched:
            leaves = [leaf.unsqueeze(1) for leaf in leaves]
        return [pytree.tree_unflatten(list(each), spec) for each in zip(*leaves, strict=True)]


def _check_kind(name: str, kind: type, **arguments: Any) -> None:
    """Raise where an argument is no bool, int or float; "False" would count as true."""
    wanted = {bool: bool, int: Integral, float: Real}[kind]
    for argument, value in arguments.items():
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"{name}: expected {argument} of type {kind.__name__}, got {type(value).__name__} ({value!r})")


def _read(
    cell: Any, x: Tensor, reset: Tensor | None, state: State, lengths: Tensor | None, backward: bool, **options: Any
) -> tuple[Any, ...]:
    """What `scan` gives, in one direction; all time first."""
    inputs: Any = x
    if reset is not None:
        if backward:
            # An episode that begins at t + 1 is one that backward ends there: t starts anew.
            # The sequence's own last step has nothing after it.
            reset = torch.cat([reset[1:], torch.zeros_like(reset[:1])])
            if lengths is not None:
                steps = torch.arange(len(reset), device=reset.device)[:, None]
                reset = reset & (steps < lengths.to(reset.device) - 1)
        cell, inputs = Reset(cell), (x, reset)
    if not backward:
        return scan(cell, inputs, state, lengths=lengths, **options)
    outputs, final, *states = scan(cell, _reversed(inputs, lengths), state, lengths=lengths, **options)
    return _reversed(outputs, lengths), final, *_reversed(states, lengths)


def _reversed(tree: Any, lengths: Tensor | None) -> Any:
    """A tree of (T, B, ...) with the time of each sequence reversed; what is past its end stays there."""

    def reverse(leaf: Tensor) -> Tensor:
        if lengths is None:
            return leaf.flip(0)
        steps = torch.arange(leaf.shape[0])[:, None]
        source = torch.where(steps < lengths, lengths - 1 - steps, steps).to(leaf.device)  # (T, B)
        return leaf[source, torch.arange(leaf.shape[1], device=leaf.device)]

    return pytree.tree_map(reverse, tree)


def _stacked(trees: list[State]) -> State:
    """One tree of (N, ...) from N trees of (...)."""
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), trees[0], *trees[1:])


def _packed_as(like: Any, padded: Tensor, lengths: Tensor) -> PackedSequence:
    """The sequences of padded (T, B, ...), in the caller's order, packed in the order of `like`."""
    if like.sorted_indices is not None:
        padded, lengths = padded.index_select(1, like.sorted_indices), lengths[like.sorted_indices.cpu()]
    return like._replace(data=pack_padded_sequence(padded, lengths).data)


class LSTM(Recurrent):
    """torch.nn.LSTM, argument for argument.

    Args:
        options:  further options of `carousel.cells.LSTM` (forget_bias, zoneout_h, dropout_x, ...).
    """

    loads_torch = True
    variant: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        _check_kind(type(self).__name__, bool, bias=bias)
        _check_kind(type(self).__name__, int, hidden_size=hidden_size, proj_size=proj_size)
        own: dict[str, Any] = {"hidden_size": hidden_size, "bias": bias, "proj_size": proj_size, "device": device, "dtype": dtype}
        cell = partial(cells.LSTM, **own, **self.variant, **options)
        super().__init__(cell, input_size, num_layers, batch_first, dropout, bidirectional)
        self.hidden_size, self.bias, self.proj_size = hidden_size, bias, proj_size


class PeepholeLSTM(LSTM):
    """`LSTM` whose gates see the cell state (Gers, Schraudolph & Schmidhuber, JMLR 3, 2002)."""

    variant: ClassVar[dict[str, Any]] = {"peepholes": True}


class CoupledLSTM(LSTM):
    """`LSTM` whose forget gate is one minus its input gate (Greff et al., arXiv 1503.04069v2, CIFG)."""

    variant: ClassVar[dict[str, Any]] = {"coupled": True}


class LayerNormLSTM(LSTM):
    """`LSTM` with layer norm inside the gates and on the cell state (Ba, Kiros & Hinton, arXiv 1607.06450v1)."""

    variant: ClassVar[dict[str, Any]] = {"layer_norm": True}


class GRU(Recurrent):
    """torch.nn.GRU, argument for argument: the reset after the product.

    Args:
        options:  further options of `carousel.cells.GRU` (activation, zoneout, dropout_x, ...).
    """

    loads_torch = True
    variant: ClassVar[dict[str, Any]] = {"reset_after": True}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        _check_kind(type(self).__name__, bool, bias=bias)
        _check_kind(type(self).__name__, int, hidden_size=hidden_size)
        own: dict[str, Any] = {"hidden_size": hidden_size, "bias": bias, "device": device, "dtype": dtype}
        cell = partial(cells.GRU, **own, **self.variant, **options)
        super().__init__(cell, input_size, num_layers, batch_first, dropout, bidirectional)
        self.hidden_size, self.bias = hidden_size, bias


class ResetBeforeGRU(GRU):
    """`GRU` with the reset before the product (Cho et al., arXiv 1406.1078v3); torch.nn has none like it."""

    loads_torch = False
    variant: ClassVar[dict[str, Any]] = {}


class GRU1(ResetBeforeGRU):
    """`ResetBeforeGRU` whose gates see state and bias (Dey & Salem, arXiv 1701.05923v1)."""

    variant: ClassVar[dict[str, Any]] = {"gates_see": "hb"}


class GRU2(ResetBeforeGRU):
    """`ResetBeforeGRU` whose gates see the state (Dey & Salem, arXiv 1701.05923v1)."""

    variant: ClassVar[dict[str, Any]] = {"gates_see": "h"}


class GRU3(ResetBeforeGRU):
    """`ResetBeforeGRU` whose gates see a bias only (Dey & Salem, arXiv 1701.05923v1)."""

    variant: ClassVar[dict[str, Any]] = {"gates_see": "b"}


class RNN(Recurrent):
    """torch.nn.RNN, argument for argument: nonlinearity "tanh" or "relu"."""

    loads_torch = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_kind(type(self).__name__, bool, bias=bias)
        _check_kind(type(self).__name__, int, hidden_size=hidden_size)
        cell = partial(cells.Elman, hidden_size=hidden_size, nonlinearity=nonlinearity, bias=bias, device=device, dtype=dtype)
        super().__init__(cell, input_size, num_layers, batch_first, dropout, bidirectional)
        self.hidden_size, self.nonlinearity, self.bias = hidden_size, nonlinearity, bias


class MGU(Recurrent):
    """Minimal gated units (Zhou et al., arXiv 1603.09420v1), which always have a bias: torch.nn.GRU's arguments without it."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _check_kind(type(self).__name__, int, hidden_size=hidden_size)
        cell = partial(cells.MGU, hidden_size=hidden_size, device=device, dtype=dtype)
        super().__init__(cell, input_size, num_layers, batch_first, dropout, bidirectional)
        self.hidden_size = hidden_size


def _take_torch_names(cell: Any, state_dict: dict[str, Any], key: str, own: str, missing: list[str], errors: list[str]) -> None:
    """Turn the entries of one cell under torch.nn's names into entries under its own.

    A missing or wrongly shaped entry is reported under torch.nn's name, and leaves the parameter that
    needs it as it is.

    Args:
        key:   torch.nn's name of an entry, with {} where it says which (weight_ih, ...).
        own:   the cell's own prefix.
    """
    b_hn = getattr(cell, "b_hn", None)
    taken: dict[str, Tensor] = {}
    for kind, like in (
        ("weight_ih", cell.W),
        ("weight_hh", cell.U),
        ("weight_hr", getattr(cell, "V", None)),
        ("bias_ih", cell.b),
        ("bias_hh", cell.b),
    ):
        name = key.format(kind)
        if like is None:
            continue
        if name not in state_dict:
            missing.append(name)
            continue
        entry = state_dict.pop(name)
        if entry.shape == like.shape:
            taken[kind] = entry
        else:
            errors.append(
                f"size mismatch for {name}: copying a param with shape {entry.shape} from checkpoint, "
                f"the shape in current model is {like.shape}."
            )
    values = {"W": taken.get("weight_ih"), "U": taken.get("weight_hh"), "V": taken.get("weight_hr")}
    if "bias_ih" in taken and "bias_hh" in taken:
        # The candidate of torch.nn.GRU multiplies bias_hh by the reset gate: it is not added there.
        kept = 0 if b_hn is None else len(b_hn)
        added = len(cell.b) - kept
        values["b"] = taken["bias_ih"] + F.pad(taken["bias_hh"][:added], (0, kept))
        values["b_hn"] = taken["bias_hh"][added:]
    for parameter in ("W", "U", "V", "b", "b_hn"):
        current = getattr(cell, parameter, None)
        if current is not None:
            value = values.get(parameter)
            state_dict[own + parameter] = current if value is None else value
