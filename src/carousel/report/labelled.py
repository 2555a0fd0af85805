"""What the reports of classify and tag show besides the frame that every report has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure

from carousel.jobs.labelled import LabelledResult
from carousel.report import plots
from carousel.report.content import Content
from carousel.report.results import ResultTable, Row, number


def labelled_content(title: str, model: str, result: LabelledResult, worst: ResultTable) -> Content:
    """The confusion matrix, the table of the most confident mistakes, what the gates did, and the scores in one sentence.

    Args:
        title:   of the report.
        model:   the network's name in the rows.
        result:  of the job.
        worst:   the mistakes.
    """
    counts = np.array(result.confusion)
    with style.context(plots.STYLE):
        figures = {"confusion": plots.svg(plots.confusion(counts, result.labels))}
        if result.example is not None:
            figures["gates"] = plots.svg(_gates(result.example))
    return Content(
        title=title,
        finding=finding(model, result.rows, counts),
        monitor=("loss", "nats"),
        loss_unit="nats",
        values={"figures": figures, "worst": worst, "confused": confused(counts, result.labels), "asked_of": f"{counts.sum():,}"},
        shown=("accuracy", "%"),
    )


def _gates(example: dict[str, Any]) -> Figure:
    found = {name: np.array(values) for name, values in example["gates"].items()}
    series = None if example["series"] is None else np.array(example["series"])
    time_name = "word" if example["kind"] == "words" else "step"
    return plots.gates(found, example["steps"], time_name, series, "input")


def mistakes_table(mistakes: Sequence[Row], where: Sequence[str]) -> ResultTable:
    """The columns `where` of each mistake, its true and its predicted label, and how sure the network was."""
    columns = [*where, "truth", "predicted", "probability"]
    return ResultTable(columns, [[*(str(one[name]) for name in columns[:-1]), f"{one['probability']:.3f}"] for one in mistakes])


def finding(model: str, rows: Sequence[Row], counts: np.ndarray) -> str:
    """The network's accuracy beside that of the best baseline, in a sentence."""
    accuracy = {row["method"]: row["accuracy"] for row in rows}
    own = accuracy.pop(model)
    rival = max(accuracy, key=lambda name: accuracy[name])
    right, all_ = int(counts.trace()), int(counts.sum())
    return (
        f"{model} classifies {right:,} of {all_:,} correctly, {number(own, [100])} %; the best baseline, {rival}, "
        f"{number(accuracy[rival], [100])} %."
    )


def confused(counts: np.ndarray, labels: Sequence[str]) -> str:
    """The pair that is confused most, in a sentence; nothing where there is none."""
    off = counts - np.diag(counts.diagonal())
    if not off.any():
        return "No label was taken for another."
    truth, predicted = divmod(int(off.argmax()), len(labels))
    times = f"in {off[truth, predicted]:,} of {counts[truth].sum():,}"
    return f"Most often confused: “{labels[truth]}” was predicted as “{labels[predicted]}” {times}."
