"""The figures of a report. Each function takes plain arrays and gives a matplotlib Figure.

Draw them, and save them, inside ``with matplotlib.style.context(STYLE)``. They are made without pyplot,
so nothing stays open and no display is needed. The colours are those of Okabe & Ito, which the
colour-blind tell apart; the truth is black. One dict name -> colour serves all figures of a page.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from carousel.printable import printable

TRUTH = "#000000"
WORST = "#D55E00"
NETWORKS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#882255", "#7A5C00")
BASELINES = ("#8c8c8c", "#E69F00", "#b9b9b9")
WIDTH = 7.2  # inches; a page shows a figure 900 pixels wide, so that 10 points are 17 pixels
STYLE = {
    "font.size": 10,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial", "sans-serif"],
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.05,
    "text.parse_math": False,  # a column may be named US$
    "svg.fonttype": "none",  # text stays text: sharp, searchable and small
    "svg.hashsalt": "carousel",  # the same figure gives the same file
}

_MANY = 2000  # steps in one panel from which on lines are thin and nothing is shaded
_SYMBOLS = 60  # steps that can be named one by one
_AXIS = 28  # letters that fit beside a panel of two inches

Colours = Mapping[str, str]
Curve = Sequence[tuple[float, float]]
"""Points (sequences seen, value)."""


def svg(figure: Figure) -> str:
    """The figure as an element to stand within HTML."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The letters that its font does not have are drawn by the browser, with a font of its own.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def palette(networks: Iterable[str], baselines: Iterable[str]) -> dict[str, str]:
    """name -> colour; past the last colour they begin again."""
    return {**dict(zip(networks, cycle(NETWORKS))), **dict(zip(baselines, cycle(BASELINES)))}


