"""Plain values, as TOML and JSON have them, to the types that a dataclass declares."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from carousel.errors import InputError

T = TypeVar("T")

_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path", type(None): "nothing"}


def typed(value: Any, hint: Any, place: str) -> Any:
    """`value` as the type `hint`: numbers, texts, paths, lists, tuples, dicts, unions, literals and dataclasses of them.

    Raises:
        InputError: a value of another type; begins with `place`, where the value is from.
    """
    if hint is Any:
        return value
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return typed(value, args[0], place)
    if origin in (Union, types.UnionType):
        for kind in args:
            try:
                return typed(value, kind, place)
            except InputError:
                continue
    elif origin is Literal:
        if value in args:
            return value
    elif origin is tuple:  # one alone stands for a tuple of it
        return tuple(typed(entry, args[0], place) for entry in (value if isinstance(value, list | tuple) else [value]))
    elif origin is list:
        if isinstance(value, list):
            return [typed(entry, args[0], place) for entry in value]
    elif origin is dict:
        if isinstance(value, dict):
            return {typed(key, args[0], place): typed(entry, args[1], f"{place}: {key}") for key, entry in value.items()}
    elif is_dataclass(hint):
        if isinstance(value, dict):
            return from_table(hint, value, place)  # type: ignore[arg-type]
    elif hint is Path:
        if isinstance(value, str | Path):
            return Path(value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif type(value) is hint:
        return value
    raise InputError(f"{place}: expected {_name(hint)}, got {str(value)[:60]!r}")


def from_table(kind: type[T], table: dict[str, Any], place: str) -> T:
    """The dataclass that a table has the fields of; what is not there has its default.

    Raises:
        InputError: a key that is no field, a field without default that is not there, a value of another type.
    """
    values = entries(kind, table, place)
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{place}: {field.name!r} is missing")
    return kind(**values)


def entries(kind: type[T], table: dict[str, Any], place: str) -> dict[str, Any]:
    """The entries of a table, each as the field of its name in the dataclass has it; InputError as `from_table`."""
    hints = get_type_hints(kind, include_extras=True)
    for name in table:
        if name not in {field.name for field in fields(kind)}:  # type: ignore[arg-type]
            raise InputError(f"{place}: unknown entry {name!r}")
    return {name: typed(value, hints[name], f"{place}: {name}") for name, value in table.items()}


def _name(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _name(args[0])
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin in (Union, types.UnionType):
        return " or ".join(_name(kind) for kind in args if kind is not type(None))
    if origin is tuple:
        return _name(args[0])
    if origin is list:
        return "a list"
    return _NAMES.get(hint, "a table")
