"""Recipe: a paper's claims, our goals, and what one unit of work is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RunUnit = Callable[..., dict[str, Any]]
Draw = Callable[[Sequence[dict[str, Any]]], "Figure | None"]


@dataclass(frozen=True)
class Claim:
    """A figure as its source has it."""

    measure: str
    figure: float
    unit: str
    source: str


@dataclass(frozen=True)
class Goal:
    """A bar for the mean, or another statistic, of a measure over a row's units.

    Either a figure (`at_most` or `at_least`), or `rivals`: rows of the same recipe, of which the
    lowest mean of the measure must be beaten.
    """

    measure: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    rivals: tuple[str, ...] = ()
    statistic: Literal["mean", "median", "min", "max"] = "mean"


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
                   "picture" with what it is drawn from. A module's function, or a partial of one: it runs in another
                   process. Where it trains it takes `budget` too: so many sequences in place of its own number.
        curve:     what the values of "curve" are, with their unit: the axis of the learning curves.
        pictures:  title -> (merged rows) -> one of the recipe's own pictures, for its report; None where the rows
                   have nothing for it; a function, or a partial of one, whose `caption` stands below. A picture called
                   "Learning curves" stands in place of the usual one.
    """

    name: str
    paper: str
    about: str
    rows: tuple[Row, ...]
    run_unit: RunUnit
    curve: str = "loss on validation"
    pictures: Mapping[str, Draw] = field(default_factory=dict)


def caption(draw: Draw) -> str:
    """The first paragraph of the docstring of what draws a picture, a function or a partial of one; else ""."""
    while isinstance(draw, partial):
        draw = draw.func
    text = draw.__doc__ if inspect.isfunction(draw) or inspect.ismethod(draw) else None  # an object has its class's
    return " ".join((text or "").partition("\n\n")[0].split())
