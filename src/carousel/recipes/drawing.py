"""What the pictures with a line a row have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def finish_lines(figure: Figure, axes: Axes, names: Sequence[str], xlabel: str, *, right: str, ncols: int, fontsize: int) -> None:
    """Name the lines from top to bottom, on a logarithmic axis of whole numbers, with each label once in the legend.

    Args:
        right:  what is told of each line at the right of the axes.
    """
    axes.set(xscale="log", xlabel=xlabel, ylim=(len(names) - 0.5, -0.5))
    axes.xaxis.set_major_formatter("{x:,.0f}")  # reports read no mathematics in text
    axes.set_yticks(range(len(names)), names, fontsize=fontsize)
    axes.set_title(right, loc="right", fontsize=fontsize)
    axes.grid(visible=True, axis="x", alpha=0.4)
    once = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(once.values(), once.keys(), loc="outside upper left", ncols=ncols, frameon=False, fontsize=fontsize)
