"""Reports: one HTML file with everything in it, readable without a network and without JavaScript."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import style
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

import carousel
from carousel.errors import InputError
from carousel.files import write_aside
from carousel.jobs.forecast import ForecastResult, load
from carousel.recipes.recipe import Recipe
from carousel.report import plots
from carousel.report.results import Row, Table, claims_table, errors_table, higher_is_better, number, recipe_table

_WORST = 5  # origins listed where the error is largest
_PAGES = Environment(loader=PackageLoader("carousel.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)


def write_run_report(run: Path | str) -> Path:
    """Write ``report.html`` into the folder of a finished `carousel.jobs.forecast` run and give its path.

    Raises:
        InputError: the folder holds no finished run.
    """
    run = Path(run)
    settings, result = load(run)
    curves, kept = _curves(run)
    baselines = [name for name in result.forecasts if name != settings.model]
    made = {name: result.forecasts[name] for name in (settings.model, *baselines)}
    errors = {name: _errors(result.truth, forecast) for name, forecast in made.items()}
    by_origin = errors[settings.model].mean(axis=1)
    worst = _apart(by_origin, settings.horizon)
    colours = plots.palette([settings.model], baselines)
    with style.context(plots.STYLE):
        figures = {
            "forecast": svg(plots.forecasts(result.times, result.truth, made, colours, result.name, result.time_name)),
            "step": svg(plots.error_by_step(_by_step(errors), colours, result.name)),
            "time": svg(plots.error_over_time(result.times, by_origin, worst, result.name, result.time_name)),
            "learning": svg(_learning_curves(curves, kept, result.name)),
        }
    return _write(
        run / "report.html",
        "run.html.j2",
        title=f"{result.name}, {settings.horizon} steps ahead",
        settings=settings,
        asked=[(name.replace("_", " "), value) for name, value in asdict(settings).items() if value is not None],
        result=result,
        finding=_finding(settings.model, result.rows),
        errors=errors_table(result.rows),
        worst=_worst_table(result, worst, by_origin, made[settings.model]),
        figures=figures,
    )


def write_recipe_report(recipe: Recipe, rows: Sequence[Row], path: Path) -> Path:
    """Write the report of a recipe's result rows, as `carousel.recipes.reproduce` gives them, and give its path."""
    measure = next(iter(rows[0]["summary"]))
    trained = [row for row in rows if any(run["curve"] for run in row["runs"])]
    names = [row["row"] for row in trained]
    with_goals_first = [row["row"] for row in sorted(trained, key=lambda row: not row["goals"])]  # the clearest colours
    colours = plots.palette(with_goals_first, [row["row"] for row in rows if row not in trained])
    figures: dict[str, tuple[Figure, str]] = {}
    with style.context(plots.STYLE):
        if recipe.draw is not None:
            caption = " ".join((recipe.draw.__doc__ or "").partition("\n\n")[0].split())
            figures["What it shows"] = recipe.draw(rows), caption
        if len(rows) > 1:
            values = {row["row"]: [run["measures"][measure] for run in row["runs"]] for row in rows}
            better = "higher" if higher_is_better(rows, measure) else "lower"
            caption = f"{measure} of each run (dots) and the mean of a row's runs (bars); {better} is better."
            figures["Spread over seeds"] = plots.spread(values, colours, _with_unit(rows, measure)), caption
        if trained:
            curves = {(recipe.curve, ""): {row["row"]: [run["curve"] for run in row["runs"]] for row in trained}}
            figures["Learning curves"] = plots.learning_curves(curves, colours), "A line for each run."
        figures |= _forecast_figures(rows, names, colours)
        drawn = [(title, svg(figure), caption) for title, (figure, caption) in figures.items()]
    return _write(
        path,
        "recipe.html.j2",
        title=recipe.name,
        recipe=recipe,
        results=recipe_table(rows),
        figures=drawn,
        claims=claims_table([row for row in rows if row["claims"] or row["goals"]]),
        deviations=[(row["row"], text) for row in rows for text in row["deviations"]],
    )


