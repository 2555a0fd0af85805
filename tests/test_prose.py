"""The prose of the pages and of the command line: options that exist, and plain words."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from cyclopts import App

from carousel.cli.commands import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HELP = [*sorted((ROOT / "src/carousel/cli").glob("*.py")), ROOT / "src/carousel/jobs/settings.py"]
ODD = re.compile(r"\b(rightly|told|a training\b|looks without|of who\b|for who\b)", re.IGNORECASE)
MODULES = re.findall(r"automodule:: (\S+)", (ROOT / "docs/reference.md").read_text())
OTHERS = (torch.compile, torch.export.export)
"""What the pages name options of besides this project's."""


@pytest.mark.parametrize("path", [*PAGES, *HELP], ids=lambda path: path.name)
def test_no_odd_words(path: Path) -> None:
    found = [f"{number}: {line}" for number, line in enumerate(path.read_text().splitlines(), start=1) if ODD.search(line)]
    assert not found


def code(text: str) -> list[str]:
    """The pieces of code in the prose of a page; blocks are run by test_docs.py."""
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def commands(of: App) -> Iterator[App]:
    for name in of:
        if not name.startswith("-"):
            yield from commands(of[name])
    yield of


def options() -> set[str]:
    """Every option of every command."""
    names = {"--help", "--version"}
    for command in commands(app):
        if command.default_command is not None:
            names |= {
                name for argument in command.assemble_argument_collection() for name in (*argument.names, *argument.negatives)
            }
    return names


def parameters() -> dict[str, list[str]]:
    """name -> the types, as they are written, of the parameters of that name of all that the reference has."""
    found: dict[str, list[str]] = {}
    for module in map(import_module, MODULES):
        for value in vars(module).values():
            if getattr(value, "__module__", None) == module.__name__ and callable(value):
                for one in (value, *(vars(value).values() if inspect.isclass(value) else ())):
                    add(found, one)
    for value in OTHERS:
        add(found, value)
    return found


def add(found: dict[str, list[str]], value: Any) -> None:
    try:
        signature = inspect.signature(value, eval_str=True)
    except NameError:  # a name that only type checkers see
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return
    for name, parameter in signature.parameters.items():
        found.setdefault(name, []).append(inspect.formatannotation(parameter.annotation))


def takes(annotation: str, value: str) -> bool:
    """Whether a parameter of this type can have this value, where the value is a literal."""
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return True
    if isinstance(literal, str):  # where a text is meant, the type says so
        return literal in re.findall(r"['\"]([^'\"]*)['\"]", annotation) or re.search(r"\bstr\b", annotation) is not None
    if literal is ... or "Any" in annotation or annotation == "<class 'inspect._empty'>":
        return True
    return any(name in annotation for name in ("float", type(literal).__name__))


def wrong(text: str, known: set[str], named: dict[str, list[str]]) -> list[str]:
    """The options and arguments in the prose of a page that the code does not have."""
    found = []
    for piece in code(text):
        if not piece.startswith(("pip ", "git ", "llvm")):
            found += [name for name in re.findall(r"(?<![\w-])--[a-z][\w-]*", piece) if name not in known]
        for name, value in re.findall(r"(?<![\w.-])([a-z]\w*)=(?!=)(\"[^\"]*\"|[\w.]*)", piece):
            if not any(takes(annotation, value) for annotation in named.get(name, ())):
                found.append(f"{name}={value}")
    return found


def test_options_in_the_prose_are_those_of_the_code() -> None:
    known, named = options(), parameters()
    assert not {path.name: found for path in PAGES if (found := wrong(path.read_text(), known, named))}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Of `--history` values, with `--learning-rate`.", []),
        ("Of `--histories`.", ["--histories"]),
        ('`reset="after"`', ['reset="after"']),
        ("`reset_after=True`, `GRU(2, 8, reset_after=True)`", []),
        ('`reset_after="yes"`', ['reset_after="yes"']),
        ('`backend="native"`', []),
        ("`bakend=1`", ["bakend=1"]),
        ("`OMP_NUM_THREADS=1 carousel train`", []),
        ("```python\nf(nothing=1)\n```", []),
    ],
)
def test_what_is_not_in_the_code_is_found(text: str, found: list[str]) -> None:
    assert wrong(text, options(), parameters()) == found
