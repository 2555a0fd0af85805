"""What the report of a forecast shows besides the frame that every report has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from numpy.lib.stride_tricks import sliding_window_view

from carousel.jobs.forecast import Result, Settings
from carousel.report import plots
from carousel.report.content import Content
from carousel.report.results import Row, Table, number

_WORST = 5  # origins listed where the error is largest


def content(run: Path, settings: Settings, result: Result) -> Content:
    """Forecast against truth, error by step, where the error is largest."""
    baselines = [name for name in result.forecasts if name != settings.model]
    made = {name: result.forecasts[name] for name in (settings.model, *baselines)}
    error = {name: absolute_errors(result.truth, forecast) for name, forecast in made.items()}
    by_origin = error[settings.model].mean(axis=1)
    worst = _apart(by_origin, settings.horizon)
    colours = plots.palette([settings.model], baselines)
    with style.context(plots.STYLE):
        figures = {
            "forecast": plots.svg(plots.forecasts(result.times, result.truth, made, colours, result.name, result.time_name)),
            "step": plots.svg(plots.error_by_step(by_step(error), colours, result.name)),
            "time": plots.svg(plots.error_over_time(result.times, by_origin, worst, result.name, result.time_name)),
        }
    return Content(
        title=f"{result.name}, {settings.horizon} steps ahead",
        finding=_finding(settings.model, result.rows),
        monitor=("MAE", result.name),
        loss_unit="scaled",
        values={"figures": figures, "worst": _worst_table(result, worst, by_origin, made[settings.model])},
    )


def absolute_errors(truth: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """(origins, horizon) absolute errors; row j of the forecast (origins, horizon) is of truth[j : j + horizon]."""
    return np.abs(forecast - sliding_window_view(truth, forecast.shape[1]))


def by_step(errors: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: error.mean(axis=0).tolist() for name, error in errors.items()}


def _finding(model: str, methods: Sequence[Row]) -> str:
    """The table of errors in one sentence."""
    errors = {method["method"]: method["MAE"] for method in methods}
    own = errors.pop(model)
    rival = min(errors, key=lambda name: errors[name])
    change = own / errors[rival] - 1 if errors[rival] else np.inf
    share = f"{abs(change):.0%} {'lower' if change < 0 else 'higher'} than"
    compared = "the same as" if abs(change) < 0.005 else share if np.isfinite(change) else "higher than"
    return (
        f"The mean absolute error of {model} is {number(own, errors.values())}, {compared} that of the best baseline, "
        f"the {rival} forecast ({number(errors[rival], [own])})."
    )


def _apart(errors: np.ndarray, horizon: int) -> list[int]:
    """The origins with the largest errors, at least a horizon apart, largest first."""
    chosen: list[int] = []
    for at in np.argsort(-errors, kind="stable").tolist():
        if all(abs(at - other) >= horizon for other in chosen):
            chosen.append(at)
        if len(chosen) == _WORST:
            break
    return chosen


def _worst_table(result: Result, worst: Sequence[int], errors: np.ndarray, forecast: np.ndarray) -> Table:
    """What was forecast and what came, at the origins with the largest errors."""
    horizon = forecast.shape[1]
    rows = []
    for rank, at in enumerate(worst, start=1):
        first, last = result.times[at], result.times[at + horizon - 1]
        means = errors[at], forecast[at].mean(), result.truth[at : at + horizon].mean()
        rows.append([f"{rank}. {first} to {last}", *(number(float(mean), result.truth) for mean in means)])
    return Table([f"{result.time_name} of first and last step", "mean absolute error", "mean forecast", "mean truth"], rows)
