"""Reports: one HTML file with everything in it, readable without a network and without JavaScript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import style
from matplotlib.figure import Figure

import carousel
from carousel import jobs
from carousel.errors import InputError
from carousel.files import write_aside
from carousel.jobs.run import Run
from carousel.recipes.recipe import Recipe, caption
from carousel.report import plots
from carousel.report.compare import Comparison
from carousel.report.content import Content
from carousel.report.forecast import absolute_errors, by_step
from carousel.report.metrics import curves
from carousel.report.results import (
    LONG,
    Row,
    by_measure,
    claims_table,
    errors_table,
    higher_is_better,
    parts,
    recipe_table,
    setting_text,
)

_PAGES = Environment(loader=PackageLoader("carousel.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
_PAGES.filters["parts"] = parts
_PAGES.globals["LONG"] = LONG
_COMPARISON = "Runs side by side"


def write_run_report(folder: Run | Path | str) -> Path:
    """Write ``report.html`` into the folder of a finished run and give its path.

    The frame is the same for every job; what is the job's own is `content` of ``report/<job>.py``.

    Raises:
        InputError: the folder holds no finished run.
    """
    opened = Run.of(folder)
    run = opened.folder
    settings, result = jobs.of_run(opened).load(opened)
    own: Content = import_module(f"carousel.report.{settings.job}").content(run, settings, result)
    with style.context(plots.STYLE):
        learning = plots.svg(_learning_curves(opened, own))
    given = [(name, value) for name, value in asdict(settings).items() if value not in (None, (), False)]
    return _write(
        run / "report.html",
        f"{settings.job}.html.j2",
        title=own.title,
        finding=own.finding,
        settings=settings,
        asked=[(name.replace("_", " "), setting_text(value)) for name, value in given],
        result=result,
        errors=errors_table(result.rows),
        learning=learning,
        **own.values,
    )


def write_recipe_report(recipe: Recipe, rows: Sequence[Row], path: Path) -> Path:
    """Write the report of a recipe's result rows, as `carousel.recipes.reproduce` gives them, and give its path."""
    trained = [row for row in rows if any(run["curve"] for run in row["runs"])]
    names = [row["row"] for row in trained]
    with_goals_first = [row["row"] for row in sorted(trained, key=lambda row: not row["goals"])]  # the clearest colours
    colours = plots.palette(with_goals_first, [row["row"] for row in rows if row not in trained])
    figures: dict[str, tuple[Figure, str]] = {}
    with style.context(plots.STYLE):
        for title, draw in recipe.pictures.items():
            figure = draw(rows)
            if figure is not None:
                figures[title] = figure, caption(draw)
        for measure, group in by_measure(rows).items():
            values = {row["row"]: [run["measures"][measure] for run in row["runs"]] for row in group}
            if len(values) > 1 and len({value for runs in values.values() for value in runs}) > 1:
                better = "higher" if higher_is_better(rows, measure) else "lower"
                below = f"{measure} of each run (dots) and the mean of a row's runs (bars); {better} is better."
                figures[f"Spread of {measure}"] = plots.spread(values, colours, _with_unit(rows, measure)), below
        if trained and "Learning curves" not in figures:
            curves = {(recipe.curve, ""): {row["row"]: [run["curve"] for run in row["runs"]] for row in trained}}
            figures["Learning curves"] = plots.learning_curves(curves, colours), "A line for each run."
        figures |= _forecast_figures(rows, names, colours)
        drawn = [(title, plots.svg(figure), below) for title, (figure, below) in figures.items()]
    return _write(
        path,
        "recipe.html.j2",
        title=recipe.name,
        recipe=recipe,
        results=[recipe_table(group) for group in by_measure(rows).values()],
        figures=drawn,
        claims=claims_table([row for row in rows if row["claims"] or row["goals"]]),
        deviations=[(row["row"], text) for row in rows for text in row["deviations"]],
    )


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write the page of runs side by side and give its path.

    Raises:
        InputError: the file is there and is no such page.
    """
    if path.exists() and _COMPARISON not in path.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{path} is not a page of `carousel compare`; expected a new file or an earlier such page")
    colours = plots.palette(comparison.runs, ())
    with style.context(plots.STYLE):
        learning = plots.svg(plots.learning_curves(comparison.panels, colours))
    return _write(path, "compare.html.j2", title=_COMPARISON, comparison=comparison, learning=learning)


def _write(path: Path, template: str, **content: Any) -> Path:
    html = _PAGES.get_template(template).render(version=carousel.__version__, date=date.today().isoformat(), **content)
    write_aside(path, html)
    return path


# --- The report of a run ---------------------------------------------------------------------------


def _learning_curves(run: Run, own: Content) -> Figure:
    """Loss of both splits and what tells most besides, as metrics.jsonl has them, with the point that was kept."""
    chosen_by, _ = own.monitor
    measure, unit = own.shown or own.monitor
    found = curves(run)
    try:
        kept_at = min(found["validation", chosen_by], key=lambda point: point[1])[0]
        kept = kept_at, dict(found["validation", measure])[kept_at]
        panels = {("loss", own.loss_unit): {split: [found[split, "loss"]] for split in ("train", "validation")}}
    except KeyError as error:
        raise InputError(f"{run.folder / 'metrics.jsonl'}: not the metrics of a run: {error}") from None
    if measure != "loss":
        panels[f"{measure} on validation", unit] = {"validation": [found["validation", measure]]}
    return plots.learning_curves(panels, plots.palette(("train", "validation"), ()), marked=kept)


# --- The report of a recipe ------------------------------------------------------------------------


def _with_unit(rows: Sequence[Row], measure: str) -> str:
    """The measure with the unit that a claim or a goal gives it."""
    units = [one["unit"] for row in rows for one in (*row["claims"], *row["goals"]) if one["measure"] == measure]
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
    error = {name: absolute_errors(truth, forecast) for name, forecast in made.items()}
    return {
        "Forecast against truth": (
            plots.forecasts(picture["times"], truth, shown, colours, unit, picture["time_name"]),
            f"{best} has the best mean {measure} of the rows with a goal. Each line is one forecast, from its origin on.",
        ),
        "Error by step of the horizon": (plots.error_by_step(by_step(error), colours, unit), "The first run of each row."),
    }
