"""Recipe: a paper's claims, our goals, and what one unit of work is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RunUnit = Callable[[str, int | str], dict[str, Any]]
Draw = Callable[[Sequence[dict[str, Any]]], "Figure"]


@dataclass(frozen=True)
class Claim:
    """A figure as its source has it."""

    measure: str
    figure: float
    unit: str
    source: str


@dataclass(frozen=True)
class Goal:
    """A bar for the mean of a measure over a row's units.

    Either a figure (`at_most` or `at_least`), or `rivals`: rows of the same recipe, of which the
    lowest mean of the measure must be beaten.
    """

    measure: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    rivals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of the results: a task, a model and a variant.

    units:       names of the pieces of work, each done by itself (mostly seeds).
    deviations:  where we leave the source, and why a goal was missed.
    """

    name: str
    units: tuple[int | str, ...]
    claims: tuple[Claim, ...] = ()
    goals: tuple[Goal, ...] = ()
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What is reproduced, as data, and the function that does one unit of it.

    Attributes:
        name:      as `carousel reproduce` is told.
        paper:     the source.
        about:     one sentence: what is done.
        rows:      later rows may name earlier ones as rivals.
        run_unit:  (row name, unit) -> one entry of the row's `runs`, plain JSON:
                   {"seed", "solved", "sequences", "seconds", "backend", "measures": {name: number},
                   "curve": [[sequences, value]] of at most 200 points}, and where there is a picture,
                   "picture" with what it is drawn from. A module's function: it runs in another process.
        curve:     what the values of "curve" are, with their unit: the axis of the learning curves.
        draw:      (merged rows) -> the recipe's own picture, for its report; its docstring's first
                   paragraph is the caption.
    """

    name: str
    paper: str
    about: str
    rows: tuple[Row, ...]
    run_unit: RunUnit
    curve: str = "loss on validation"
    draw: Draw | None = None
