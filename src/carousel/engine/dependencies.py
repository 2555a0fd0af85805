"""Everything but tensors that the captured step of a cell depends on, as it is now.

That is what the cell and its modules hold, the methods of their classes, the hooks on them, and what the code of a
step reads from outside: globals, variables of enclosing functions, defaults, attributes of modules and classes, and
the functions that it calls with what these read in turn. The names are found in the code itself. What Python, PyTorch,
NumPy and other installed packages define is taken to stay as it is.
"""

from __future__ import annotations

import argparse
import builtins
import datetime
import dis
import enum
import functools
import logging
import os
import random
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, CodeType, EllipsisType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from carousel.cell import Cell
from carousel.errors import InputError
from carousel.torch_private import BACKWARD_HOOKS, GLOBAL_HOOKS, HOOKS, MODULES, OpOverload, OpOverloadPacket

PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    enum.Enum,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    range,
    EllipsisType,
)
"""Types of values that never change."""

_MODULE_INTERNALS = frozenset(nn.Module().__dict__) - {"training"}
_LIBRARIES = frozenset({"builtins", "carousel", "numpy", "torch"})
_UNCHANGING = (
    type,
    BuiltinFunctionType,
    types.GenericAlias,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    OpOverload,
    OpOverloadPacket,
    np.ufunc,
    logging.Logger,
    re.Pattern,
)
_RANDOM = (random.Random, np.random.RandomState, np.random.Generator)
_IMPURE_MODULES = frozenset({"time", "secrets", "uuid"})
_IMPURE = (
    globals, eval, exec, open, input, os.urandom, os.getenv,
    torch.is_grad_enabled, torch.is_inference_mode_enabled, torch.get_rng_state, torch.initial_seed,
)  # fmt: skip
_MISSING = object()


def own_attributes(module: nn.Module) -> list[str]:
    """The names of a module's attributes that are not those of every module; `training` is one of its own."""
    return [name for name in module.__dict__ if name not in _MODULE_INTERNALS]


def own_bases(kind: type) -> list[type]:
    """The classes of a module whose attributes are its own: those before Cell or nn.Module."""
    bases = []
    for base in kind.__mro__:
        if base is Cell or base is nn.Module:
            break
        bases.append(base)
    return bases


