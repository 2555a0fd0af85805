"""Pictures of sequences of bits, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

WIDTH = 7.2  # inches, as the figures of a report
LINES = {"optimum": "#000000", "network": "#0072B2"}

Colours = tuple[str, float, float]
"""A colour map, and the values at its ends."""

PROBABILITY: Colours = ("Greys", 0, 1)
COLOURS: dict[str, Colours] = {"input": ("RdGy", -1, 1), "error": ("RdBu_r", -1, 1)}
"""An input of one is black, a negative one red; an output too high is red, one too low blue."""


def strips(figure: FigureBase, columns: Sequence[Mapping[str, np.ndarray]], titles: Sequence[str] = ()) -> None:
    """Draw sequences beside one another, each a column of strips (steps, channels), time from left to right.

    Args:
        figure:   of a height as `height` says.
        columns:  for each sequence: name of a strip, whose last word says what it shows (input, target, output or
                  error) -> values (steps, channels); NaN is left blank.
        titles:   above each column.
    """
    names = list(columns[0])
    channels = [max(column[name].shape[1] for column in columns) for name in names]
    longest = max(len(column[names[0]]) for column in columns)
    widths = [max(len(column[names[0]]), 0.3 * longest) for column in columns]
    grid = figure.subplots(len(names), len(columns), squeeze=False, width_ratios=widths, height_ratios=[c + 4 for c in channels])
    for n, column in enumerate(columns):
        for axes, name in zip(grid[:, n], names, strict=True):
            strip(axes, column[name], name if n == 0 else "", COLOURS.get(name.split()[-1], PROBABILITY))
            axes.tick_params(labelbottom=axes is grid[-1, n])
        if titles:
            grid[0, n].set_title(titles[n], fontsize=9)
    figure.supxlabel("step", fontsize=10)


def height(column: Mapping[str, np.ndarray]) -> float:
    """Inches that the strips of a column take."""
    return 0.9 + sum(0.35 + 0.055 * values.shape[1] for values in column.values())


def strip(axes: Axes, values: np.ndarray, label: str, colours: Colours) -> None:
    """values (steps, channels) as an image, a channel a row, the first at the top."""
    cmap, low, high = colours
    axes.imshow(values.T, aspect="auto", interpolation="nearest", cmap=cmap, vmin=low, vmax=high, origin="upper")
    axes.set_yticks([])
    axes.set_ylabel(label)
    axes.grid(visible=False)
    axes.set_facecolor("#f4f4f4")
    for side in axes.spines.values():
        side.set(visible=True, color="#bbbbbb")


def predictions(bits: np.ndarray, lines: Mapping[str, np.ndarray]) -> Figure:
    """A sequence of bits (steps,) as dots at 0 and 1, and probabilities of a one (steps,) as lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.where(bits > 0.5, 1.05, -0.05), "|", color="#777777", markersize=5)
    for name, values in lines.items():
        axes.plot(values, color=LINES[name], linewidth=1.2, drawstyle="steps-mid", label=name)
    axes.set(xlabel="step", ylabel="probability of a one", ylim=(-0.1, 1.1))
    axes.margins(x=0.01)
    figure.legend(loc="outside upper right", ncols=len(lines), frameon=False)
    return figure
