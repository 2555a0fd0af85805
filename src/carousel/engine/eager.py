"""The eager lowering: the traced step, run by PyTorch once a time step. The reference for every other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.engine.scan_call import Call
from carousel.engine.trace import trace_batched
from carousel.torch_private import pytree


def run(cell: Cell, call: Call) -> tuple[Any, Any, Any]:
    """(outputs, final_state, states) as `carousel.scan` gives them; states is None unless asked for.

    Past a sequence's end its step is computed and thrown away, on inputs set to zero there, so
    that whatever stands in the padding reaches neither a value nor a gradient.
    """
    state, state_spec = pytree.tree_flatten(call.state)
    context = () if call.context is None else call.context
    per_step = (call.inputs, call.step_noise)
    step_leaves, step_spec = pytree.tree_flatten(per_step)
    active = None
    if call.lengths is not None and bool((call.lengths < call.steps).any()):
        device = step_leaves[0].device
        active = (torch.arange(call.steps)[:, None] < call.lengths).to(device)  # (T, B)
        step_leaves = [torch.where(_like(active, leaf), leaf, leaf.new_zeros(())) for leaf in step_leaves]

    one = [leaf.new_empty(leaf.shape[1:]) for leaf in step_leaves]
    x, step_noise = pytree.tree_unflatten(one, step_spec)
    traced = trace_batched(cell, call.cell_now.key, x, call.state, context, {**step_noise, **call.sequence_noise})
    weights = list(call.cell_now.weights.values())
    context_leaves = [leaf.contiguous() for leaf in pytree.tree_leaves(context)]
    sequence_noise = list(call.sequence_noise.values())
    n_inputs = len(pytree.tree_leaves(call.inputs))

    over_time = [leaf.unbind(0) for leaf in step_leaves]
    outputs: list[list[Tensor]] = []
    states: list[list[Tensor]] = []
    for t in range(call.steps):
        # The step was traced on contiguous tensors, and may look at them by views.
        now = [leaf[t].contiguous() for leaf in over_time]
        state = [leaf.contiguous() for leaf in state]
        result = traced.graph(*weights, *now[:n_inputs], *state, *context_leaves, *now[n_inputs:], *sequence_noise)
        y, new_state = result[: len(traced.y_like)], result[len(traced.y_like) :]
        if active is not None:
            y = [torch.where(_like(active[t], leaf), leaf, leaf.new_zeros(())) for leaf in y]
            new_state = [torch.where(_like(active[t], new), new, old) for new, old in zip(new_state, state, strict=True)]
        state = new_state
        outputs.append(y)
        if call.return_states:
            states.append(state)

    def stacked(steps: list[list[Tensor]], spec: pytree.TreeSpec, like: list[Tensor]) -> Any:
        if steps:
            leaves = [torch.stack(leaf) for leaf in zip(*steps, strict=True)]
        else:
            leaves = [leaf.new_empty((0, call.batch, *leaf.shape[1:])) for leaf in like]
        return pytree.tree_unflatten(leaves, spec)

    final_state = pytree.tree_unflatten(state, state_spec)
    all_states = stacked(states, state_spec, state) if call.return_states else None
    return stacked(outputs, traced.y_spec, traced.y_like), final_state, all_states


def _like(active: Tensor, leaf: Tensor) -> Tensor:
    """`active` with trailing axes of size one, to broadcast against leaf."""
    return active.reshape(active.shape + (1,) * (leaf.dim() - active.dim()))
