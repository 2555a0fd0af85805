"""What is drawn of the Neural Turing Machine's experiments: learning curves, answers, and what the heads do.

`picture` takes plain values from a trained network, which a unit's JSON keeps; the rest draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.cells import NTM
from carousel.loop import scan
from carousel.tasks import DynamicNGrams, drawing
from carousel.tasks.binary import BinaryTask
from carousel.tasks.drawing import PROBABILITY, WIDTH, height, predictions, strip, strips

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEST = "-best"  # ends the name of a model trained with our settings
COLOURS = {
    "ntm-lstm": "#0072B2",
    "ntm-lstm-best": "#56B4E9",
    "ntm-ff": "#009E73",
    "ntm-ff-best": "#CC79A7",
    "lstm": "#D55E00",
}


@torch.no_grad()
def picture(cell: Cell, task: BinaryTask, shown: Mapping[str, Mapping[str, int]], heads_of: str) -> dict[str, Any]:
    """Plain values of the pictures: a sequence of each of the lengths shown, the same for every model, and the heads' work.

    Args:
        shown:     title -> lengths of a sequence.
        heads_of:  the title of which the heads' work is kept.
    """
    answers, heads = [], None
    for n, (title, lengths) in enumerate(shown.items()):
        batch = task.sample(1, torch.Generator().manual_seed(n), **lengths)
        outputs, _, states = scan(cell, batch.inputs, return_states=True)
        asked = batch.mask[:, 0]
        answer = {
            "title": title,
            "steps": batch.steps,
            "shown": _rounded(batch.inputs[: batch.steps if asked.all() else int((~asked).sum()), 0]),
            "target": batch.targets[asked, 0].int().tolist(),
            "output": _rounded(torch.sigmoid(outputs[asked, 0])),
        }
        if isinstance(task, DynamicNGrams):
            answer["optimum"] = _rounded(torch.sigmoid(task.optimum(batch)[:, 0]))
        answers.append(answer)
        if isinstance(cell, NTM) and title == heads_of:
            read, write = states.read_w[:, 0].sum(1), states.write_w[:, 0].sum(1)
            rows = touched(read + write)
            heads = {
                "title": title,
                "read": _rounded(read[:, rows]),
                "write": _rounded(write[:, rows]),
                "memory": _rounded(states.memory[-1, 0, :, rows].T),
            }
    return {"answers": answers} | ({"heads": heads} if heads else {})


def touched(weightings: Tensor, least: float = 0.05) -> list[int]:
    """The rows of the memory, of weightings (T, N), from the first to the last that is touched, around the end.

    They begin after the longest run of untouched rows; a row more on either side.
    """
    N = weightings.shape[1]
    used = [int(n) for n in (weightings.amax(0) >= least).nonzero()]
    if len(used) < 2:
        return list(range(N))
    gaps = [(after - before - 1) % N for before, after in zip(used, [*used[1:], used[0]], strict=True)]
    longest = max(range(len(gaps)), key=lambda n: gaps[n])
    if gaps[longest] < 2:
        return list(range(N))
    first, count = used[(longest + 1) % len(used)], N - gaps[longest]
    return [(first - 1 + n) % N for n in range(count + 2)]


def _rounded(values: Tensor) -> list[list[float]]:
    return [[round(value, 2) for value in row] for row in values.tolist()]


def _pictures(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """row -> the picture of its first run that has one; of a model with our settings where it was trained with these."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        for run in row["runs"]:
            if "picture" in run:
                found.setdefault(row["row"], run["picture"])
    return {row: own for row, own in found.items() if row + BEST not in found}