def svg(figure: Figure) -> str:
    """The figure as an element to stand within HTML."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _write(path: Path, template: str, **content: Any) -> Path:
    html = _PAGES.get_template(template).render(version=carousel.__version__, date=date.today().isoformat(), **content)
    write_aside(path, html)
    return path


def _errors(truth: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """(origins, horizon) absolute errors; row j of the forecast (origins, horizon) is of truth[j : j + horizon]."""
    return np.abs(forecast - sliding_window_view(truth, forecast.shape[1]))


def _by_step(errors: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: error.mean(axis=0).tolist() for name, error in errors.items()}


# --- The report of a run ---------------------------------------------------------------------------


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


def _worst_table(result: ForecastResult, worst: Sequence[int], errors: np.ndarray, forecast: np.ndarray) -> Table:
    """What was forecast and what came, at the origins with the largest errors."""
    horizon = forecast.shape[1]
    rows = []
    for rank, at in enumerate(worst, start=1):
        first, last = result.times[at], result.times[at + horizon - 1]
        means = errors[at], forecast[at].mean(), result.truth[at : at + horizon].mean()
        rows.append([f"{rank}. {first} to {last}", *(number(float(mean), result.truth) for mean in means)])
    return Table([f"{result.time_name} of first and last step", "mean absolute error", "mean forecast", "mean truth"], rows)


def _curves(run: Path) -> tuple[dict[tuple[str, str], plots.Curve], tuple[float, float]]:
    """(split, name) -> its points in metrics.jsonl, and the point of the lowest validation MAE."""
    path = run / "metrics.jsonl"
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            metric = json.loads(line)
            curves.setdefault((metric["split"], metric["name"]), []).append((metric["sequences"], metric["value"]))
        return dict(curves), min(curves["validation", "MAE"], key=lambda point: point[1])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the metrics of a forecast: {error}") from None


def _learning_curves(curves: Mapping[tuple[str, str], plots.Curve], kept: tuple[float, float], unit: str) -> Figure:
    splits = ("train", "validation")
    panels = {
        ("loss", "scaled"): {split: [curves[split, "loss"]] for split in splits},
        ("MAE on validation", unit): {"validation": [curves["validation", "MAE"]]},
    }
    return plots.learning_curves(panels, plots.palette(splits, ()), marked=kept)


# --- The report of a recipe ------------------------------------------------------------------------


def _with_unit(rows: Sequence[Row], measure: str) -> str:
    """The measure with the unit that a claim or a goal gives it."""
    units = [told["unit"] for row in rows for told in (*row["claims"], *row["goals"]) if told["measure"] == measure]
    return f"{measure} ({units[0]})" if units and units[0] else measure


def _forecast_figures(rows: Sequence[Row], trained: Sequence[str], colours: plots.Colours) -> dict[str, tuple[Figure, str]]:
    """Forecast against truth and error by step, of the rows whose runs carry a picture of forecasts."""
    pictures = {row["row"]: run["picture"] for row in rows for run in row["runs"] if "forecasts" in run.get("picture", {})}
    if not pictures:
        return {}
    measure = next(iter(rows[0]["summary"]))
    means = {row["row"]: row["summary"][measure]["mean"] for row in rows}
    asked = [row["row"] for row in rows if row["goals"]] or trained
    best = min([name for name in asked if name in pictures] or pictures, key=lambda name: means[name])
    made = {name: np.array(pictures[name]["forecasts"]) for name in pictures}
    shown = {name: made[name] for name in (best, *(name for name in made if name not in (best, *trained)))}
    picture = pictures[best]
    truth, unit = np.array(picture["truth"]), picture["unit"]
    errors = {name: _errors(truth, forecast) for name, forecast in made.items()}
    return {
        "Forecast against truth": (
            plots.forecasts(picture["times"], truth, shown, colours, unit, picture["time_name"]),
            f"{best} has the best mean {measure} of the rows with a goal. Each line is one forecast, from its origin on.",
        ),
        "Error by step of the horizon": (plots.error_by_step(_by_step(errors), colours, unit), "The first run of each row."),
    }
