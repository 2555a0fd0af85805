"""Imports point one way, and what must start quickly imports no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import carousel

SOURCE = Path(carousel.__file__).parent

# What each place may import besides itself and ANYWHERE; docs/architecture.md draws the same.
ANYWHERE = {"errors", "files", "names", "plain", "printable", "provenance", "torch_private", "tree_drawing"}
CELLS = {"cell", "cells", "engine"}
LEARNING = {"batch", "task", "forest", *CELLS, "loop", "network", "nn", "learn", "checkpoint", "train"}
WORK = {*LEARNING, "tasks", "data", "models", "jobs"}
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "names": set(),
    "plain": set(),
    "printable": set(),
    "provenance": set(),
    "torch_private": set(),
    "tree_drawing": set(),
    "batch": set(),
    "cell": set(),
    "task": {"batch"},
    "cells": {"cell"},
    "engine": {"cell"},
    "loop": {"cell", "engine"},
    "forest": CELLS,
    "network": {"batch", "forest", *CELLS, "loop"},
    "nn": {*CELLS, "loop"},
    "learn": {"batch", "task", *CELLS, "loop", "network", "nn"},
    "checkpoint": {"cell"},
    "train": LEARNING - {"train"},
    "tasks": {"batch", "task", "forest"},
    "data": {"batch", "task", "forest"},
    "models": {"cell", "cells", "network"},
    "jobs": WORK - {"jobs"},
    "export": WORK,
    "compressor": WORK - {"jobs"},
    "recipes": {*WORK, "compressor"},
    "report": {*WORK, "recipes"},
    "bench": WORK - {"jobs"},
    "cli": {*WORK, "compressor", "export", "recipes", "report", "bench"},
    "__main__": {"cli"},
    "__init__": {*WORK, "compressor", "export", "recipes", "report"},  # their names, for type checkers only
}


def place(module):
    """The part of the house that a module carousel.<place>... belongs to; "__init__" for the package itself."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(path):
    """Every module of carousel that a file imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write relative imports in full"
            # `from carousel import loop` imports a part; `from carousel.loop import scan` is named by its module.
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "carousel" else [node.module]
        else:
            continue
        yield from (name for name in names if name == "carousel" or name.startswith("carousel."))


def upward(where, imported):
    """Whether an import goes against the direction; names that the package offers lazily count as what they stand for."""
    target = place(imported)
    target = carousel._HOME.get(target, target)
    return target not in {where, "__init__", "__version__", *ANYWHERE, *MAY_IMPORT[where]}


def test_imports_point_one_way():
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        wrong += [f"{'/'.join(parts)} imports {name}" for name in imports(path) if upward(parts[0], name)]
    assert not wrong


def test_native_code_is_behind_the_lowering():
    """The engine names it in one place, where lowerings are chosen; the table of kinds has a column for it."""
    outside = [path for path in SOURCE.rglob("*.py") if "native" not in path.relative_to(SOURCE).parts]
    naming = {path for path in outside for name in imports(path) if name.startswith("carousel.engine.native")}
    assert {path for path in naming if path.parent.name != "kinds"} == {SOURCE / "engine" / "__init__.py"}


def test_only_the_command_line_knows_how_it_is_parsed():
    users = [path for path in SOURCE.rglob("*.py") if "cyclopts" in path.read_text()]
    assert users
    assert {path.parent.name for path in users} == {"cli"}


def test_every_place_is_on_the_list():
    places = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert places <= set(MAY_IMPORT)


def test_the_list_has_no_circle():
    seen = set()
    while len(seen) < len(MAY_IMPORT):
        ready = {name for name, below in MAY_IMPORT.items() if name not in seen and below <= seen}
        assert ready, f"a circle among {sorted(set(MAY_IMPORT) - seen)}"
        seen |= ready


@pytest.mark.parametrize(
    ("where", "imported", "expected"),
    [
        ("cells", "carousel.loop", True),
        ("tasks", "carousel.cells", True),
        ("cells", "carousel.scan", True),
        ("cells", "carousel.cell", False),
        ("learn", "carousel.scan", False),
        ("cli", "carousel.report.html", False),
    ],
)
def test_an_upward_import_is_found(where, imported, expected):
    assert upward(where, imported) is expected


def test_imports_are_read_from_all_places(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("import carousel.loop\nfrom carousel import nn, scan\ndef f():\n    from carousel.cells.gru import GRU\n")
    assert list(imports(file)) == ["carousel.loop", "carousel.nn", "carousel.scan", "carousel.cells.gru"]


@pytest.mark.parametrize("module", ["carousel", "carousel.cli", "carousel.recipes", "carousel.__main__"])
def test_imports_no_torch(module):
    script = f"import sys, {module}; print([name for name in ('torch', 'numpy', 'matplotlib', 'polars') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_every_offered_name_is_there():
    for name in carousel.__all__:
        assert name in dir(carousel)
    with pytest.raises(AttributeError, match="module 'carousel' has no attribute 'nothing'"):
        _ = carousel.nothing
