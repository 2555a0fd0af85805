"""scan as `torch.compile` sees it: a call that Dynamo, which reads Python, steps over.

What is stepped over takes and gives tensors, plain values, trees of them, and modules; it runs
when the call is traced, on tensors without data, and leaves one operator in the graph
(operator.py). Loaded only where something is compiled: it loads the compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from carousel import engine
from carousel.cell import Cell, State
from carousel.errors import InputError
from carousel.torch_private import dynamo, pytree

_graph_break, _nonstrict_trace = dynamo()

_found: list[Any] = []
"""Of the latest call the tree of its results with their numbers at its leaves, or why it cannot be traced."""


def scan(
    cell: Cell,
    inputs: Any,
    state: State,
    context: Any,
    generator: torch.Generator | None,
    lengths: Tensor | Sequence[int] | None,
    return_states: bool,
    backend: str,
) -> tuple[Any, ...]:
    """What `carousel.scan` gives.

    Where a call cannot be traced the graph ends before it, and it runs as if uncompiled; with
    ``fullgraph=True`` that is an error with the reason.
    """
    if torch.compiler.is_exporting():
        found: Any = "scan: torch.export.export(strict=True) cannot trace it; leave out strict"
    elif backend == "eager":
        found = "scan: backend 'eager' is not traced; leave backend out"
    elif generator is not None:
        found = "scan: a generator is not traced; leave it out, for torch's default one"
    else:
        # Read here, so that what was compiled is not used again after a change of one of them.
        plain = [
            value for module in cell.modules() for value in vars(module).values() if isinstance(value, (bool, int, float, str))
        ]
        options = {"state": state, "context": context, "lengths": lengths}
        given = {name: option for name, option in options.items() if option is not None}  # None cannot be handed over
        leaves = _leaves(cell, inputs, given, return_states, backend, plain)
        found = _tree_or_reason()
        if not isinstance(found, str):
            return pytree.tree_map(lambda n: leaves[n], found)
    _graph_break(msg=found)
    return _uncompiled(cell, inputs, state, context, generator, lengths, return_states, backend)


@_nonstrict_trace
def _leaves(cell: Cell, inputs: Any, given: dict[str, Any], return_states: bool, backend: str, _plain: list[Any]) -> list[Tensor]:
    """The tensors that `carousel.scan` gives; none where it cannot be traced."""
    arguments = given.get("state"), given.get("context"), None, given.get("lengths")
    try:
        leaves, spec = pytree.tree_flatten(engine.scan(cell, inputs, *arguments, return_states, backend))
    except InputError as error:  # Dynamo would hide the message
        _found[:] = [str(error)]
        return []
    _found[:] = [pytree.tree_unflatten(range(len(leaves)), spec)]
    return leaves


@torch.compiler.assume_constant_result
def _tree_or_reason() -> Any:
    return _found[0]


_uncompiled = torch.compiler.disable(engine.scan)
