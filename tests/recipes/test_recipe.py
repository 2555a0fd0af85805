"""What recipes have in common: the captions of their pictures."""

import ast
import math
from functools import partial
from pathlib import Path

import pytest

import carousel
from carousel.recipes import RECIPES, load
from carousel.recipes.recipe import caption

SOURCE = Path(carousel.__file__).parent


def draw(rows: object, more: int = 0) -> None:
    """What is shown, in
    two lines.

    What only a reader of the code wants to know.
    """


class Drawing:
    """A docstring of the class is no caption."""

    def __call__(self, rows: object) -> None: ...

    def on(self, rows: object) -> None:
        """A method's is."""


def test_a_caption_is_the_first_paragraph_of_the_function_that_draws() -> None:
    for given in (draw, partial(draw, more=1), partial(partial(draw), more=1)):
        assert caption(given) == "What is shown, in two lines."
    assert caption(Drawing().on) == "A method's is."


@pytest.mark.parametrize(
    "given", [Drawing(), partial(Drawing()), lambda rows: None, partial(lambda rows: None), math.sqrt, partial]
)
def test_what_python_says_of_an_object_is_no_caption(given: object) -> None:
    assert caption(given) == ""


def docstrings() -> set[str]:
    """The first paragraphs of the docstrings of all functions in the package."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                found.add(" ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split()))
    return found - {""}


def test_every_caption_was_written_in_this_project() -> None:
    own = docstrings()
    for name in RECIPES:
        for title, drawing in load(name).pictures.items():
            assert caption(drawing) in own, f"{name}: the caption of {title!r} is {caption(drawing)!r}"
