"""Capture a cell's step, run once for one sequence on tensors without data, as a `Graph`.

PyTorch's own operations are watched as they are dispatched, after `functionalize` has turned
changes in place into new values; each is written in the table's kinds at once (aten.py), so nothing
is traced that the lowerings do not know. Operations on nothing but constants are computed here.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from carousel.cell import Cell
from carousel.engine import batched
from carousel.engine.aten import conversion
from carousel.engine.build import Builder
from carousel.engine.ir import ROW, SHARED, STEP, Graph, Value
from carousel.engine.proof import Drawn, difference
from carousel.engine.standin import lifted, stand_in, unchanging
from carousel.engine.trace import checked
from carousel.errors import InputError
from carousel.torch_private import (
    FakeTensorMode,
    TorchDispatchMode,
    decomposition_table,
    overload_name,
    pytree,
    schema,
    unset_fake_temporarily,
)

_NEW_FROM_LIKE = frozenset("zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty".split())
_FACTORIES = frozenset("empty empty_strided new_empty_strided".split())


class UnsupportedStep(InputError):
    """The step cannot be lowered; the message names the operation and its line."""


class _NoKind(UnsupportedStep):
    """For want of a kind; the message is the outermost operation's, which is the one that the cell's author wrote."""


def capture(
    cell: Cell, x: Any, state: Any, context: Any, step_noise: dict[str, Tensor], sequence_noise: dict[str, Tensor]
) -> tuple[Graph, Any]:
    """(graph of the step, the tree that y is).

    Args:
        x, state, context, step_noise, sequence_noise: one step's arguments of one sequence, without a
            batch axis; only shapes and dtypes are looked at.

    Raises:
        UnsupportedStep: an operation that no kind of the table can express.
    """
    builder = Builder()
    weights = lifted(cell)
    groups = {
        "weight": (list(weights.values()), SHARED),
        "x": (pytree.tree_leaves(x), STEP),
        "state": (pytree.tree_leaves(state), STEP),
        "context": (pytree.tree_leaves(context), ROW),
        "noise": (list(step_noise.values()), STEP),
        "mask": (list(sequence_noise.values()), ROW),
    }
    named = {
        group: tuple(builder.input(f"{group}{n}", leaf.shape, leaf.dtype, lead) for n, leaf in enumerate(leaves))
        for group, (leaves, lead) in groups.items()
    }
    specs = [pytree.tree_structure(tree) for tree in (x, state, context)]
    y_spec: list[Any] = []

    def step(*leaves: Tensor) -> list[Tensor]:
        rest = list(leaves)

        def take(count: int) -> list[Tensor]:
            taken = rest[:count]
            del rest[:count]
            return taken

        own = dict(zip(weights, take(len(weights)), strict=True))
        x, state, context = (pytree.tree_unflatten(take(spec.num_leaves), spec) for spec in specs)
        noise = dict(zip([*step_noise, *sequence_noise], rest, strict=True))
        extra = {"context": context if pytree.tree_leaves(context) else None, "noise": noise or None}
        other = stand_in(cell, own)
        with unchanging(other):
            y, new_state = checked(cell, state, other(x, state, **extra))
        y_leaves, spec = pytree.tree_flatten(y)
        y_spec.append(spec)
        return [*y_leaves, *pytree.tree_leaves(new_state)]

    with torch.inference_mode(False), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        values = [value for group in named.values() for value in group]
        recorder = _Recorder(builder, type(cell).__name__)
        fakes = [recorder.input(value) for value in values]
        with recorder:
            try:
                with _NoMemory():
                    results = torch.func.functionalize(step)(*fakes)
            except RuntimeError as error:  # the step's own, which PyTorch will raise too, or functionalize's
                reason = str(error).partition("\n")[0]
                raise UnsupportedStep(f"{type(cell).__name__}.step cannot be captured: {reason}") from error
        found = [recorder.value(result) for result in results]
    count = y_spec[0].num_leaves
    graph = Graph(
        ops=tuple(builder.ops),
        weights=named["weight"],
        inputs=named["x"],
        state=named["state"],
        context=named["context"],
        step_noise=named["noise"],
        sequence_noise=named["mask"],
        constants=builder.constants,
        lead=builder.lead,
        stopped=frozenset(builder.stopped),
        outputs=tuple(found[:count]),
        new_state=tuple(found[count:]),
    )
    _prove(cell, graph, step, values, list(weights.values()))
    return graph, y_spec[0]


class _NoMemory(TorchFunctionMode):
    """Refuses what reads a tensor's memory past PyTorch's operations: here it has no data, and what was read would be noise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("numpy", "data_ptr", "__array__", "__dlpack__"):
            raise UnsupportedStep(f"a step reads a tensor's memory ({name}, {_line()}); use PyTorch's operations")
        return func(*args, **(kwargs or {}))


