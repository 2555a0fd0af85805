"""The reference (docs/reference.md) has every public name, and each of them says what it is.

Public is what `carousel.__all__` names: classes and functions, and of its modules what their `__all__` names, else what they
define without an underscore. A page of the reference shows the documented members of a module (automodule) or one
name (autofunction, ...); Sphinx leaves out, without a word, what has no docstring.
"""

import ast
import inspect
import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import carousel

REFERENCE = (Path(__file__).resolve().parents[1] / "docs" / "reference.md").read_text()
MODULES = re.findall(r"automodule:: (\S+)", REFERENCE)
SINGLE = re.findall(r"auto(?:function|class|exception|data):: (\S+)", REFERENCE)


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def own(module: ModuleType) -> dict[str, Any]:
    """The classes and functions that a module defines, without those with an underscore."""
    defined = {name: value for name, value in vars(module).items() if inspect.isclass(value) or inspect.isfunction(value)}
    return {name: value for name, value in defined.items() if not name.startswith("_") and value.__module__ == module.__name__}


def public() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name in carousel.__all__:
        value = getattr(carousel, name)
        if isinstance(value, ModuleType):
            offered = getattr(value, "__all__", None) or own(value)
            names |= {f"carousel.{name}.{member}": getattr(value, member) for member in offered}
        else:
            names[f"carousel.{name}"] = value
    return names


def says(value: Any) -> bool:
    """Whether a class or function has a docstring, its own or inherited, that somebody wrote."""
    text = inspect.getdoc(value) or ""
    made = f"{getattr(value, '__name__', '')}("  # what dataclass and NamedTuple make of the fields
    return bool(text) and not text.startswith(made)


def documented_constants(module: ModuleType) -> set[str]:
    """The names that a module assigns and explains in a string below."""
    body = ast.parse(inspect.getsource(module)).body
    names = set()
    for node, after in pairwise(body):
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("path", sorted(public()))
def test_a_public_name_is_in_the_reference(path: str) -> None:
    value, name = public()[path], path.rpartition(".")[2]
    modules = [import_module(module) for module in MODULES]
    if getattr(value, "__module__", "").startswith("carousel."):
        assert says(value), f"{path} has no docstring"
        offered = any(name in getattr(module, "__all__", ()) and getattr(module, name) is value for module in modules)
        there = offered or value.__module__ in MODULES or any(found(single) is value for single in SINGLE)
    else:
        singles = [single.rpartition(".")[0] for single in SINGLE if single.endswith(f".{name}")]
        homes = [*modules, *map(import_module, singles)]
        there = any(getattr(home, name, None) is value and name in documented_constants(home) for home in homes)
    assert there, f"{path} is not in docs/reference.md: add its module (automodule) or itself (autofunction, autoclass, autodata)"


@pytest.mark.parametrize("module", MODULES)
def test_every_member_of_the_reference_says_what_it_is(module: str) -> None:
    mute = []
    for name, value in own(import_module(module)).items():
        mute += [] if says(value) else [name]
        if inspect.isclass(value):
            members = [member for member, what in vars(value).items() if isinstance(what, property) or inspect.isroutine(what)]
            mute += [f"{name}.{member}" for member in members if member[0] != "_" and not inspect.getdoc(getattr(value, member))]
    assert not mute, f"{module}: no docstring: {', '.join(mute)}"


def test_what_nobody_wrote_is_no_docstring() -> None:
    from dataclasses import dataclass
    from typing import NamedTuple

    @dataclass
    class Mute:
        x: int

    class Pair(NamedTuple):
        x: int

    class Pronounced(Mute):
        """Says."""

    assert not says(Mute)
    assert not says(Pair)
    assert not says(lambda: None)
    assert says(Pronounced)
