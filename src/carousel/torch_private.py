"""Every name of PyTorch that PyTorch does not promise to keep, in one place.

The rest of carousel takes these from here, and a test says which of them is gone when PyTorch
changes. Those that take long to load are imported where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DisableTorchFunction
from torch._decomp import decomposition_table
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._guards import TracingContext
from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.modules import module
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

__all__ = [
    "BACKWARD_HOOKS",
    "BUFFERS",
    "DROPOUT",
    "GLOBAL_HOOKS",
    "HOOKS",
    "MODULES",
    "MODULE_TABLES",
    "PARAMETERS",
    "PRE_HOOKS",
    "DisableTorchFunction",
    "FakeTensorMode",
    "OpOverload",
    "OpOverloadPacket",
    "TorchDispatchMode",
    "add_to_each",
    "base",
    "decomposition_table",
    "dispatch_modes",
    "dynamo",
    "flatten",
    "function_modes",
    "in_transform",
    "is_traced",
    "is_wrapped",
    "make_fx",
    "name_tuples",
    "no_modes",
    "open_batch_mode",
    "overload_name",
    "pytree",
    "schema",
    "storage_id",
    "storage_users",
    "temporarily_clear_interpreter_stack",
    "unflatten",
    "unset_fake_temporarily",
    "version",
    "with_forward_derivatives",
    "without_data",
]

PRE_HOOKS = "_forward_pre_hooks"
HOOKS, BACKWARD_HOOKS = (PRE_HOOKS, "_forward_hooks"), ("_backward_pre_hooks", "_backward_hooks")
"""The attributes of a module that hold its hooks."""

MODULE_TABLES = PARAMETERS, BUFFERS, MODULES = ("_parameters", "_buffers", "_modules")
"""The attributes of a module that hold what it is made of."""

GLOBAL_HOOKS: tuple[Mapping[int, Any], ...] = (module._global_forward_pre_hooks, module._global_forward_hooks)
"""The hooks on all modules."""

DROPOUT = nn.modules.dropout._DropoutNd
"""The base of torch.nn's dropout layers."""

base: Callable[[Tensor], Tensor | None] = attrgetter("_base")
"""The tensor that a tensor is a view of."""

version: Callable[[Tensor], int] = attrgetter("_version")
"""A count that goes up when a tensor is changed in place."""

storage_id: Callable[[torch.UntypedStorage], int] = attrgetter("_cdata")
"""The address that tells one storage from another, while it lives."""

schema: Callable[[OpOverload], Any] = attrgetter("_schema")
"""The signature of an operation, with what it changes in place."""

overload_name: Callable[[OpOverload], str] = attrgetter("_overloadname")

add_to_each = torch._foreach_add_
flatten = torch._C._nn.flatten_dense_tensors
unflatten = torch._C._nn.unflatten_dense_tensors
no_modes = _disable_current_modes
function_modes: Callable[[], int] = torch._C._len_torch_function_stack
"""How many modes look at every function; a default device is one of them."""

dispatch_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
"""How many modes look at every operation."""

storage_users: Callable[[int], int] = torch._C._storage_Use_Count
"""How many tensors and other holders a storage has, by its `storage_id`."""


def in_transform() -> bool:
    """Whether the call is inside a torch.func transform."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def with_forward_derivatives() -> bool:
    """Whether the call is inside forward-mode differentiation."""
    return forward_ad._current_level >= 0


def is_wrapped(tensor: Tensor) -> bool:
    """Whether a tensor stands for others: inside of a torch.func transform, or for many cotangents at once."""
    functorch = torch._C._functorch
    return functorch.is_functorch_wrapped_tensor(tensor) or functorch.is_legacy_batchedtensor(tensor)


def is_traced() -> bool:
    """Whether `torch.compile` or `torch.export` runs the call on tensors without data."""
    return dispatch_modes() > 0 and TracingContext.try_get() is not None


def name_tuples(tree: Any) -> None:
    """Give the NamedTuples of a tree names under which `torch.export.save` can write them, and `load` read them."""
    kind = type(tree)
    if not isinstance(tree, tuple):
        return
    if pytree.is_namedtuple_class(kind) and kind not in pytree.SUPPORTED_SERIALIZED_TYPES:
        pytree._register_namedtuple(kind, serialized_type_name=f"{kind.__module__}.{kind.__qualname__}")
        torch.serialization.add_safe_globals([kind])
    for part in tree:
        name_tuples(part)


def open_batch_mode() -> tuple[FakeTensorMode, Any]:
    """(a mode whose tensors may have a batch axis of open size, its sizes: `replacements` has those that were fixed after all)."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    sizes = ShapeEnv()
    return FakeTensorMode(shape_env=sizes), sizes


def without_data(mode: FakeTensorMode, like: Tensor, open_batch: bool) -> Tensor:
    """A tensor without data of that shape and dtype; all first axes of open size have the same one."""
    from torch.fx.experimental.symbolic_shapes import DimDynamic, StatelessSymbolicContext

    # Sizes 0 and 1 would be specialised; DUCK gives all axes of one size one symbol.
    sizes = [DimDynamic.DUCK if open_batch and axis == 0 else DimDynamic.STATIC for axis in range(like.dim())]
    return mode.from_tensor(like, symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))


def dynamo() -> tuple[Callable[..., None], Callable[..., Any]]:
    """(graph_break, nonstrict_trace): where torch.compile ends a graph, and what it runs without reading it."""
    import torch._dynamo

    return torch._dynamo.graph_break, torch._dynamo.nonstrict_trace