def _prove(cell: Cell, graph: Graph, step: Any, values: list[Value], weights: list[Tensor]) -> None:
    """Raise where the graph is not what the step does in PyTorch."""
    name = type(cell).__name__

    def has_lead(value: Value) -> bool:
        return graph.lead[value] != SHARED

    made = batched.instructions(graph.ops, has_lead, graph.stopped)

    def captured(given: list[Tensor]) -> list[Tensor]:
        env = dict(graph.constants)
        env.update((value, tensor[None] if has_lead(value) else tensor) for value, tensor in zip(values, given, strict=True))
        batched.run(made, env)
        return [env[value][0] if has_lead(value) else env[value] for value in (*graph.outputs, *graph.new_state)]

    known = [*weights, *[None] * (len(values) - len(weights))]
    noise = {*graph.step_noise, *graph.sequence_noise}
    inputs = [
        Drawn(value.name, value.shape, value.dtype, torch.device("cpu"), value in noise, weight)
        for value, weight in zip(values, known, strict=True)
    ]
    with torch.inference_mode(False), torch.enable_grad():
        try:
            found = difference(captured, lambda given: step(*given), inputs, cell.is_differentiated)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UnsupportedStep(f"{name}.step cannot be captured: {reason}") from error
    if found is not None:
        raise UnsupportedStep(
            f"{name}.step: what the native backend captures does not give what PyTorch gives ({found} differs), as where it writes "
            f"through an alias or reads numbers out of a tensor; use backend='eager' or other operations"
        )