class Dependencies:
    """What a cell's captured step depends on.

    Args:
        changed:  say of what has no comparable value which object it is, for a look at whether a step has changed it.

    items:       (where, hashable stand-in that is equal only for equal values).
    guards:      (namespace, name, value) of what is read by name outside of the cell.
    variables:   those of enclosing functions that are read.
    functions:   outside of the cell's classes that are called.
    classes:     whose attributes are read, or whose methods may be called.
    is_settled:  nothing that it holds can change and stay the same object, or keeps the cell alive.
    has_made_tensors: a module holds a plain tensor or makes its weights from others (see `made.py`).

    Raises:
        InputError: an attribute of the cell, or what its step reads from outside, is of a kind that cannot be compared
            from call to call, or differs at every look (time, random numbers).
    """

    def __init__(self, cell: Cell, changed: bool = False) -> None:
        self.items: list[tuple[str, Any]] = [("", torch.get_default_dtype())]
        self.guards: list[tuple[dict[str, Any], str, Any]] = []
        self.variables: list[types.CellType] = []
        self.functions: list[FunctionType] = []
        self.classes: dict[type, None] = {}
        self.is_settled = True
        self.has_made_tensors = False
        self._changed = changed
        self._seen: set[int] = set()
        self._todo: list[FunctionType] = []
        self._methods: dict[str, list[FunctionType]] = {}
        self._class_values: dict[str, list[tuple[str, Any]]] = {}
        self._reached: set[str] = set()
        named = list(cell.named_modules(remove_duplicate=False))
        self._modules = {id(module) for _, module in named}
        self._homes = frozenset(_top(type(module).__module__) for _, module in named)
        for name, module in named:
            self._add_module(name, module)
        for table in GLOBAL_HOOKS:
            self._add_hooks(table.values(), "a hook on all modules")
        self._reach(["step", "forward", "initial_state"])
        while self._todo:
            self._read(self._todo.pop())

    def _add(self, where: str, value: Any) -> None:
        self.items.append((where, self._frozen(value, where)))
        self.is_settled = self.is_settled and self._stays(value)

    # What the cell holds

    def _add_module(self, name: str, module: nn.Module) -> None:
        kind = type(module)
        self.items.append((name, kind))
        for attribute in own_attributes(module):
            value = module.__dict__[attribute]
            if isinstance(value, Tensor):  # made.py takes it for a buffer
                self.has_made_tensors = True
                self.items.append((f"{kind.__name__}.{attribute}", id(value)))
            else:
                self._add(f"{kind.__name__}.{attribute}", value)
        if "parametrizations" in module.__dict__[MODULES]:
            self.has_made_tensors = True
        for table in HOOKS:
            hooks = module.__dict__[table].values()
            if any(map(makes_weight, hooks)):
                self.has_made_tensors = True
            self._add_hooks((hook for hook in hooks if not makes_weight(hook)), f"a hook on {kind.__name__}")
        if any(module.__dict__[table] for table in BACKWARD_HOOKS):
            raise InputError(
                f"{kind.__name__} has a backward hook, which would not run inside of a cell; "
                f"register one on the tensors that scan takes and gives, or on parameters"
            )
        bases = own_bases(kind)
        for base in bases:
            self._add_class(base)
        own = [self._is_own(base.__module__) for base in bases]
        if any(own) and not all(own):  # a class of a library calls what the user's class under it redefines
            self._reach([name for base, is_own in zip(bases, own, strict=True) if is_own for name in vars(base)])

    def _add_hooks(self, hooks: Iterable[Any], where: str) -> None:
        for hook in hooks:
            self._add(where, hook)

    def _add_class(self, base: type) -> None:
        is_own = self._is_own(base.__module__)
        for name, value in vars(base).items():
            where = f"{base.__name__}.{name}"
            if isinstance(value, FunctionType):
                self.items.append((where, (value, value.__code__)))
            elif isinstance(value, (tuple, *PLAIN)) and not name.startswith("__"):
                self._add(where, value)
            elif is_own and not isinstance(value, _DESCRIPTORS) and not name.startswith("__"):
                self._class_values.setdefault(name, []).append((where, value))
            if is_own:
                self._methods.setdefault(name, []).extend(_functions(value))
                if name.startswith("__") and name != "__init__":  # an operator
                    self._todo.extend(_functions(value))

    # What its code reads from outside

    def _reach(self, names: Iterable[str]) -> None:
        """Take methods and class attributes of these names for read."""
        for name in names:
            if name in self._reached:
                continue
            self._reached.add(name)
            self._todo.extend(self._methods.get(name, ()))
            for where, value in self._class_values.get(name, ()):
                self._add(where, value)

    def _read(self, function: FunctionType) -> None:
        if id(function) in self._seen or not self._is_own(function.__module__):
            return
        self._seen.add(id(function))
        self.functions.append(function)
        self.items.append((function.__qualname__, function.__code__))
        reads = _reads(function.__code__)
        self._reach(reads.attributes)
        if own := {name: value for name, value in vars(function).items() if name != "__wrapped__"}:
            self._add(f"an attribute of {function.__qualname__}", own)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._add(f"a default of {function.__qualname__}", default)
        around = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        for name, *attributes in reads.chains:
            if name in around:
                self._read_variable(function, name, around[name], attributes)
            else:
                self._read_global(function, name, attributes)
        for name in reads.imports:
            if self._is_own(name):
                raise InputError(f"{function.__qualname__} imports {name} while it runs; import it at the top of the file")

    def _read_variable(self, function: FunctionType, name: str, variable: types.CellType, attributes: list[str]) -> None:
        try:
            value = variable.cell_contents
        except ValueError:  # not set yet
            return
        self.variables.append(variable)
        self._follow(function, name, value, attributes)

    def _read_global(self, function: FunctionType, name: str, attributes: list[str]) -> None:
        space = function.__globals__
        if name in space or not hasattr(builtins, name):
            self._guard(space, name)
            self._follow(function, name, space.get(name, _MISSING), attributes)
            return
        self._refuse_impure(function, name, getattr(builtins, name))
        if name == "getattr":  # of whatever name
            self._reach(list(self._methods))

    def _guard(self, space: dict[str, Any], name: str) -> None:
        value = space.get(name)
        if not (isinstance(value, ModuleType) and not self._is_own(value.__name__)):
            self.guards.append((space, name, value))

    def _follow(self, function: FunctionType, name: str, value: Any, attributes: list[str]) -> None:
        """Read what the attributes lead to, one after the other, from what stands under a name."""
        for attribute in attributes:
            if isinstance(value, ModuleType):
                if self._is_own(value.__name__):
                    self._guard(vars(value), attribute)
                value = getattr(value, attribute, _MISSING)
            elif isinstance(value, type):
                owner = next((base for base in value.__mro__ if attribute in vars(base)), None)
                if owner is not None and self._is_own(owner.__module__):
                    self.classes[owner] = None
                value = getattr(value, attribute, _MISSING)
            elif attribute in getattr(value, "__dict__", ()) and not isinstance(value, (nn.Module, FunctionType, Tensor)):
                self._guard(vars(value), attribute)
                value = vars(value)[attribute]
            else:
                break
            name = f"{name}.{attribute}"
        if value is _MISSING or (isinstance(value, ModuleType) and not self._is_own(value.__name__)):
            return
        self._refuse_impure(function, name, value)
        where = f"{name}, which {function.__qualname__} reads from outside the cell,"
        self.items.append((where, self._frozen(value, where)))
        self.is_settled = self.is_settled and self._stays(value)

    def _refuse_impure(self, function: FunctionType, name: str, value: Any) -> None:
        of = getattr(value, "__self__", None)
        clock = (of is datetime.datetime or of is datetime.date) and value.__name__ in ("now", "today", "utcnow")
        home = getattr(value, "__module__", None)
        if isinstance(of, _RANDOM) or isinstance(value, _RANDOM) or _top(home) == "random" or str(home).startswith("numpy.random"):
            raise InputError(
                f"{function.__qualname__} draws random numbers ({name}), which would be drawn once for all steps; "
                f"declare them in noise_shapes() and read them from noise"
            )
        if callable(value) and (home in _IMPURE_MODULES or clock or any(value is one for one in _IMPURE)):
            raise InputError(
                f"{function.__qualname__} reads {name}, whose value would be that of one moment for all steps; "
                f"give it to scan as an input or context, or make it an attribute of the cell"
            )

    def _is_own(self, module: str | None) -> bool:
        """Whether a module may be changed while a program runs: the user's, not that of Python or of a package."""
        top = _top(module)
        return top not in _LIBRARIES and (top in self._homes or not _is_installed(top))

    # Values

    def _frozen(self, value: Any, where: str) -> Any:
        """A hashable stand-in that is equal only for equal values."""
        if value is None or isinstance(value, PLAIN):
            return (type(value), value)
        if isinstance(value, slice):
            return (slice, *(self._frozen(part, where) for part in (value.start, value.stop, value.step)))
        if isinstance(value, FunctionType):
            self._todo.append(value)
            return value
        if isinstance(value, MethodType):
            self._todo.extend(_functions(value.__func__))
            if id(value.__self__) in self._modules:
                return value
            kind, own = type(value.__self__), getattr(value.__self__, "__dict__", None)
            if own is not None and self._is_own(kind.__module__) and not isinstance(value.__self__, nn.Module):
                read = _read_by(value.__func__, kind)
                return (
                    value.__func__,
                    kind,
                    self._frozen({name: own[name] for name in own if read is None or name in read}, where),
                )
            return (value.__func__, self._frozen(value.__self__, where))
        if isinstance(value, (tuple, list)):
            return (type(value), tuple(self._frozen(item, where) for item in value))
        if isinstance(value, dict):
            return (dict, tuple((self._frozen(k, where), self._frozen(v, where)) for k, v in value.items()))
        if isinstance(value, (set, frozenset)):
            return (set, frozenset(self._frozen(item, where) for item in value))
        if isinstance(value, np.ndarray) and value.dtype != object:
            return (np.ndarray, value.shape, value.dtype.str, value.tobytes())
        if isinstance(value, np.generic):
            return (type(value), value.item())
        if isinstance(value, functools.partial):
            return (functools.partial, *(self._frozen(part, where) for part in (value.func, value.args, value.keywords)))
        if isinstance(value, functools._lru_cache_wrapper):
            self._todo.extend(_functions(value.__wrapped__))
            return value
        if isinstance(value, type) and self._is_own(value.__module__) and value not in self.classes:
            self.classes[value] = None
            if not issubclass(value, nn.Module):
                self._todo.extend(function for part in vars(value).values() for function in _functions(part))
        if isinstance(value, _UNCHANGING) or type(value) is object:
            return value
        if is_dataclass(value):
            return (type(value), tuple(self._frozen(getattr(value, field.name), where) for field in fields(value)))
        if isinstance(value, (types.SimpleNamespace, argparse.Namespace)):
            return (type(value), self._frozen(vars(value), where))
        if isinstance(value, Tensor) and where.endswith("reads from outside the cell,"):  # an operation on it is refused
            return (Tensor, tuple(value.shape), value.dtype)
        if isinstance(value, nn.Module) and not any(True for _ in (*value.parameters(), *value.buffers())):
            for base in own_bases(type(value)):
                self._todo.extend(function for part in vars(base).values() for function in _functions(part))
            own = {name: value.__dict__[name] for name in own_attributes(value)}
            inside = tuple(self._frozen(module, where) for module in value.children())
            return (type(value), self._frozen(own, where), inside)
        if self._changed:
            return (type(value), id(value))
        if isinstance(value, Tensor):
            raise InputError(f"{where} is a tensor that is neither parameter nor buffer; make it one (register_buffer)")
        if isinstance(value, nn.Module):
            raise InputError(f"{where} is a module that is no part of the cell; make it one (an attribute, or in an nn.ModuleList)")
        raise InputError(
            f"{where} is a {type(value).__name__}, which scan cannot compare from call to call; "
            f"keep numbers, strings, functions, containers of these or modules as attributes of the cell"
        )

    def _stays(self, value: Any) -> bool:
        """Whether a value cannot change while it is the same object, nor keep the cell alive."""
        if isinstance(value, tuple):
            return all(map(self._stays, value))
        if isinstance(value, FunctionType):
            return value.__closure__ is None or not self._is_own(value.__module__)
        return value is None or isinstance(value, (*PLAIN, *_UNCHANGING)) or type(value) is object


