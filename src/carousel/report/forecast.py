"""What the report of a forecast shows besides the frame that every report has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

from carousel.data.dates import moments
from carousel.data.forecast import intervals
from carousel.jobs.forecast import Held, Result, Settings, monitor
from carousel.jobs.run import Run
from carousel.report import plots
from carousel.report.content import Content
from carousel.report.results import ResultTable, Row, number

_WORST = 5  # origins listed where the error is largest
_SERIES = 10  # series listed where the error is largest


def content(run: Path, settings: Settings, result: Result) -> Content:
    """Forecast against truth, error by step, coverage of the intervals, where the error is largest."""
    model = settings.model
    others = [row["method"] for row in result.rows if row["method"] != model]
    methods = [model, *others]
    errors = {method: [_errors(held, method) for held in result.held] for method in methods}
    own = [float(mean(each)) for each in errors[model]]
    at = _shown(own)
    shown = result.held[at]
    times = _on_axis(run, shown.times)
    by_origin = mean(errors[model][at], axis=1)
    worst = _apart(by_origin, settings.horizon)
    colours = plots.palette(
        [model, *([settings.rival] if settings.rival else [])], [name for name in others if name != settings.rival]
    )
    step_errors = {name: np.concatenate(each) for name, each in errors.items()}
    with style.context(plots.STYLE):
        figures = {
            "forecast": plots.svg(
                plots.forecasts(
                    times,
                    shown.truth,
                    {name: point(shown.forecasts[name]) for name in methods},
                    colours,
                    result.name,
                    result.time_name,
                    bands=bands(shown.forecasts[model], settings.quantiles),
                )
            ),
            "step": plots.svg(plots.error_by_step(by_step(step_errors), colours, result.name)),
            "time": plots.svg(plots.error_over_time(times, by_origin, worst, result.name, result.time_name)),
        }
        if result.gates:
            figures["gates"] = plots.svg(_gates(result, _on_axis(run, result.held[0].times)))
        if settings.quantiles:
            coverage = coverage_by_step(result.held, methods, settings.quantiles)
            figures["coverage"] = plots.svg(plots.coverage_by_step(coverage, _outermost(settings.quantiles), colours))
    return Content(
        title=f"{result.name}, {settings.horizon} steps ahead",
        finding=_finding(model, result.rows),
        monitor=(monitor(settings), result.name),
        loss_unit="scaled",
        values={
            "figures": figures,
            "shown": shown,
            "read": _read(settings),
            "series": _series_table(result, own, errors, methods) if len(result.held) > 1 else None,
            "worst": _worst_table(result, shown, worst, by_origin, point(shown.forecasts[model])),
        },
    )


def mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The mean of what is there, NaN where nothing is."""
    there = ~np.isnan(values)
    count = there.sum(axis)
    total = np.where(there, values, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def point(forecast: np.ndarray) -> np.ndarray:
    """(origins, horizon) the forecast itself, of the quantiles (origins, horizon, Q)."""
    return forecast[..., forecast.shape[-1] // 2]


def bands(forecast: np.ndarray, quantiles: Sequence[float]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Nominal share -> (low, high), each (origins, horizon), the outermost interval first."""
    return {name: (forecast[..., low], forecast[..., high]) for name, (low, high) in intervals(quantiles).items()}


def absolute_errors(truth: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """(origins, horizon) absolute errors; row j of the forecast (origins, horizon) is of truth[j : j + horizon]."""
    return np.abs(forecast - sliding_window_view(truth, forecast.shape[1]))


def by_step(errors: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """name -> (horizon,) mean of the errors (origins, horizon) that are there."""
    return {name: mean(error, axis=0).tolist() for name, error in errors.items()}


def coverage_by_step(held: Sequence[Held], methods: Sequence[str], quantiles: Sequence[float]) -> dict[str, list[float]]:
    """method -> (horizon,) share in percent of the values within the outermost interval."""
    low, high = intervals(quantiles)[_outermost(quantiles)]
    found = {}
    for method in methods:
        inside = []
        for one in held:
            forecast = one.forecasts[method]
            truth = sliding_window_view(one.truth, forecast.shape[1])
            within = (forecast[..., low] <= truth) & (truth <= forecast[..., high])
            inside.append(np.where(np.isnan(truth), np.nan, 100.0 * within))
        found[method] = mean(np.concatenate(inside), axis=0).tolist()
    return found


def _on_axis(run: Run | Path, times: list[str]) -> list[str]:
    """The times as numbers or ISO dates, as an axis takes them."""
    format = Run.of(run).prepared.get("date_format", "iso")
    if format in ("iso", "number", "row"):
        return times
    return [str(moment) for moment in (1e6 * moments(times, format)).round().astype("datetime64[us]")]


def _gates(result: Result, times: list[str]) -> Figure:
    first, steps = result.held[0], len(next(iter(result.gates.values())))
    return plots.gates(result.gates, times[-steps:], result.time_name, first.truth[-steps:], result.name)


def _outermost(quantiles: Sequence[float]) -> str:
    return next(iter(intervals(quantiles)))


def _errors(held: Held, method: str) -> np.ndarray:
    return absolute_errors(held.truth, point(held.forecasts[method]))


def _shown(errors: Sequence[float]) -> int:
    """The series with the middle one of the errors."""
    order = np.argsort(errors, kind="stable")
    return int(order[(len(order) - 1) // 2])


def _read(settings: Settings) -> str:
    """What the network reads at each step, in words."""
    parts = [settings.target, *settings.covariates]
    parts += [f"{name} (known {settings.horizon} steps ahead)" for name in settings.known]
    return ", ".join(parts) + (", and the calendar" if settings.calendar else "")


def _finding(model: str, methods: Sequence[Row]) -> str:
    """The table of errors in one sentence, and the outermost interval in another."""
    errors = {method["method"]: method["MAE"] for method in methods}
    own = errors.pop(model)
    rival = min(errors, key=lambda name: errors[name])
    change = own / errors[rival] - 1 if errors[rival] else np.inf
    share = f"{abs(change):.0%} {'lower' if change < 0 else 'higher'} than"
    compared = "the same as" if abs(change) < 0.005 else share if np.isfinite(change) else "higher than"
    sentence = (
        f"The mean absolute error of {model} is {number(own, errors.values())}, {compared} that of the best baseline, "
        f"the {rival} forecast ({number(errors[rival], [own])})."
    )
    row = next(method for method in methods if method["method"] == model)
    for name, value in row.items():
        if name.endswith(" coverage"):
            return f"{sentence} Its {name.removesuffix(' coverage')} interval holds {value:.0%} of the values."
    return sentence


def _apart(errors: np.ndarray, horizon: int) -> list[int]:
    """The origins with the largest errors, at least a horizon apart, largest first."""
    chosen: list[int] = []
    for at in np.argsort(-errors, kind="stable").tolist():  # NaN comes last
        if np.isnan(errors[at]) or len(chosen) == _WORST:
            break
        if all(abs(at - other) >= horizon for other in chosen):
            chosen.append(at)
    return chosen


def _worst_table(result: Result, shown: Held, worst: Sequence[int], errors: np.ndarray, forecast: np.ndarray) -> ResultTable:
    """What was forecast and what came, at the origins with the largest errors."""
    horizon = forecast.shape[1]
    largest = [float(np.nanmax(np.abs(shown.truth)))]
    rows = []
    for rank, at in enumerate(worst, start=1):
        first, last = shown.times[at], shown.times[at + horizon - 1]
        means = errors[at], forecast[at].mean(), mean(shown.truth[at : at + horizon])
        rows.append([f"{rank}. {first} to {last}", *(number(float(value), largest) for value in means)])
    return ResultTable([f"{result.time_name} of first and last step", "mean absolute error", "mean forecast", "mean truth"], rows)


def _series_table(
    result: Result, own: Sequence[float], errors: Mapping[str, Sequence[np.ndarray]], methods: Sequence[str]
) -> ResultTable:
    """The series with the largest errors, and every method's mean absolute error on them."""
    rows = []
    for n in np.argsort([-error for error in own], kind="stable").tolist()[:_SERIES]:
        means = [float(mean(errors[method][n])) for method in methods]
        rows.append([result.held[n].id, *(number(value, means) for value in means)])
    return ResultTable(["series", *methods], rows)
