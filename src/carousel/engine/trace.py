"""Trace a cell's step once to a graph of ATen operations, with parameters and buffers as inputs.

The graph is found again by a key that holds everything that tracing bakes in: the shapes and
dtypes of the arguments and every non-tensor attribute of the cell and its submodules. So
``cell.alpha = 0.3`` or ``cell.eval()`` never meets a stale graph.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from carousel.cell import Cell, TreeCell, built
from carousel.engine.lock import LOCK
from carousel.engine.proof import Drawn, difference
from carousel.engine.standin import lifted, stand_in, unchanging
from carousel.errors import InputError
from carousel.torch_private import (
    DROPOUT,
    OpOverload,
    make_fx,
    open_batch_mode,
    pytree,
    schema,
    temporarily_clear_interpreter_stack,
    without_data,
)

_CACHE_SIZE = 256
_cache: OrderedDict[Any, Any] = OrderedDict()


@dataclass(frozen=True)
class TracedStep:
    """The graph of one step of a batch of sequences.

    graph:    takes the leaves of (parameters and buffers, x, state, context, noise), each but the
              first with a leading batch axis, and returns the leaves of (y, next state).
    code:     the graph as Python text.
    y_spec:   the tree that y is.
    y_like:   empty (0, ...) tensors with the shape and dtype of each leaf of y.
    """

    graph: Callable[..., list[Tensor]]
    code: str
    y_spec: pytree.TreeSpec
    y_like: list[Tensor]


def trace_batched(cell: Cell, cell_key: Any, x: Any, state: Any, context: Any, noise: dict[str, Tensor]) -> TracedStep:
    """The step of `cell` as a graph over B sequences, traced with a symbolic B.

    Where the batch size gets into the graph all the same, as a number, the graph is kept for that
    batch size only.

    Args:
        cell_key: equal for cells whose steps are the same.
        x, state, context, noise: one step's arguments with a leading batch axis B; () for no
            context, {} for no noise.

    Raises:
        InputError: the next state differs from state in structure, shape or dtype; the step
            changes an argument in place, branches on a tensor's value or draws random numbers; the
            cell holds a tensor that is neither parameter nor buffer.
    """
    arguments = (x, state, context, noise)
    leaves, spec = pytree.tree_flatten(arguments)
    key = (
        cell_key,
        spec,
        tuple((leaf.shape[1:], leaf.dtype, leaf.device) for leaf in leaves),
        tuple((name, leaf.shape, leaf.dtype, leaf.device) for name, leaf in lifted(cell).items()),
    )
    batch = leaves[0].shape[0]
    found = _found(key, batch)
    if found is None:
        with LOCK:
            found = _found(key, batch) or _traced(cell, arguments, key, batch)
    return found


def _found(key: Any, batch: int) -> TracedStep | None:
    for found in ((key, None), (key, batch)):
        try:
            _cache.move_to_end(found)
            return _cache[found]
        except KeyError:
            continue
    return None


def _traced(cell: Cell, arguments: tuple[Any, ...], key: Any, batch: int) -> TracedStep:
    """The step traced, and kept."""
    traced, any_batch = _trace(cell, arguments, symbolic=5)
    if not any_batch:
        # Some operations (layer norm) ask for the batch size as a number, but only to look at it:
        # where it is written nowhere into the graph, another size gives the same graph.
        other, _ = _trace(cell, arguments, symbolic=7)
        any_batch = traced.code == other.code
    if not any_batch:
        traced, _ = _trace(cell, arguments, symbolic=None)
    if batch:
        _prove(cell, arguments, traced, 2 if any_batch else batch)
    _cache[(key, None if any_batch else batch)] = traced
    while len(_cache) > _CACHE_SIZE:
        _cache.popitem(last=False)
    return traced


def _trace(cell: Cell, arguments: tuple[Any, ...], symbolic: int | None) -> tuple[TracedStep, bool]:
    """The traced step, and whether tracing has left its batch size open.

    symbolic: the batch size that stands for all while tracing; None to trace for the one that the
    arguments have.
    """
    mode, sizes_found = open_batch_mode()

    def fake(leaf: Tensor, batched: bool) -> Tensor:
        sizes = (symbolic, *leaf.shape[1:]) if batched and symbolic else leaf.shape
        like = torch.empty(sizes, dtype=leaf.dtype, device=leaf.device)
        return without_data(mode, like, open_batch=batched and symbolic is not None)

    weights = lifted(cell)
    leaves, spec = pytree.tree_flatten((weights, *arguments))
    y_spec: list[pytree.TreeSpec] = []

    def step(weights: dict[str, Tensor], x: Any, state: Any, context: Any, noise: Any) -> list[Tensor]:
        other = stand_in(cell, weights)

        def one_sequence(*arguments: Any) -> list[Tensor]:
            y, new_state = _one_sequence(other, *arguments)
            y_leaves, spec = pytree.tree_flatten(y)
            y_spec.append(spec)
            return [*y_leaves, *pytree.tree_leaves(new_state)]

        with unchanging(other):
            return torch.vmap(one_sequence)(x, state, context, noise)

    def flat_step(*leaves: Tensor) -> list[Tensor]:
        return step(*pytree.tree_unflatten(leaves, spec))

    # The graph is the same inside of jvp, vmap and their like; to trace there would be to trace them too.
    with temporarily_clear_interpreter_stack(), torch.inference_mode(False):
        fakes = [fake(leaf, batched=n >= len(weights)) for n, leaf in enumerate(leaves)]
        try:
            graph = make_fx(flat_step, tracing_mode="symbolic")(*fakes)
        except (RuntimeError, AssertionError) as error:
            reason = _why_untraceable(cell, str(error))
            if reason is None:
                raise
            raise InputError(f"{type(cell).__name__}.step {reason}") from error
    _refuse_in_place(cell, graph)
    # What tracing leaves behind unused need not hold for every batch size (B = 0).
    graph.graph.eliminate_dead_code()
    graph.recompile()
    (output,) = graph.graph.find_nodes(op="output")
    y_like = [
        torch.empty((0, *node.meta["val"].shape[1:]), dtype=node.meta["val"].dtype, device=node.meta["val"].device)
        for node in output.args[0][: y_spec[0].num_leaves]
    ]
    # The generated method takes the leaves as they are; calling the module would run hooks.
    return TracedStep(graph.forward, graph.code, y_spec[0], y_like), not sizes_found.replacements


def _one_sequence(cell: Cell, x: Any, state: Any, context: Any, noise: Any) -> tuple[Any, Any]:
    extra = {"context": context if _has_leaves(context) else None, "noise": noise or None}
    return checked(cell, state, cell(x, state, **extra))


def _prove(cell: Cell, arguments: tuple[Any, ...], traced: TracedStep, batch: int) -> None:
    """Raise where the graph for so many sequences is not what the step does in PyTorch."""
    weights = lifted(cell)
    leaves, spec = pytree.tree_flatten(arguments)
    n_noise = len(arguments[-1])

    def captured(given: list[Tensor]) -> list[Tensor]:
        rows = [torch.stack([tensor] * batch) for tensor in given[len(weights) :]]
        return [leaf[0] for leaf in traced.graph(*given[: len(weights)], *rows)]

    def step(given: list[Tensor]) -> list[Tensor]:
        other = stand_in(cell, dict(zip(weights, given, strict=False)))
        return pytree.tree_leaves(_one_sequence(other, *pytree.tree_unflatten(given[len(weights) :], spec)))

    inputs = [Drawn(name, tensor.shape, tensor.dtype, tensor.device, weight=tensor) for name, tensor in weights.items()]
    inputs += [
        Drawn(f"argument {n}", leaf.shape[1:], leaf.dtype, leaf.device, is_noise=n >= len(leaves) - n_noise)
        for n, leaf in enumerate(leaves)
    ]
    with temporarily_clear_interpreter_stack(), torch.inference_mode(False), torch.enable_grad():
        try:
            found = difference(captured, step, inputs, cell.is_differentiated)
        except RuntimeError:  # PyTorch has no derivative of the step, and nobody will ask for one
            return
    if found is not None:
        raise InputError(
            f"{type(cell).__name__}.step does not give what its trace gives ({found} differs): it has a backward of its own "
            f"(autograd.Function), reads numbers out of a tensor, or differs from call to call; write it in PyTorch's operations"
        )


def _why_untraceable(cell: Cell, message: str) -> str | None:
    """What a step does that no step may do, told from PyTorch's error; None where it is another error."""
    dropout = any(isinstance(module, DROPOUT) and module.training for module in cell.modules())
    if dropout or "random operation" in message:
        return "draws random numbers; declare them in noise_shapes() and read them from noise, or draw outside of scan"
    if "data-dependent control flow" in message or ".item()" in message:
        return "branches on the value of a tensor; use torch.where"
    if "autograd.Function" in message:
        return "has a backward of its own (autograd.Function), which would be lost; write it as soft + (hard - soft).detach()"
    if "storage" in message:
        return "reads a tensor's memory (numpy, tolist); use PyTorch's operations"
    reason = message.partition("\n")[0]
    if any(part in message for part in ("ata-dependent", "dynamic shape", "masked_select", "aten.equal", "allclose")):
        return f"has a shape or a choice that depends on the values of a tensor; use torch.where ({reason})"
    if "vmap" in message or "Batching rule" in message:
        return f"has an operation that cannot run for many sequences at once ({reason})"
    if "convert all Tensors to FakeTensors" in message:
        return "uses a tensor from outside; make it a parameter or a buffer of the cell, or context"
    return None