class _Recorder(TorchDispatchMode):
    """Says every operation that is dispatched in the builder's kinds."""

    def __init__(self, builder: Builder, name: str) -> None:
        super().__init__()
        self._builder = builder
        self._name = name
        self._values: dict[int, Value] = {}
        self._known: dict[int, Tensor] = {}  # tensors that do not depend on any input, with their data
        self._alive: list[Any] = []  # an id stands for a tensor only as long as the tensor lives

    def input(self, value: Value) -> Tensor:
        """A tensor without data that stands for `value`."""
        fake = torch.empty(value.shape, dtype=value.dtype)
        self._bind(fake, value)
        return fake

    def value(self, tensor: Tensor) -> Value:
        """What a tensor of the step is in the graph."""
        if id(tensor) in self._values:
            return self._values[id(tensor)]
        with unset_fake_temporarily():
            return self._builder.constant(self._data(tensor))

    def _data(self, tensor: Tensor) -> Tensor:
        data = self._known.get(id(tensor))
        if data is None:
            raise InputError(
                f"{self._name}.step uses a tensor that is neither argument, parameter nor buffer; register it as a buffer"
            )
        return data

    def _bind(self, tensor: Tensor, value: Value) -> None:
        self._values[id(tensor)] = value
        self._alive.append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim" or func is torch.ops.aten.sym_size.default:
            return func(*args, **kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise UnsupportedStep(
                f"{self._name}.step draws random numbers ({func}, {_line()}); use noise_shapes() and noise instead"
            )
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func.overloadpacket.__name__
        if name in _NEW_FROM_LIKE or not any(id(tensor) in self._values for tensor in tensors):
            return self._computed(func, args, kwargs)
        self._refuse_complex(func, tensors)
        convert = conversion(func)
        in_place = schema(func).is_mutable
        if convert is None and in_place and name.endswith("_"):
            convert = conversion(_functional(func))
        if convert is None:
            if not in_place:
                self._refuse_complex(func, _leaves(func(*args, **kwargs)))
            parts = decomposition_table[func] if func in decomposition_table and not in_place else func.decompose
            try:
                with self:
                    out = parts(*args, **kwargs)
            except _NoKind:
                out = NotImplemented
            except UnsupportedStep:
                raise
            except Exception as error:  # whoever is at fault: PyTorch runs it, or says what is wrong
                raise self._refusal(func) from error
            if out is NotImplemented:
                raise self._refusal(func)
            return out
        out = func(*args, **kwargs)
        if in_place and self._is_input(args[0]):
            raise InputError(
                f"{self._name}.step changes an argument, the state or a parameter in place ({func}, {_line()}); "
                f"return a new tensor instead"
            )
        self._builder.line = _line()
        given, options = pytree.tree_map_only(Tensor, self.value, (args, kwargs))
        meta = [leaf.clone() if leaf is args[0] else leaf for leaf in _leaves(out)] if in_place else _leaves(out)
        try:
            with unset_fake_temporarily():  # constants that a conversion makes have data
                said = convert(self._builder, out if isinstance(out, (tuple, list)) else meta[0], *given, **_meaningful(options))
            said = said if isinstance(said, tuple) else (said,)
            for tensor, value in zip(_leaves(out), said, strict=True):
                assert (tuple(tensor.shape), tensor.dtype) == (value.shape, value.dtype), (func, tensor.shape, tensor.dtype, value)
        except InputError:
            raise
        except Exception as error:  # Unsupported, or arguments that the conversion does not know: PyTorch does
            raise self._refusal(func) from error
        for tensor, value in zip(_leaves(out), said, strict=True):
            self._bind(tensor, value)
        return out

    def _is_input(self, tensor: Tensor) -> bool:
        value = self._values.get(id(tensor))
        return value is not None and not value.name.startswith("v")

    def _computed(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation that depends on no input for real, so that its result is a constant."""
        out = func(*args, **kwargs)

        def real(tensor: Tensor) -> Tensor:
            if id(tensor) in self._known:
                return self._known[id(tensor)]
            if id(tensor) in self._values:  # of zeros_like and its kin only the shape is read
                return torch.zeros(tensor.shape, dtype=tensor.dtype)
            if func is torch.ops.aten.lift_fresh.default:  # made from a number, a list or an array just now
                return tensor
            return self._data(tensor)  # not known: an error

        with unset_fake_temporarily():
            given, options = pytree.tree_map_only(Tensor, real, (args, kwargs))
            data = func(*given, **options)
            if func.overloadpacket.__name__ in _FACTORIES or func.overloadpacket.__name__ in ("new_empty", "empty_like"):
                data = torch.zeros_like(data)
        for tensor, known in zip(_leaves(out), _leaves(data), strict=True):
            if isinstance(tensor, Tensor):
                self._known[id(tensor)] = known
                self._alive.append(tensor)
        return out

    def _refuse_complex(self, func: Any, tensors: list[Any]) -> None:
        if any(isinstance(tensor, Tensor) and tensor.is_complex() for tensor in tensors):
            raise UnsupportedStep(
                f"{self._name}.step: the native backend has no complex numbers ({func}, {_line()}); use backend='eager'"
            )

    def _refusal(self, func: Any) -> _NoKind:
        return _NoKind(f"{self._name}.step: the native backend has no {func} ({_line()}); use backend='eager' or other operations")


def _leaves(out: Any) -> list[Any]:
    return list(out) if isinstance(out, (tuple, list)) else [out]


def _meaningful(options: dict[str, Any]) -> dict[str, Any]:
    """Without the arguments that say where and how a result is stored."""
    return {
        name: value
        for name, value in options.items()
        if name not in ("memory_format", "layout", "device", "pin_memory", "non_blocking")
        and not (name == "dtype" and value is None)
    }


def _functional(func: Any) -> Any:
    """relu for relu_, overload by overload."""
    packet = getattr(torch.ops.aten, func.overloadpacket.__name__.removesuffix("_"), None)
    return getattr(packet, overload_name(func), func)


def _line() -> str:
    """file:line of the innermost frame that is neither PyTorch's nor the engine's."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/torch/" not in name and "/carousel/engine/" not in name:
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "unknown line"
