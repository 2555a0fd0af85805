"""What the report of a run on trees shows besides the frame that every report has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style

from carousel.jobs.trees import Result, Settings
from carousel.report import plots
from carousel.report.content import Content
from carousel.report.labelled import confused, finding, mistakes_table
from carousel.tree_drawing import draw_tree


def content(run: Path, settings: Settings, result: Result) -> Content:
    """Trees as the network labels them, accuracy and certainty by height, the confusion matrix and the most confident mistakes."""
    counts = np.array(result.confusion)
    colours = plots.label_colours(result.labels)
    with style.context(plots.STYLE):
        drawn = []
        for tree in result.examples:
            figure = draw_tree(tree["children"], tree["words"], tree["truth"], tree["predicted"], tree["probability"], colours)
            drawn.append((plots.svg(figure), _said(tree)))
        figures = {
            "confusion": plots.svg(plots.confusion(counts, result.labels)),
            "heights": plots.svg(plots.by_height(result.heights)) if len(result.heights) > 1 else None,
        }
    return Content(
        title=f"{settings.file.name}, {len(result.labels)} labels",
        finding=finding(settings.model, result.rows, counts),
        monitor=("loss", "nats"),
        loss_unit="nats",
        values={
            "figures": figures,
            "drawn": drawn,
            "worst": mistakes_table(result.mistakes, ["name", "text"]),
            "confused": confused(counts, result.labels),
            "asked_of": f"{counts.sum():,}",
        },
        shown=("accuracy", "%"),
    )


def _said(tree: dict[str, Any]) -> str:
    root = f"{tree['name']}: the root is “{tree['truth'][-1]}”, predicted “{tree['predicted'][-1]}” with probability "
    known = [(truth, told) for truth, told in zip(tree["truth"], tree["predicted"], strict=True) if truth is not None]
    right = sum(truth == told for truth, told in known)
    return f"{root}{tree['probability'][-1]:.2f}; {right} of its {len(known)} labeled nodes are right."
