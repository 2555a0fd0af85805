"""The arguments of `scan` and `Stepper`, checked before any backend sees them; what is wrong is said in one line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from carousel.cell import Cell, State, built
from carousel.engine.made import with_made_weights
from carousel.engine.scan_call import Call, being_compiled, mapped
from carousel.engine.scan_call import leaves as leaves_of
from carousel.engine.snapshot import Snapshot, snapshot_of
from carousel.errors import InputError
from carousel.torch_private import pytree


def checked_call(
    cell: Cell,
    inputs: Any,
    state: State,
    context: Any,
    generator: torch.Generator | None,
    lengths: Tensor | Sequence[int] | None,
    return_states: bool,
) -> tuple[Cell, Call]:
    """The cell to run and the arguments of `carousel.scan`, checked and completed.

    Raises:
        InputError: shapes, dtypes or devices that do not fit.
    """
    cell, cell_now = look_at("scan", cell)
    steps, batch = check_inputs("scan", ("T", "B"), cell, cell_now, inputs)
    if state is None:
        state = mapped(lambda leaf: leaf.expand(batch, *leaf.shape), cell.initial_state())
    else:
        check_state("scan", cell, state, (batch,))
    check_context(cell, context, batch)
    step_noise, sequence_noise = _draw_noise(cell, cell_now, steps, batch, generator)
    lengths = _checked_lengths(lengths, steps, batch)
    return cell, Call(cell_now, steps, batch, inputs, state, context, step_noise, sequence_noise, lengths, return_states)


def look_at(who: str, cell: Cell) -> tuple[Cell, Snapshot]:
    """The cell, with the weights that are made ready, and its key and weights as they are now: looked at once a call."""
    if not isinstance(cell, Cell):
        raise InputError(f"{who}: expected a carousel.Cell, got {type(cell).__name__}")
    # What is traced has other tensors in the place of the cell's own: nothing to remember.
    look: Callable[[Cell], Snapshot] = Snapshot if being_compiled() else snapshot_of
    found = look(cell)
    if found.has_made_tensors:
        cell = with_made_weights(cell)
        found = look(cell)
    return cell, found


def check_inputs(who: str, axes: tuple[str, ...], cell: Cell, cell_now: Snapshot, inputs: Any) -> tuple[int, ...]:
    """The sizes of the leading axes, after a look at the shape, dtype and device of the inputs."""
    name, size, leading = type(cell).__name__, cell.input_size, len(axes)
    wanted = f"({', '.join([*axes, '...' if size is None else str(size)])})" if axes else f"({size or '...'},)"
    leaves = leaves_of(inputs)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise InputError(f"{who}: expected inputs to be a tensor {wanted} or a tree of them, got {type(inputs).__name__}")
    shapes = [tuple(leaf.shape) for leaf in leaves]
    if any(len(shape) < leading or shape[:leading] != shapes[0][:leading] for shape in shapes):
        raise InputError(
            f"{who}: expected inputs that all lead with the same ({', '.join(axes)}), got {', '.join(map(str, shapes))}"
        )
    if size is not None and (not isinstance(inputs, Tensor) or shapes[0][leading:] != (size,)):
        got = shapes[0] if isinstance(inputs, Tensor) else type(inputs).__name__
        raise InputError(f"{who}: expected inputs {wanted} for {name}, got {got}")
    weight = cell_now.weight
    if weight is not None:
        for leaf in leaves:
            if leaf.device != weight.device:
                raise InputError(f"{who}: expected inputs on {weight.device}, where the cell is, got {leaf.device}")
            # An integer is an index; where x is a vector it must be of the cell's own dtype.
            if leaf.dtype != weight.dtype and (leaf.is_floating_point() or size is not None):
                raise InputError(f"{who}: expected inputs of dtype {weight.dtype}, as the cell's, got {leaf.dtype}")
    return shapes[0][:leading]


def check_state(who: str, cell: Cell, state: State, leading: tuple[int, ...]) -> None:
    name = type(cell).__name__
    expected = cell.initial_state()
    if pytree.tree_structure(expected) != pytree.tree_structure(state):
        raise InputError(f"{who}: expected a state of {name} built as {built(expected)}, got {built(state)}")
    for (path, want), leaf in zip(pytree.tree_leaves_with_path(expected), pytree.tree_leaves(state), strict=True):
        where, shape = f"state{pytree.keystr(path)}", (*leading, *want.shape)
        if not isinstance(leaf, Tensor):
            raise InputError(f"{who}: expected {where} of {name} to be a tensor {shape}, got {type(leaf).__name__}")
        if (leaf.shape, leaf.dtype, leaf.device) != (shape, want.dtype, want.device):
            raise InputError(
                f"{who}: expected {where} of {name} {shape} {want.dtype} on {want.device}, "
                f"got {tuple(leaf.shape)} {leaf.dtype} on {leaf.device}"
            )


def check_context(cell: Cell, context: Any, batch: int) -> None:
    if context is None:
        return
    if "context" not in inspect.signature(cell.step).parameters:
        raise InputError(f"scan: expected no context, {type(cell).__name__}.step takes none")
    for path, leaf in pytree.tree_leaves_with_path(context):
        where = f"context{pytree.keystr(path)}"
        if not isinstance(leaf, Tensor):
            raise InputError(f"scan: expected {where} to be a tensor (B, ...), got {type(leaf).__name__}")
        if leaf.dim() == 0 or leaf.shape[0] != batch:
            raise InputError(f"scan: expected {where} to lead with B = {batch}, got shape {tuple(leaf.shape)}")


def _checked_lengths(lengths: Tensor | Sequence[int] | None, steps: int, batch: int) -> Tensor | None:
    if lengths is None:
        return None
    try:
        given = lengths.cpu() if isinstance(lengths, Tensor) else torch.as_tensor(lengths, device="cpu")
    except (TypeError, ValueError) as error:
        raise InputError(f"scan: expected lengths ({batch},) of integers, got {lengths!r}") from error
    if given.shape != (batch,) or given.dtype not in (torch.int64, torch.int32):
        raise InputError(f"scan: expected lengths ({batch},) of integers, got {tuple(given.shape)} {given.dtype}")
    if being_compiled():  # then it has no values yet, and the operator looks at them
        return given.long()
    least, most = map(int, given.aminmax()) if batch else (steps, steps)
    if not 0 <= least <= most <= steps:
        raise InputError(f"scan: expected lengths in 0..T = {steps}, got {least}..{most}")
    return None if least == steps else given.long()


def _draw_noise(
    cell: Cell, cell_now: Snapshot, steps: int, batch: int, generator: torch.Generator | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """U[0, 1) draws in the cell's dtype: those of each step (T, B, ...) and those of a sequence (B, ...)."""
    step_noise: dict[str, Tensor] = {}
    sequence_noise: dict[str, Tensor] = {}
    if not cell.training:
        return step_noise, sequence_noise
    weight = torch.empty(0) if cell_now.weight is None else cell_now.weight
    for name, (kind, shape) in cell.noise_shapes().items():
        if kind not in ("step", "sequence"):
            raise InputError(f"scan: expected {type(cell).__name__}'s noise {name!r} drawn each 'step' or 'sequence', got {kind!r}")
        leading = (steps, batch) if kind == "step" else (batch,)
        if generator is None:  # to name it all the same would need plain sizes
            draw = torch.rand(*leading, *shape, dtype=weight.dtype, device=weight.device)
        else:
            draw = torch.rand(*leading, *shape, generator=generator, dtype=weight.dtype, device=generator.device).to(weight.device)
        (step_noise if kind == "step" else sequence_noise)[name] = draw
    return step_noise, sequence_noise
