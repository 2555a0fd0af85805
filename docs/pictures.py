"""Make the pictures of the guide: python docs/pictures.py [NAME...], all of them without a name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.dates
import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure

from carousel import Cell, fit, scan
from carousel.cells import LSTM1997
from carousel.data import Series, example, read_series
from carousel.data.forecast import Forecast
from carousel.models import build
from carousel.recipes import (
    Recipe,
    error_flow,
    guessing,
    lstm1997,
    lstm1997_competitors,
    lstm1997_today,
    lstm_facts,
    ntm2014_pictures,
)
from carousel.report.plots import NETWORKS, STYLE, TRUTH, WIDTH, forecasts
from carousel.train import Fit

FOLDER = Path(__file__).with_name("pictures")
SHOWN = 40 * 12  # the last forty years, in months


def sunspots() -> tuple[Series, Forecast]:
    series = read_series(example("sunspots"), "Sunspots")
    return series, Forecast(series.values, horizon=12, history=66)


def trained(model: str, task: Forecast, *, hidden: int = 8, **options: Any) -> Fit:
    cell = build(model, 1, task.output_size, hidden=hidden)
    return fit(cell, task, **{"rate": 0.01, "sequences": 2048, "evaluate_every": 256, "progress": False} | options)


def window() -> Figure:
    """What a network knows that sees two months: a surface over them."""
    _, task = sunspots()
    cell = trained("window-2", task, hidden=16).cell
    (track,) = task.tracks
    mean, deviation = track.scaling.mean, track.scaling.deviation
    grid = torch.linspace(-mean, 200 - mean, 60) / deviation
    before, now = torch.meshgrid(grid, grid, indexing="ij")
    pairs = torch.stack([before.flatten(), now.flatten()])[..., None]  # (T = 2, B, 1)
    with torch.no_grad():
        answer = (scan(cell, pairs)[0][1, :, 11] + pairs[1, :, 0]).reshape(60, 60)  # twelve months ahead
    unit = grid * deviation + mean
    figure = Figure(figsize=(WIDTH * 0.75, 3.6))
    axes = figure.subplots()
    surface = axes.contourf(unit, unit, (answer * deviation + mean).T, levels=12, cmap="cividis")
    shown = (track.values[:-1] < 200) & (track.values[1:] < 200)
    axes.plot(track.values[:-1][shown], track.values[1:][shown], ".", markersize=1.5, color="white", alpha=0.6)
    axes.set(xlabel="sunspots last month", ylabel="sunspots this month")
    figure.colorbar(surface, ax=axes, label="forecast, 12 months ahead")
    return figure


def whole(task: Forecast) -> torch.Tensor:
    """The scaled inputs (T, 1, 1) of the series, to the last step that is forecast from."""
    return task.tracks[0].inputs[: -task.horizon, None]


def states(cell: Cell, task: Forecast) -> tuple[torch.Tensor, Any]:
    """The inputs of `whole`, and the layer's state before each step (T, 1, ...)."""
    inputs = whole(task)
    with torch.no_grad():
        after = scan(cell, inputs, return_states=True)[2][0]
    start = cell.initial_state()[0]
    return inputs, torch.utils._pytree.tree_map(lambda first, all_: torch.cat([first[None, None], all_[:-1]]), start, after)


