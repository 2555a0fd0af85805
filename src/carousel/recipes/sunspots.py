"""The demonstration: the monthly sunspot numbers, forecast twelve months ahead.

The series is cut by time: the oldest 70 % train, the next 15 % choose when to stop, the newest
15 % (from 1948 on) are held back for the table. The networks correct a linear forecast, ridge regression on the last 66
months, and train as `carousel train forecast` does by default, on twice as many windows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from carousel.data import Series, example, read_series
from carousel.data.forecast import Forecast, Values, baseline_forecasts, metrics
from carousel.jobs.forecast import begin_at_base, rolling
from carousel.learn import BPTT
from carousel.models import build
from carousel.recipes.recipe import Goal, Recipe, Row
from carousel.train import fit

CYCLE = 132  # months, eleven years
HISTORY = 66  # months that a network has seen at least when a forecast counts in training
SEEDS = (0, 1, 2, 3, 4)
TRAINING: dict[str, Any] = {"rate": 0.003, "decay": True, "batch_size": 32, "sequences": 16384, "evaluate_every": 512}

_NAIVE = ("naive", f"seasonal-naive-{CYCLE}", f"linear-{HISTORY}")
_NETWORKS = ("window-2", f"window-{HISTORY}", "lstm", "gru")
_GOAL = Goal("MAE", "sunspots", rivals=(*_NAIVE, *_NETWORKS[:2]))


@cache
def _task() -> tuple[Series, Forecast]:
    series = read_series(example("sunspots"), "Sunspots")
    return series, Forecast(series, horizon=12, history=HISTORY, season=CYCLE, base="auto", squared=False)


def run_unit(row: str, unit: int | str) -> dict[str, Any]:
    """One seed of one row; the forecasts without a network have one unit and need no training."""
    series, task = _task()
    (track,), (origins,) = task.tracks, task.origins
    entry: dict[str, Any] = {"seed": unit, "solved": None, "sequences": 0, "seconds": 0.0, "backend": "none", "curve": []}
    if row in _NAIVE:
        made = baseline_forecasts(track, origins, task.horizon, CYCLE).values()
        forecast = dict(zip(_NAIVE, made, strict=True))[row][..., None]
    else:
        seed = int(unit)
        cell = begin_at_base(build(row, task.input_size, task.output_size, hidden=32, seed=seed))
        learner = BPTT(clip_norm=1.0)
        trained = fit(cell, task, learner=learner, **TRAINING, monitor="MAE", evaluate_first=True, seed=seed, progress=False)
        forecast = rolling(trained.cell, track, origins, task.horizon)
        entry.update(sequences=trained.sequences, seconds=round(trained.seconds, 2), backend="auto")
        entry["curve"] = [
            [line["sequences"], round(line["value"], 4)]
            for line in trained.history
            if line["split"] == "validation" and line["name"] == "MAE"
        ]
    measures = metrics(forecast, track.truth(origins, task.horizon), track.scaling.scale)
    entry["measures"] = {name: round(value, 4) for name, value in measures.items()}
    if unit == SEEDS[0]:
        entry["picture"] = _picture(series, task.test_starts[0], forecast[..., 0])
    return entry


def _picture(series: Series, start: int, forecast: Values) -> dict[str, Any]:
    """The held-back end (n values) and the forecasts of it, (n - horizon + 1, horizon), as report/plots.py draws them."""
    return {
        "time_name": series.time_name,
        "unit": "sunspots",
        "times": series.times[start:],
        "truth": series.values[start:].tolist(),
        "forecasts": forecast.round(1).tolist(),
    }


RECIPE = Recipe(
    name="sunspots",
    paper="Monthly mean sunspot numbers, 1749-1983 (SILSO, Royal Observatory of Belgium, series before 2015)",
    about="Forecasts of the next twelve months at every month of the held-back end, 1948-1983.",
    rows=(
        *(Row(name, units=SEEDS[:1]) for name in _NAIVE),
        *(Row(name, units=SEEDS) for name in _NETWORKS[:2]),
        *(Row(name, units=SEEDS, goals=(_GOAL,)) for name in _NETWORKS[2:]),
    ),
    run_unit=run_unit,
    curve="MAE on validation (sunspots)",
)
