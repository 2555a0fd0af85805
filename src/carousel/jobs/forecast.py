"""A forecast of one column of a CSV file: train a network, try it on the held-back end, keep the result.

The run folder is that of `carousel.train.fit`, with `result.json` beside it.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carousel.errors import InputError
from carousel.jobs import run
from carousel.jobs.settings import TrainSettings

if TYPE_CHECKING:
    import numpy as np

    from carousel.cell import Cell
    from carousel.data.forecast import Forecast


@dataclass(frozen=True)
class Settings(TrainSettings):
    """What is to be forecast, and how the network is trained."""

    job = "forecast"

    file: Path
    """The CSV file; its first row names the columns."""
    _: KW_ONLY
    target: str
    """The column to forecast."""
    time: str | None = None
    """The column of times. [default: the first column of dates, if any]"""
    horizon: int = 12
    """How many steps ahead."""
    season: int | None = None
    """Steps after which the series about repeats, for the seasonal naive forecast. [default: no such forecast]"""
    history: int = 24
    """Values before a forecast that counts in training, at least."""
    validation: float = 0.15
    """Share of the series, before the test part, that training is watched on."""
    test: float = 0.15
    """Share of the series held back at its end for the table of errors."""


@dataclass(frozen=True)
class Result:
    """Errors and forecasts over the held-back end of the series: n values, origins = n - horizon + 1.

    Attributes:
        rows:       a method each: {"method", "MAE", "RMSE", "MASE"}, the network last; MAE and RMSE in
                    the series' unit, MASE in units of the one-step naive forecast's error in training.
        name:       the column that was forecast.
        time_name:  the column of times, or "row".
        times:      n texts.
        truth:      (n,) the held-back values.
        forecasts:  method -> (origins, horizon): row j holds the forecasts of truth[j : j + horizon].
        seconds:    time spent in training.
        sequences:  training windows seen.
        stopped:    why training ended.
        command:    the command line that repeats the run.
    """

    rows: list[dict[str, Any]]
    name: str
    time_name: str
    times: list[str]
    truth: np.ndarray
    forecasts: dict[str, np.ndarray]
    seconds: float
    sequences: int
    stopped: str
    command: str


def train(settings: Settings, out: Path | str, *, resume: bool = False, progress: bool = True) -> Result:
    """Train the network, forecast the held-back end and write the run folder.

    Args:
        settings:  what to do.
        out:       the run folder: new, or with resume=True the one to go on with.
        resume:    go on from the last checkpoint in `out`.
        progress:  show how training goes.

    Raises:
        InputError: a file, column, option or folder that cannot be used.
    """
    from carousel.data import read_series
    from carousel.data.forecast import Forecast, metrics
    from carousel.learn import BPTT
    from carousel.models import build
    from carousel.train import fit

    out = Path(out)
    series = read_series(settings.file, settings.target, settings.time)
    task = Forecast(
        series.values,
        horizon=settings.horizon,
        history=settings.history,
        season=settings.season,
        validation=settings.validation,
        test=settings.test,
    )
    cell = build(
        settings.model, task.input_size, task.output_size, hidden=settings.hidden, layers=settings.layers, seed=settings.seed
    )
    trained = fit(
        cell,
        task,
        learner=BPTT(clip_norm=settings.clip_norm),
        optimizer=settings.optimizer,
        rate=settings.rate,
        batch_size=settings.batch_size,
        sequences=settings.sequences,
        evaluate_every=settings.evaluate_every,
        patience=settings.patience,
        monitor="MAE",
        seed=settings.seed,
        device=settings.device,
        out=out,
        resume=resume,
        settings=settings.table(),
        progress=progress,
    )
    forecasts = {"naive": task.naive, f"seasonal naive ({settings.season})": task.seasonal_naive}
    forecasts[settings.model] = rolling(trained.cell, task)
    made = {method: forecast for method, forecast in forecasts.items() if forecast is not None}
    result = Result(
        rows=[{"method": method, **metrics(forecast, task.truth, task.scale)} for method, forecast in made.items()],
        name=series.name,
        time_name=series.time_name,
        times=series.times[task.test_start :],
        truth=task.values[task.test_start :],
        forecasts=made,
        seconds=trained.seconds,
        sequences=trained.sequences,
        stopped=trained.stopped,
        command=settings.command(out),
    )
    run.keep(out, {"input_size": task.input_size, "output_size": task.output_size}, asdict(result))
    return result


def rolling(cell: Cell, task: Forecast) -> np.ndarray:
    """(origins, horizon) the network's forecasts at every origin of the held-back end, in the series' unit.

    One run over the series from its beginning with the state carried: the forecast at an origin
    knows every value up to it, and none after.
    """
    import torch

    from carousel.loop import scan

    batch = task.test_batch().to(next(cell.parameters()).device)
    training = cell.training
    with torch.no_grad():
        outputs, _ = scan(cell.eval(), batch.inputs)
    cell.train(training)
    return task.forecasts(outputs)


def load(folder: Path | str) -> tuple[Settings, Result]:
    """The settings and the result of a run folder whose training has ended.

    Raises:
        InputError: a folder that holds no finished forecast.
    """
    import numpy as np

    settings = Settings.from_table(run.settings_table(folder), Path(folder) / "config.toml")
    table = run.result(folder)
    try:
        table["truth"] = np.array(table["truth"])
        table["forecasts"] = {method: np.array(forecast) for method, forecast in table["forecasts"].items()}
        return settings, Result(**table)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{Path(folder) / 'result.json'}: not the result of a forecast: {error}") from None