def learning_curves(
    panels: Mapping[tuple[str, str], Mapping[str, Sequence[Curve]]], colours: Colours, *, marked: tuple[float, float] | None = None
) -> Figure:
    """Values against sequences seen: a panel for each quantity, a colour for each name, a line for each run.

    Args:
        panels:   (quantity, its unit or "") -> name -> one curve a run.
        colours:  name -> colour.
        marked:   the point (sequences, value) in the last panel that the kept weights belong to.
    """
    figure = Figure(figsize=(WIDTH, 3.0))
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, ((quantity, unit), curves) in zip(row, panels.items(), strict=True):
        for name, runs in curves.items():
            for curve in runs:
                thin = {"linewidth": 1.0, "alpha": 0.75} if len(runs) > 1 else {}
                axes.plot(*zip(*curve, strict=True), color=colours[name], marker="o" if len(curve) == 1 else None, **thin)
        _log_where_wide(axes, [value for runs in curves.values() for curve in runs for _, value in curve])
        axes.xaxis.set_major_locator(MaxNLocator(6 if len(row) == 1 else 4, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("sequences seen")
        _value_axis(axes, quantity, unit)
        axes.margins(x=0.02)
    handles = [Line2D([], [], color=colours[name]) for name in names]
    if marked is not None:
        (dot,) = row[-1].plot(*marked, "o", color=TRUTH, markerfacecolor="white", markeredgewidth=1.5, zorder=5)
        handles, names = [*handles, dot], [*names, "weights kept"]
    figure.legend(handles, names, loc="outside upper right", ncols=min(len(names), 6))
    return figure


def _log_where_wide(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis where the values span more than a factor of five, with numbers that can be read."""
    low, high = min(values), max(values)
    if not (low > 0 and 5 * low < high < float("inf")):
        return
    axes.set_yscale("log")
    few = high / low < 100  # few decades: name their 2, 3 and 5 too
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if few else (1,)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def forecasts(
    times: Sequence[str],
    truth: np.ndarray,
    made: Mapping[str, np.ndarray],
    colours: Colours,
    unit: str,
    time_name: str,
    *,
    bands: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    close_up: int = 96,
) -> Figure:
    """The truth and forecasts of it, each forecast a line from its origin over its whole horizon.

    Forecasts are drawn one horizon apart, so that they do not overlap. Where there are more than
    `close_up` steps, the first method stands alone above, over all times, and all methods below, over
    the last steps.

    Args:
        times:     n texts, the time of each value of the truth.
        truth:     (n,) the values, in `unit`.
        made:      method -> (n - horizon + 1, horizon): row i holds the forecasts of truth[i : i + horizon].
        unit:      the axis of values.
        time_name: the axis of times.
        bands:     nominal share -> (low, high) of the first method's interval, each shaped as its
                   forecasts, the widest first; not where a panel has too many steps.
        close_up:  about how many steps are shown below.
    """
    first = next(iter(made))
    horizon = made[first].shape[1]
    x = _time_values(times)
    starts = range((len(truth) - horizon) % horizon, len(truth) - horizon + 1, horizon)
    two = len(truth) > close_up
    figure = Figure(figsize=(WIDTH, 5.0 if two else 3.0))
    panels = figure.subplots(2, 1) if two else [figure.subplots()]

    def draw(axes: Axes, names: Sequence[str], begin: int) -> None:
        many = len(truth) - begin > _MANY
        width = 0.6 if many else 1.5
        for low, high in () if bands is None or many else bands.values():
            for start in starts:
                if start >= begin:
                    ahead = x[start : start + horizon]
                    axes.fill_between(ahead, low[start], high[start], color=colours[first], alpha=0.2, linewidth=0)
        axes.plot(x[begin:], truth[begin:], color=TRUTH, linewidth=0.6 if many else 1.0)
        for name in reversed(names):
            for start in starts:
                if start >= begin:
                    origin = max(start - 1, 0)  # the line begins at the last value that was known
                    known = truth[origin:start]
                    axes.plot(x[origin : start + horizon], [*known, *made[name][start]], color=colours[name], linewidth=width)
        _value_axis(axes, unit)
        axes.margins(x=0.01)
        _date_axis(axes, x)

    shown = list(made)
    draw(panels[0], [first] if two else shown, 0)
    if two:
        begin = max(start for start in starts if start <= len(truth) - close_up)
        draw(panels[1], shown, begin)
        panels[0].axvspan(x[begin], x[-1], color="#f0f0f0", zorder=0)
        panels[0].set_title(f"All of the held-out end, a forecast every {horizon} steps")
        panels[1].set_title(f"Its last {len(truth) - begin} steps (shaded above)")
    panels[-1].set_xlabel(time_name)
    handles: list[Artist] = [Line2D([], [], color=TRUTH, linewidth=1.0), *(Line2D([], [], color=colours[name]) for name in shown)]
    if bands:
        handles.append(Patch(color=colours[first], alpha=0.3, linewidth=0))
        shown.append(f"{first}, {' and '.join(bands)}")
    figure.legend(handles, ["truth", *shown], loc="outside upper right", ncols=min(len(handles), 5))
    return figure


def coverage_by_step(shares: Mapping[str, Sequence[float]], nominal: str, colours: Colours) -> Figure:
    """Share of values within an interval against the step of the horizon, beside what it should be.

    Args:
        shares:   method -> (horizon,) percent.
        nominal:  the share that was asked for: "80%".
        colours:  name -> colour.
    """
    figure, axes = _figure(2.6)
    for name, values in shares.items():
        steps = range(1, len(values) + 1)
        axes.plot(steps, values, "o-" if len(steps) <= 48 else "-", markersize=3.5, color=colours[name], label=name)
    axes.axhline(float(nominal.rstrip("%")), color=TRUTH, linestyle="--", linewidth=1.0, label=f"nominal {nominal}")
    axes.set_xlabel("steps ahead")
    _value_axis(axes, "values within", "%")
    axes.set_ylim(max(0.0, min(min(values) for values in shares.values()) - 5), 101)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    _legend_above(figure, axes)
    return figure


def error_by_step(errors: Mapping[str, Sequence[float]], colours: Colours, unit: str) -> Figure:
    """Mean absolute error against the step of the horizon, a line for each method, named at its end.

    Args:
        errors:  method -> (horizon,) errors in `unit`, of 1, 2, ... steps ahead.
        unit:    the axis of errors.
    """
    figure, axes = _figure(3.0)
    for name, values in errors.items():
        steps = range(1, len(values) + 1)
        axes.plot(steps, values, "o-" if len(steps) <= 48 else "-", markersize=3.5, color=colours[name], label=name)
    axes.set_xlabel("steps ahead")
    _value_axis(axes, "mean absolute error", unit)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    _legend_above(figure, axes)
    return figure


def error_over_time(times: Sequence[str], errors: np.ndarray, worst: Sequence[int], unit: str, time_name: str) -> Figure:
    """Mean absolute error of each origin's forecast, with the worst origins marked.

    Args:
        times:     texts, at least n: the time of each forecast's first step.
        errors:    (n,) errors in `unit`, one an origin.
        worst:     indices of the origins to mark, worst first.
        unit:      the axis of errors.
        time_name: the axis of times.
    """
    figure, axes = _figure(2.6)
    x = _time_values(times)[: len(errors)]
    many = len(errors) > _MANY
    if not many:
        axes.fill_between(x, errors, color=NETWORKS[0], alpha=0.25, linewidth=0)
    axes.plot(x, errors, color=NETWORKS[0], linewidth=0.5 if many else 1.0)
    for rank, at in enumerate(worst, start=1):
        axes.plot(x[at], errors[at], "o", color=WORST, markersize=5)
        axes.annotate(str(rank), (x[at], errors[at]), xytext=(5, 3), textcoords="offset points", color=WORST, weight="bold")
    axes.set_ylim(bottom=0)
    _value_axis(axes, "mean absolute error", unit)
    axes.set_xlabel(f"{time_name} of the forecast's first step")
    axes.margins(x=0.01)
    _date_axis(axes, x)
    return figure


def confusion(counts: np.ndarray, labels: Sequence[str]) -> Figure:
    """How often each label was predicted as each: truth by row, coloured by its share of the row, with the counts.

    Args:
        counts:  (C, C) times.
        labels:  C texts; long ones are cut.
    """
    C = len(labels)
    names = [label if len(label) <= 12 else f"{label[:11]}…" for label in map(printable, labels)]
    figure = Figure(figsize=(WIDTH, min(1.8 + 0.42 * C, 0.9 * WIDTH)), layout="compressed")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Cells as shapes and few colours: sharp at every size, and no picture within the picture.
    image = axes.pcolormesh(shares, cmap=colormaps["Blues"].resampled(10), vmin=0.0, vmax=1.0, edgecolors="white", linewidth=0.5)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    size = float(np.clip(160 / C, 5.5, 10.0))
    for row, column in np.argwhere(counts > 0).tolist() if C <= 32 else ():  # past that no number could be read
        colour = "white" if shares[row, column] > 0.55 else TRUTH
        axes.text(column + 0.5, row + 0.5, f"{counts[row, column]}", ha="center", va="center", fontsize=size, color=colour)
    axes.set_xticks(
        np.arange(C) + 0.5,
        names,
        rotation=90 if C > 20 or (C > 4 and max(map(len, names)) > 3) else 0,
        fontsize=7.0 if C > 20 else 9.0,
    )
    axes.set_yticks(np.arange(C) + 0.5, names, fontsize=7.0 if C > 20 else 9.0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=25)
    bar.set_label("share of row")
    bar.ax.yaxis.set_major_formatter("{x:.0%}")
    bar.outline.set_visible(False)
    return figure


def label_colours(labels: Sequence[str]) -> dict[str, str]:
    """label -> colour: along a scale from red to blue where all labels are numbers, else apart; after the last again."""
    if len(labels) > 1 and all(label.isdecimal() for label in labels):
        scale = colormaps["RdYlBu"]
        return {label: to_hex(scale(0.1 + 0.8 * n / (len(labels) - 1))) for n, label in enumerate(labels)}
    return dict(zip(labels, cycle((*NETWORKS, *BASELINES))))


def by_height(heights: Sequence[Mapping[str, float]]) -> Figure:
    """Accuracy and certainty in percent over the height of nodes, above how many nodes there are.

    Args:
        heights:  {"height", "nodes", "accuracy", "certainty"} each.
    """
    figure = Figure(figsize=(WIDTH, 3.6))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    at = [one["height"] for one in heights]
    for name, colour, mark in (("accuracy", NETWORKS[0], "o"), ("certainty", BASELINES[1], "s")):
        above.plot(at, [one[name] for one in heights], color=colour, marker=mark, markersize=4, label=name)
    above.set_ylabel("percent")
    above.set_ylim(max(min(one[name] for one in heights for name in ("accuracy", "certainty")) - 5, 0), 101)
    below.bar(at, [one["nodes"] for one in heights], color=BASELINES[0])
    below.set_yscale("log")
    below.set_ylabel("nodes")
    below.yaxis.set_major_formatter("{x:,.0f}")
    below.yaxis.set_minor_formatter(NullFormatter())
    below.set_xlabel("height")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_above(figure, above)
    return figure


_GATES = {
    "i": "input gate",
    "f": "forget gate",
    "o": "output gate",
    "g": "candidate",
    "c": "cell state",
    "r": "reset gate",
    "z": "update gate",
    "n": "candidate",
}
_UNITS = 3  # units of a gate drawn one by one


def gates(
    found: Mapping[str, np.ndarray], times: Sequence[str], time_name: str, inputs: np.ndarray | None = None, unit: str = ""
) -> Figure:
    """What the gates of a network did over time: small panels, a column a layer, under the input series.

    A panel shows where most units are (a band from the 10th to the 90th percentile), and those that
    move the most, a line each.

    Args:
        found:      gate, prefixed with "<layer>." in a stack -> (T, units), T >= 2; at least one gate.
        times:      T texts: the time, or the symbol, of each step.
        time_name:  the axis of times.
        inputs:     (T,) a series that the network reads; None for none.
        unit:       the axis of the inputs.
    """
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in found))
    columns = [[name for name in found if name.rpartition(".")[0] == layer] for layer in layers]
    top = 0 if inputs is None else 1
    rows = top + max(map(len, columns))
    figure = Figure(figsize=(WIDTH, 0.7 + 0.95 * rows))
    grid = figure.subplots(rows, len(columns), squeeze=False, sharex=True)
    x = _time_values(times)
    symbols = np.issubdtype(x.dtype, np.integer) and len(times) <= _SYMBOLS
    for n, (layer, names) in enumerate(zip(layers, columns, strict=True)):
        panels = grid[:, n]
        if inputs is not None:
            panels[0].plot(x, inputs, color=TRUTH, linewidth=1.0)
            _value_axis(panels[0], unit)
        for axes, name in zip(panels[top:], names, strict=False):
            _gate(axes, x, found[name])
            _value_axis(axes, _GATES.get(name.rpartition(".")[2], name.rpartition(".")[2]))
        for axes in panels[top + len(names) :]:
            axes.set_visible(False)
        if len(layers) > 1:
            panels[0].set_title(f"layer {layer}")
        for axes in panels:
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.yaxis.label.set_fontsize(9)
            axes.margins(x=0.01)
        _date_axis(panels[-1], x)
        if symbols:
            panels[-1].set_xticks(x, list(map(printable, times)), fontsize=9)
        panels[-1].set_xlabel(time_name)
    figure.align_ylabels()
    handles: list[Artist] = [Patch(color=NETWORKS[0], alpha=0.25, linewidth=0)]
    handles += [Line2D([], [], color=NETWORKS[n]) for n in range(min(_UNITS, max(values.shape[1] for values in found.values())))]
    labels = ["middle 80% of the units", *("the units that move the most", "", "")[: len(handles) - 1]]
    figure.legend(handles, labels, loc="outside upper right", ncols=len(handles), columnspacing=0.8)
    return figure


def _gate(axes: Axes, x: np.ndarray, values: np.ndarray) -> None:
    """One gate, (T, units)."""
    low, high = np.quantile(values, (0.1, 0.9), axis=1)
    axes.fill_between(x, low, high, color=NETWORKS[0], alpha=0.25, linewidth=0)
    for n, unit in enumerate(np.argsort(-values.std(axis=0), kind="stable")[:_UNITS].tolist()):
        axes.plot(x, values[:, unit], color=NETWORKS[n], linewidth=1.0)
    if values.min() >= 0 and values.max() <= 1:
        axes.set_ylim(-0.05, 1.05)


def spread(values: Mapping[str, Sequence[float]], colours: Colours, quantity: str) -> Figure:
    """One row a method: a dot for each seed and a bar at their mean. Lower is better.

    Args:
        values:    method -> its values, one a seed.
        quantity:  what the value is, with its unit.
    """
    figure, axes = _figure(0.75 + 0.36 * len(values))
    jitter = 0.22
    for row, (name, dots) in enumerate(values.items()):
        offsets = np.linspace(-jitter, jitter, len(dots)) if len(dots) > 1 else [0.0]
        axes.plot(dots, row + np.asarray(offsets), "o", color=colours[name], markersize=5, alpha=0.8, markeredgewidth=0)
        mean = float(np.mean(dots))
        axes.plot([mean, mean], [row - 0.34, row + 0.34], color=TRUTH, linewidth=1.8)
        axes.annotate(
            f"{mean:#.3g}".rstrip("."), (max(dots), row), xytext=(9, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.08)
    axes.set_xlabel(quantity)
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.subplots()


def _value_axis(axes: Axes, quantity: str, unit: str = "") -> None:
    """Name the axis, its unit in a second line, each cut to what the height of a panel holds; numbers in full."""
    lines = [quantity, f"({unit})"] if unit else [quantity]
    axes.set_ylabel("\n".join(line if len(line) <= _AXIS else f"{line[: _AXIS - 1]}…" for line in lines))
    axes.yaxis.set_major_formatter("{x:,.10g}")


def _legend_above(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=min(len(labels), 6))


def _time_values(times: Sequence[str]) -> np.ndarray:
    """Numbers where all the texts are numbers, else dates where they are ISO dates, else 0, 1, 2, ..."""
    for kind in ("float64", "datetime64[s]"):
        try:
            return np.array(times, dtype=kind)
        except ValueError:
            continue
    return np.arange(len(times))


def _date_axis(axes: Axes, x: np.ndarray) -> None:
    if np.issubdtype(x.dtype, np.datetime64):
        locator = AutoDateLocator(minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