def makes_weight(hook: Any) -> bool:
    """Whether a forward pre-hook is one of torch.nn.utils that makes a weight from other parameters."""
    return type(hook).__module__.startswith("torch.nn.utils.") and callable(hook)


_DESCRIPTORS = (
    property,
    staticmethod,
    classmethod,
    functools.cached_property,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)


def _functions(value: Any) -> list[FunctionType]:
    """The functions that what stands in a class, or is called, consists of."""
    if isinstance(value, FunctionType):
        return [value]
    if isinstance(value, property):
        return [part for part in (value.fget, value.fset) if isinstance(part, FunctionType)]
    inner = getattr(value, "__func__", None) or getattr(value, "func", None)
    return [inner] if isinstance(inner, FunctionType) else []


def _top(module: str | None) -> str:
    return (module or "").partition(".")[0]


@functools.cache
def _is_installed(top: str) -> bool:
    """Whether a module comes with Python or with a package."""
    if top.startswith("namedtuple_") or top in sys.builtin_module_names:
        return True
    spec = getattr(sys.modules.get(top), "__spec__", None)
    file = getattr(sys.modules.get(top), "__file__", None) or getattr(spec, "origin", None) or ""
    return file == "frozen" or "-packages" in file or file.startswith(sysconfig.get_path("stdlib"))


