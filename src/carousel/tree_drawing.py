"""A tree as a figure: its words in a row below, each node in the color of its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from carousel.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLACK, _WIDTH = "#000000", 7.2  # inches, as the figures of a report have


def draw_tree(
    children: Sequence[Sequence[int]],
    words: Sequence[str | None],
    truth: Sequence[str | None],
    predicted: Sequence[str],
    probability: Sequence[float],
    colors: Mapping[str, str],
) -> Figure:
    """A tree, its root above and its words below, each node in the color of its predicted label.

    Args:
        children:     of each node the numbers of its children, which come before it; the root is the last.
        words:        of each node its word, None where it has none.
        truth:        of each node its label, None where it has none.
        predicted:    of each node the predicted label.
        probability:  of each node the probability of that label; the lower, the paler.
        colors:      label -> color.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure

    order, pending = [], [len(children) - 1]
    while pending:  # parents first, from left to right
        order.append(pending.pop())
        pending.extend(reversed(children[order[-1]]))
    leaves = [node for node in order if not children[node]]
    x, y = np.zeros(len(children)), np.zeros(len(children))
    x[leaves] = np.arange(len(leaves))
    for node in sorted(order):
        if children[node]:
            x[node] = np.mean([x[child] for child in children[node]])
            y[node] = 1 + max(y[child] for child in children[node])
    figure = Figure(figsize=(_WIDTH, 1.1 + 0.34 * min(y[-1], 14)))
    axes = figure.subplots()
    for node, below in enumerate(children):
        for child in below:
            axes.plot([x[node], x[child], x[child]], [y[node], y[node], y[child]], color="#9a9a9a", linewidth=1.0, zorder=1)
    size = float(np.clip(170 / max(len(leaves), 1), 6.0, 9.0))
    for node in order:
        wrong = truth[node] is not None and truth[node] != predicted[node]
        face = to_rgb(colors[predicted[node]])
        strength = 0.25 + 0.75 * probability[node]
        shown = [1 - strength * (1 - part) for part in face]
        text = printable(predicted[node])
        dark = 0.299 * shown[0] + 0.587 * shown[1] + 0.114 * shown[2] < 0.5
        axes.text(
            x[node],
            y[node],
            text if len(text) <= 6 else f"{text[:5]}…",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else _BLACK,
            zorder=2,
            bbox={"boxstyle": "round,pad=0.28", "facecolor": shown, "edgecolor": _BLACK if wrong else "none", "linewidth": 1.4},
        )
        word = words[node]
        if word is not None:
            short = printable(word if len(word) <= 14 else f"{word[:13]}…")
            slanted = sum(len(words[leaf] or "") for leaf in leaves) > 45
            place: dict[str, Any] = {"rotation": 60, "ha": "right"} if slanted else {"ha": "center"}
            place |= {"va": "top", "rotation_mode": "anchor", "fontsize": size}
            axes.annotate(short, (x[node], y[node]), (0, -11), textcoords="offset points", **place)
    axes.set_xlim(-0.7, len(leaves) - 0.3)
    axes.set_ylim(-0.5, y[-1] + 0.6)
    axes.set_axis_off()
    return figure


def colors_of(names: Sequence[str]) -> dict[str, str]:
    """A color for each label in order: from red to blue for up to seven, else as distinct as they can be."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps["RdYlBu"] if len(names) <= 7 else colormaps["turbo"]
    at = np.linspace(0.1, 0.9, len(names)) if len(names) > 1 else [0.9]
    return {name: to_hex(scale(value)) for name, value in zip(names, at, strict=True)}