def draw_curves(paper: Mapping[str, Sequence[tuple[int, float]]], rows: Sequence[dict[str, Any]]) -> Figure:
    """Bits per sequence on validation against training sequences: a line for each run, the paper's figures as open circles.
    Where the paper says "about 0", the axis ends at 0.01, and what is below is drawn there.
    """
    from matplotlib.figure import Figure

    logarithmic = any(bits == 0 for points in paper.values() for _, bits in points)
    floor = 0.01 if logarithmic else 0.0
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        for n, run in enumerate(row["runs"]):
            sequences, bits = zip(*run["curve"], strict=True)
            line: dict[str, Any] = {"color": COLOURS[row["row"]], "linewidth": 1.0, "alpha": 0.75}
            axes.plot(sequences, np.maximum(bits, floor), label=row["row"] if n == 0 else None, **line)
    for name, points in paper.items():
        sequences, bits = zip(*points, strict=True)
        marks: dict[str, Any] = {"color": COLOURS[name], "marker": "o", "linestyle": "", "markerfacecolor": "white"}
        axes.plot(sequences, np.maximum(bits, floor), label=f"{name} in the paper", clip_on=False, zorder=5, **marks)
    axes.set(xscale="log", xlabel="training sequences", ylabel="bits per sequence")
    if logarithmic:
        axes.set(yscale="log", ylim=(floor, None))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def draw_answers(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """What was shown, the right answer, and each model's answer with its error, over time; one column a sequence.
    Grey is where no answer is asked for. In an error red is an output too high, blue one too low.
    """
    from matplotlib.figure import Figure

    pictures = _pictures(rows)
    if not pictures:
        return None
    first = next(iter(pictures.values()))["answers"]
    titles = [answer["title"] for answer in first]
    columns: list[dict[str, np.ndarray]] = []
    for n, answer in enumerate(first):
        target = _after(answer, answer["target"])
        column = {"input": _shown(answer), "target": target}
        for row, own in pictures.items():
            output = _after(answer, own["answers"][n]["output"])
            name = row.removesuffix(BEST)
            column |= {f"{name}\noutput": output, f"{name}\nerror": output - target}
        columns.append(column)
    # The longest has a line of its own, as wide as the others together.
    longest = max(range(len(columns)), key=lambda n: len(columns[n]["target"]))
    lines = [[n for n in range(len(columns)) if n != longest], [longest]] if len(columns) > 1 else [[0]]
    figure = Figure(figsize=(WIDTH, height(columns[0]) * len(lines)), layout="constrained")
    for part, line in zip(figure.subfigures(len(lines), squeeze=False)[:, 0], lines, strict=True):
        strips(part, [columns[n] for n in line], [titles[n] for n in line])
    return figure


def _after(answer: Mapping[str, Any], values: list[list[float]]) -> np.ndarray:
    """An answer's values over the whole sequence (steps, O), NaN where none is asked for."""
    given = np.array(values, dtype=float)
    return np.pad(given, ((answer["steps"] - len(given), 0), (0, 0)), constant_values=np.nan)


def _shown(answer: Mapping[str, Any]) -> np.ndarray:
    """What is shown over the whole sequence (steps, I), zeros while the answer is asked for."""
    shown = np.array(answer["shown"], dtype=float)
    return np.pad(shown, ((0, answer["steps"] - len(shown)), (0, 0)))


def draw_heads(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """Where the heads look while the network answers: the rows of the memory that are touched, from top to bottom, against time.
    Dark is a weight near 1 (all heads together). On the right the content of these rows at the end.
    """
    from matplotlib.figure import Figure

    drawn = {row: own for row, own in _pictures(rows).items() if "heads" in own}
    if not drawn:
        return None
    row, own = next(iter(drawn.items()))
    heads = own["heads"]
    answer = next(answer for answer in own["answers"] if answer["title"] == heads["title"])
    output = _after(answer, answer["output"])
    panels: dict[str, tuple[np.ndarray, drawing.Colours]] = {
        "input": (_shown(answer), drawing.COLOURS["input"]),
        "output": (output, PROBABILITY),
        "writes at row": (np.array(heads["write"]), PROBABILITY),
        "reads at row": (np.array(heads["read"]), PROBABILITY),
    }
    memory = np.array(heads["memory"])
    figure = Figure(figsize=(WIDTH, 6.2), layout="constrained")
    grid = figure.subplots(4, 2, width_ratios=[4, 1.3], height_ratios=[1, 1, 2.4, 2.4])
    for axes, (label, (values, colours)) in zip(grid[:, 0], panels.items(), strict=True):
        strip(axes, values, label, colours)
        axes.tick_params(labelbottom=axes is grid[-1, 0])
    grid[0, 0].set_title(f"{row}, {heads['title']}")
    grid[-1, 0].set_xlabel("step")
    for axes in grid[[0, 1, 3], 1]:
        axes.set_visible(False)
    limit = float(np.abs(memory).max()) or 1.0
    strip(grid[2, 1], memory.T, "", ("RdBu_r", -limit, limit))
    grid[2, 1].set(title="memory at the end", xlabel="column")
    return figure


def draw_predictions(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """One sequence: its bits as ticks at the top (ones) and bottom (zeros), the best possible prediction and a network's, of one
    with a memory where there is one.
    """
    pictures = _pictures(rows)
    if not pictures:
        return None
    row, own = max(pictures.items(), key=lambda picture: "heads" in picture[1])
    answer = own["answers"][0]
    bits, network, optimum = (np.array(answer[name])[:, 0] for name in ("target", "output", "optimum"))
    figure = predictions(bits, {"optimum": optimum, "network": network})
    figure.axes[0].set_title(row)
    return figure