def _has_leaves(tree: Any) -> bool:
    return len(pytree.tree_leaves(tree)) > 0


def checked(cell: Cell, state: Any, result: Any) -> tuple[Any, Any]:
    """(y, next state), after a look at whether the next state is like the one before, or like each of the children's."""
    name, method, own = type(cell).__name__, *(("merge", 1) if isinstance(cell, TreeCell) else ("step", 0))
    if not (isinstance(result, tuple) and len(result) == 2):
        raise InputError(f"{name}.step must return (y, state), got {type(result).__name__}")
    if pytree.tree_structure(state) != pytree.tree_structure(result[1]):
        raise InputError(
            f"{name}.{method} must return a state built like the one it got: expected {built(state)}, got {built(result[1])}"
        )
    for (path, old), new in zip(pytree.tree_leaves_with_path(state), pytree.tree_leaves(result[1]), strict=True):
        if old.shape[own:] != new.shape or old.dtype != new.dtype:
            raise InputError(
                f"{name}.{method} must return a state like the one it got: expected state{pytree.keystr(path)} "
                f"{tuple(old.shape[own:])} {old.dtype}, got {tuple(new.shape)} {new.dtype}"
            )
    return result


def _refuse_in_place(cell: Cell, graph: fx.GraphModule) -> None:
    """Raise where the step writes into one of its arguments or into a parameter."""
    base: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, OpOverload):
            continue
        for argument, given in zip(node.args, schema(node.target).arguments, strict=False):
            if not isinstance(argument, fx.Node) or given.alias_info is None:
                continue
            base[node] = base.get(argument, argument)
            if given.alias_info.is_write and base[node].op == "placeholder":
                raise InputError(
                    f"{type(cell).__name__}.step changes an argument, the state or a parameter in place "
                    f"({node.target}); return a new tensor instead"
                )