def panels(series: Series, task: Forecast, rows: dict[str, torch.Tensor], heat: bool) -> Figure:
    """The series above, and below it a panel a quantity: (T, H), as an image or as lines."""
    values = task.tracks[0].values
    end = len(values) - task.horizon
    time = np.array(series.times, dtype="datetime64[M]")[end - SHOWN : end]
    figure = Figure(figsize=(WIDTH, 1.5 + 1.25 * len(rows)))
    axes = figure.subplots(1 + len(rows), sharex=True)
    axes[0].plot(time, values[end - SHOWN : end], color=TRUTH, linewidth=0.9)
    axes[0].set_ylabel("sunspots")
    for axis, (name, quantity) in zip(axes[1:], rows.items(), strict=True):
        shown = quantity[-SHOWN:].numpy()
        if heat:
            edge = matplotlib.dates.date2num([time[0], time[-1]])
            extent = (*edge, len(shown[0]) + 0.5, 0.5)
            image = axis.imshow(shown.T, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", extent=extent)
            figure.colorbar(image, ax=axis, label="activity")
            axis.grid(visible=False)
        else:
            for unit, colour in zip(shown.T, NETWORKS, strict=False):
                axis.plot(time, unit, color=colour, linewidth=0.9)
        axis.set_ylabel(name)
    axes[-1].set_xlabel("year")
    return figure


def gates(model: str, shown: dict[str, str]) -> Figure:
    """Four units' gates while the trained network reads the series; shown: gate -> label."""
    series, task = sunspots()
    cell: Any = trained(model, task, hidden=4).cell
    inputs, before = states(cell, task)
    with torch.no_grad():
        values = torch.vmap(cell.cells[0].gates)(inputs[:, 0], torch.utils._pytree.tree_map(lambda leaf: leaf[:, 0], before))
    return panels(series, task, {label: values[name] for name, label in shown.items()}, heat=False)


def lstm() -> Figure:
    return gates("lstm", {"i": "input gate", "f": "forget gate", "o": "output gate", "c": "cell state"})


def gru() -> Figure:
    return gates("gru", {"r": "reset gate", "z": "update gate", "n": "candidate"})


def fully_recurrent() -> Figure:
    """The units' activity, an image a unit a row."""
    series, task = sunspots()
    cell = trained("fully-recurrent", task, hidden=12).cell
    _, before = states(cell, task)
    activity = before[:, 0] - before[:, 0].mean(0)
    return panels(series, task, {"unit": activity / activity.abs().amax(0)}, heat=True)


def optimisers() -> Figure:
    """Learning curves of one network under four optimisers, each at a rate that suits it."""
    _, task = sunspots()
    figure = Figure(figsize=(WIDTH, 3))
    axes = figure.subplots()
    for (name, rate), colour in zip(
        {"sgd": 0.01, "momentum": 0.003, "adam": 0.01, "rmsprop-graves": 0.003}.items(), NETWORKS, strict=False
    ):
        done = trained("gru", task, optimizer=name, rate=rate, sequences=4096)
        rows = [row for row in done.history if row["split"] == "validation" and row["name"] == "MAE"]
        points = [(row["sequences"], row["value"]) for row in rows]
        axes.plot(*zip(*points, strict=True), color=colour, marker=".", label=f"{name}, rate {rate}")
    axes.set(xlabel="training sequences", ylabel="MAE on validation (sunspots)")
    axes.legend()
    return figure


def bptt() -> Figure:
    """How much the error of the last step changes the state of each step before: in full, and with a window."""
    torch.manual_seed(0)
    task = sunspots()[1]
    cell = trained("lstm", task).cell
    inputs = whole(task)[-200:].clone()
    figure = Figure(figsize=(WIDTH, 3))
    axes = figure.subplots()
    for (window, label), colour in zip(
        {200: "full", 50: "window of 50 steps", 12: "window of 12 steps"}.items(), NETWORKS, strict=False
    ):
        with torch.no_grad():
            _, state = scan(cell, inputs[:-window]) if window < 200 else (None, None)
        last = inputs[-window:].requires_grad_()
        outputs, _ = scan(cell, last, state)
        (gradient,) = torch.autograd.grad(outputs[-1].square().sum(), last)
        norms = gradient[:, 0].norm(dim=1).flip(0)
        axes.plot(norms, color=colour, linewidth=4 - 1.2 * len(axes.lines), marker="o", markevery=[window - 1], label=label)
    axes.set(yscale="log", xlabel="lag (steps back)", ylabel="gradient of the last error")
    axes.legend()
    return figure


def error_flow_picture() -> Figure:
    recipe = error_flow.RECIPE
    runs = {row.name: [error_flow.run_unit(row.name, unit) for unit in row.units] for row in recipe.rows}
    return error_flow.draw([{"row": name, "runs": entries} for name, entries in runs.items()])


def demo() -> Figure:
    """The README's picture: the forecasts that `carousel reproduce sunspots` recorded."""
    results = Path(__file__).parents[1] / "results" / "sunspots"
    pictures = {row: json.loads((results / f"{row}.json").read_text())["runs"][0]["picture"] for row in ("gru", "window-2")}
    first = pictures["gru"]
    made = {row: np.array(picture["forecasts"]) for row, picture in pictures.items()}
    colours = dict(zip(made, NETWORKS, strict=False))
    return forecasts(first["times"], np.array(first["truth"]), made, colours, first["unit"], first["time_name"])


def of_ntm(draw: Callable[..., Figure | None], experiment: str, row: str) -> Callable[[], Figure | None]:
    """A picture of the first run of that row that `carousel reproduce ntm2014/...` recorded."""
    path = Path(__file__).parents[1] / "results" / "ntm2014" / experiment / f"{row}.json"
    return lambda: draw([json.loads(path.read_text())])


def recorded(recipe: Recipe) -> list[dict[str, object]]:
    """The rows that `carousel reproduce` recorded of a recipe."""
    folder = Path(__file__).parents[1] / "results" / recipe.name
    rows = [folder / f"{row.name}.json" for row in recipe.rows]
    return [json.loads(row.read_text()) for row in rows if row.exists()]


def network_of_1997() -> Figure:
    """The network that the paper draws: 8 inputs, 4 outputs, 2 blocks of 2."""
    return LSTM1997(8, 4, blocks=2, block_size=2, in_bias=(-2, -4)).draw()


def published() -> Figure | None:
    """Training sequences of the paper and of what `carousel reproduce lstm1997` recorded."""
    return lstm1997.draw_sequences(recorded(lstm1997.RECIPE))


def today() -> Figure | None:
    """The same of `carousel reproduce lstm1997-today`, beside what the rule of 1997 took."""
    return lstm1997_today.draw(recorded(lstm1997_today.RECIPE), recorded(lstm1997.RECIPE))


def competitors() -> Figure | None:
    """Training sequences of what `carousel reproduce lstm1997-competitors` recorded."""
    return lstm1997_competitors.draw(recorded(lstm1997_competitors.RECIPE))


def guesses() -> Figure | None:
    """Trials of the paper and of what `carousel reproduce guessing` recorded."""
    return guessing.draw_trials(recorded(guessing.RECIPE))


def fact(recipe: Recipe) -> Callable[[], Figure | None]:
    """The picture of what `carousel reproduce lstm-facts/...` recorded."""
    (draw,) = recipe.pictures.values()
    return lambda: draw(recorded(recipe))


PICTURES: dict[str, Callable[[], Figure | None]] = {
    "window": window,
    "fully-recurrent": fully_recurrent,
    "error-flow": error_flow_picture,
    "lstm": lstm,
    "gru": gru,
    "optimisers": optimisers,
    "bptt": bptt,
    "demo": demo,
    "ntm": of_ntm(ntm2014_pictures.draw_heads, "copy", "ntm-lstm"),
    "ntm-recall": of_ntm(ntm2014_pictures.draw_heads, "associative-recall", "ntm-lstm-best"),
    "ntm-repeat": of_ntm(ntm2014_pictures.draw_heads, "repeat-copy", "ntm-lstm-best"),
    "ntm-sort": of_ntm(ntm2014_pictures.draw_heads, "priority-sort", "ntm-lstm-best"),
    "ntm-ngrams": of_ntm(ntm2014_pictures.draw_predictions, "dynamic-n-grams", "ntm-lstm-best"),
    "lstm1997": published,
    "lstm1997-network": network_of_1997,
    "lstm1997-today": today,
    "lstm1997-competitors": competitors,
    "guessing": guesses,
    **{name.replace("/", "-"): fact(recipe) for name, recipe in lstm_facts.RECIPES.items()},
}

if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(PICTURES)
    if unknown:
        sys.exit(f"no picture {', '.join(sorted(unknown))}, expected some of: {', '.join(PICTURES)}")
    FOLDER.mkdir(exist_ok=True)
    with matplotlib.style.context(STYLE | {"text.parse_math": True}):
        for name in sys.argv[1:] or PICTURES:
            figure = PICTURES[name]()
            assert figure is not None
            figure.savefig(FOLDER / f"{name}.png", dpi=110)
            print(FOLDER / f"{name}.png")