class _Reads:
    """The names that a function's code loads.

    chains:      those of globals and of variables around it, each with the attributes that are taken of it at once.
    attributes:  all names of attributes.
    imports:     modules that it imports.
    """

    def __init__(self, code: CodeType) -> None:
        self.chains: dict[tuple[str, ...], None] = {}
        self.attributes: set[str] = set()
        self.imports: list[str] = []
        chain: tuple[str, ...] = ()
        for instruction in dis.get_instructions(code):
            kind, name = instruction.opname, instruction.argval
            if kind in _NOTHING:
                continue
            if "ATTR" in kind or kind == "LOAD_METHOD":
                self.attributes.add(name)
                if chain and kind.startswith("LOAD"):
                    chain = (*chain, name)
                    continue
            if chain:
                self.chains[chain] = None
            from_outside = kind in ("LOAD_GLOBAL", "LOAD_NAME") or ("DEREF" in kind and name in code.co_freevars)
            chain = (name,) if from_outside and name != "__class__" else ()
            if kind == "IMPORT_NAME":
                self.imports.append(name)
        if chain:
            self.chains[chain] = None
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                reads = _reads(inner)
                local = set(code.co_cellvars)
                self.chains.update(
                    (chain, None) for chain in reads.chains if not (chain[0] in local and chain[0] in inner.co_freevars)
                )
                self.attributes |= reads.attributes
                self.imports += reads.imports


_NOTHING = frozenset({"CACHE", "EXTENDED_ARG", "PUSH_NULL", "PRECALL", "NOP", "RESUME"})
_reads: Callable[[CodeType], _Reads] = functools.lru_cache(maxsize=4096)(_Reads)


def _read_by(method: Any, kind: type) -> set[str] | None:
    """The names that a method, and those of its class that it names, may read of its object; None for any."""
    names: set[str] = set()
    pending = [function.__code__ for function in _functions(method)]
    while pending:
        code = pending.pop()
        pending += [part for part in code.co_consts if isinstance(part, CodeType)]
        for name in set(code.co_names) - names:
            names.add(name)
            pending += [function.__code__ for function in _functions(getattr(kind, name, None))]
    return None if names & {"getattr", "vars", "__dict__"} else names
