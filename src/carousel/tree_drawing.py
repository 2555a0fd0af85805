"""Drawings of trees: their words in a row, each node in the color of its label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH, MOST_WORDS = 8.0, 40


def draw_tree(
    children: Sequence[Sequence[int]],
    words: Sequence[str | None],
    labels: Sequence[str | None],
    certainty: Sequence[float],
    names: Sequence[str],
    truth: Sequence[str | None] | None = None,
) -> Figure:
    """One tree, its root at the top.

    Args:
        children:   of each node the numbers of its children, which come before it; the root is last.
        words:      of each node; None for a node with children.
        labels:     of each node the predicted label.
        certainty:  of each node the probability of that label: how large its mark is.
        names:      all labels, in the order of the colors.
        truth:      of each node its label in the file; where it differs from the predicted one, the mark has a black ring.
    """
    from matplotlib.figure import Figure

    x, height = places(children)
    leaves = int(sum(not below for below in children))
    figure = Figure(figsize=(WIDTH, 1.6 + 0.28 * max(height)), layout="constrained")
    axes = figure.subplots()
    colors = colors_of(names)
    for node, below in enumerate(children):
        for child in below:
            axes.plot([x[node], x[child]], [height[node], height[child]], color="#b0b0b0", linewidth=0.8, zorder=1)
    for node, label in enumerate(labels):
        wrong = truth is not None and truth[node] is not None and truth[node] != label
        axes.scatter(
            x[node],
            height[node],
            s=20 + 70 * certainty[node],
            color=colors.get(label or "", "#d0d0d0"),
            edgecolor="black" if wrong else "none",
            linewidth=1.0,
            zorder=2,
        )
    for node, word in enumerate(words):
        if word is not None and leaves <= MOST_WORDS:
            axes.text(x[node], -0.45, word, rotation=45, ha="right", va="top", fontsize=8)
    axes.set_axis_off()
    axes.set_ylim(-0.6, max(height) + 0.5)
    figure.legend(
        handles=_handles(names, colors, truth is not None), loc="outside upper right", ncols=min(len(names) + 1, 6), fontsize=8
    )
    return figure


def places(children: Sequence[Sequence[int]]) -> tuple[list[float], list[int]]:
    """(x, height) of each node: leaves at 0, 1, 2, ... in their order, a node above the middle of its children."""
    order: list[int] = []
    waiting = [len(children) - 1]
    while waiting:  # leaves from left to right, without recursion
        node = waiting.pop()
        if children[node]:
            waiting.extend(reversed(children[node]))
        else:
            order.append(node)
    x, height = [0.0] * len(children), [0] * len(children)
    for at, node in enumerate(order):
        x[node] = float(at)
    for node, below in enumerate(children):
        if below:
            x[node] = float(np.mean([x[child] for child in below]))
            height[node] = 1 + max(height[child] for child in below)
    return x, height


def colors_of(names: Sequence[str]) -> dict[str, str]:
    """A color for each label, along a scale from red to blue; of more than five or unordered labels the colors are as distinct."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps["RdYlBu"] if len(names) <= 7 else colormaps["turbo"]
    at = np.linspace(0.05, 0.95, len(names)) if len(names) > 1 else [0.9]
    return {name: to_hex(scale(value)) for name, value in zip(names, at, strict=True)}


def _handles(names: Sequence[str], colors: dict[str, str], ring: bool) -> list[Line2D]:
    from matplotlib.lines import Line2D

    made = [Line2D([], [], marker="o", linestyle="", color=colors[name], label=name) for name in names[:12]]
    if ring:
        made.append(Line2D([], [], marker="o", linestyle="", color="white", markeredgecolor="black", label="differs from the file"))
    return made
