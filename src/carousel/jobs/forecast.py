"""A forecast of one column of a CSV file: train a network, try it on the held-back end, keep the result.

The run folder is that of `carousel.train.fit`, with `result.json` beside it.
"""

from __future__ import annotations

import json
import shlex
import tomllib
from dataclasses import KW_ONLY, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carousel.errors import InputError
from carousel.files import write_aside

if TYPE_CHECKING:
    import numpy as np

    from carousel.cell import Cell
    from carousel.data.forecast import Forecast


@dataclass(frozen=True)
class ForecastSettings:
    """What is to be forecast, and how the network is trained."""

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
    """Steps after which the series about repeats, for the seasonal naive forecast."""
    history: int = 24
    """Values before a forecast that counts in training, at least."""
    model: str = "lstm"
    """The network; `carousel list models` names them."""
    hidden: int = 32
    """Units of a layer."""
    layers: int = 1
    """Layers of units."""
    sequences: int = 6400
    """Training windows seen in all, at most."""
    batch_size: int = 32
    """Windows of an update."""
    evaluate_every: int = 320
    """Windows between two looks at the validation part."""
    patience: int = 10
    """Looks without improvement after which training stops."""
    optimizer: str = "adam"
    """The optimiser."""
    rate: float = 0.01
    """The learning rate."""
    validation: float = 0.15
    """Share of the series, before the test part, that training is watched on."""
    test: float = 0.15
    """Share of the series held back at its end for the table of errors."""
    seed: int = 0
    """Seed of the weights and the windows; a seed repeats a run bit for bit."""
    device: str = "cpu"
    """cpu or cuda."""

    def command(self, out: Path | str) -> str:
        """The command line that repeats the run: what differs from the defaults."""
        words = ["carousel", "train", str(self.file)]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                words += [f"--{field.name.replace('_', '-')}", str(value)]
        return shlex.join([*words, "--out", str(out)])


@dataclass(frozen=True)
class ForecastResult:
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


def train(settings: ForecastSettings, out: Path | str, *, resume: bool = False, progress: bool = True) -> ForecastResult:
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
        settings=_plain(settings),
        progress=progress,
    )
    forecasts = {"naive": task.naive, f"seasonal naive ({settings.season})": task.seasonal_naive}
    forecasts[settings.model] = rolling(trained.cell, task)
    made = {method: forecast for method, forecast in forecasts.items() if forecast is not None}
    result = ForecastResult(
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
    write_aside(out / "result.json", json.dumps(asdict(result), default=lambda array: array.tolist()))
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


def load_settings(run: Path | str) -> ForecastSettings:
    """The settings of a run folder, whether or not its training has ended."""
    path = Path(run) / "config.toml"
    try:
        table = tomllib.loads(path.read_text())["settings"]
        return ForecastSettings(**{**table, "file": Path(table["file"])})
    except FileNotFoundError:
        raise InputError(f"{run}: not a run folder: there is no config.toml in it") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the settings of a forecast: {error}") from None


def load(run: Path | str) -> tuple[ForecastSettings, ForecastResult]:
    """The settings and the result of a run folder whose training has ended.

    Raises:
        InputError: a folder that holds no finished forecast.
    """
    import numpy as np

    settings = load_settings(run)
    path = Path(run) / "result.json"
    try:
        table = json.loads(path.read_text())
        table["truth"] = np.array(table["truth"])
        table["forecasts"] = {method: np.array(forecast) for method, forecast in table["forecasts"].items()}
        return settings, ForecastResult(**table)
    except FileNotFoundError:
        raise InputError(f"{run}: the run has no result yet; go on with: carousel resume {shlex.quote(str(run))}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the result of a forecast: {error}") from None


def _plain(settings: ForecastSettings) -> dict[str, Any]:
    """As a TOML table: no None, and the file's place in full, so that a run resumes from any folder."""
    table = {name: value for name, value in asdict(settings).items() if value is not None}
    return {**table, "file": str(settings.file.resolve())}
