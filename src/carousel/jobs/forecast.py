"""Forecasts of a column of a CSV file: train a network, try it on the held-out end, keep the result, use it.

The run folder is that of `carousel.train.fit`; ``baseline`` in it is that of the network trained beside it, and
``forecasts.npz`` holds the arrays of the result.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from carousel.errors import InputError
from carousel.jobs import run as runs
from carousel.jobs.run import Run
from carousel.jobs.settings import COUNT, POSITIVE, SHARE, Bounds, Training, TrainSettings
from carousel.plain import typed
from carousel.printable import csv_row, printable, without_apostrophe

if TYPE_CHECKING:
    import numpy as np

    from carousel.cell import Cell
    from carousel.data import Series, Table
    from carousel.data.forecast import Forecast, ForecastPreprocessing, Track, Values

STEPS = Bounds(1, 100_000)
EPOCHS, SHORTEST_EPOCH, LONGEST_EPOCH = 30, 256, 2048
_SHOWN = 120  # steps at which the gates are kept
_PLAIN = {"name": str, "time_name": str, "notes": list[str]}  # entries of a result that are no arrays


@dataclass(frozen=True)
class Settings(TrainSettings):
    """What to forecast, and how the network is trained."""

    job = "forecast"
    later = ("sort", "skip", "categories", "missing", "header", "no_header")

    file: Path
    """The CSV file; its first row names the columns."""
    _: KW_ONLY
    target: str
    """The column to forecast."""
    time: tuple[str, ...] | None = None
    """The time column, or several (a date and an hour; year month day). [default: the first column of dates, if any]"""
    date_format: str | None = None
    """Format of the times, in codes such as %d/%m/%Y; iso, number, "epoch s" or "epoch ms". [default: detected]"""
    sort: bool = False
    """Sort the rows of each series by time."""
    id: str | None = None
    """The column that identifies the series, if there are several. [default: the file is one series]"""
    skip: bool = False
    """Skip series that are too short, constant or empty, with a message each, instead of rejecting the file."""
    covariates: tuple[str, ...] = ()
    """Additional input columns, numbers or texts, known up to the present. [default: none]"""
    known: tuple[str, ...] = ()
    """Additional input columns whose future values are known, too. [default: none]"""
    categories: tuple[str, ...] = ()
    """Input columns to read as categories although they look like numbers. [default: those with codes such as 001]"""
    missing: tuple[str, ...] = ()
    """Further values that mark a gap, such as - . '#N/A'. [default: empty cells, NA, N/A, NaN and null]"""
    delimiter: str | None = None
    """The delimiter, a character or tab. [default: detected]"""
    decimal: Literal[".", ","] | None = None
    """The decimal separator. [default: detected]"""
    header: bool = False
    """The first row holds the column names although it looks like values."""
    no_header: bool = False
    """The first row holds values; the columns are named 1, 2, ..."""
    calendar: bool | None = None
    """Give the network the hour of the day, the day of the week and the day of the year as inputs. [default: those that the
    training part has seen twice]"""
    quantiles: Annotated[tuple[float, ...], SHARE] = ()
    """Quantiles to forecast, for intervals, such as 0.1 0.5 0.9. [default: point forecasts only]"""
    horizon: Annotated[int, STEPS] = 12
    """Number of steps to forecast."""
    base: Literal["auto", "naive", "seasonal", "linear"] = "auto"
    """The forecast that the network corrects: the last value (naive), the value a season ago (seasonal) or ridge regression on the
    lags (linear); auto: the one with the lowest validation error."""
    loss: Literal["absolute", "squared"] = "absolute"
    """The error that training minimizes: absolute, whose best forecast is the median, or squared, for the mean; quantiles have
    their own."""
    log: bool | None = None
    """Work on the logarithms of the values. [default: if all are positive and the validation error is lower]"""
    non_negative: bool | None = None
    """Replace forecasts below zero by zero. [default: if no training value is below zero]"""
    season: Annotated[int | None, STEPS] = None
    """Season length in steps; 1 for none. [default: found in the training part]"""
    history: Annotated[int, STEPS] = 24
    """Minimum number of values before a forecast that counts in training."""
    validation: Annotated[float, SHARE] = 0.15
    """Fraction of each series, before the test part, used for validation."""
    test: Annotated[float, SHARE] = 0.15
    """Fraction of each series, at its end, held out for testing."""
    baseline: str = "window"
    """A network to compare with, given by the name of a model, window (of the last --history values) or none."""
    sequences: Annotated[int | None, Training, COUNT] = None
    """Training budget, the maximum number of training sequences, repeats included. [default: 30 epochs]"""
    evaluate_every: Annotated[int | None, Training, COUNT] = None
    """Training sequences between two evaluations on the validation part. [default: an epoch]"""
    rate: Annotated[float, Training, POSITIVE] = 0.003
    """The learning rate."""
    decay: Annotated[bool, Training] = True
    """Decay the learning rate linearly to zero over the training budget."""
    clip_norm: Annotated[float | None, Training, POSITIVE] = 1.0
    """Clip gradients to this norm."""

    @classmethod
    def of_run(cls, table: dict[str, Any], source: Path | str) -> Self:
        """The settings of a run; those of a version that had no bases have no clipping either where none was asked for."""
        return cls.from_table(
            {"base": "naive", "loss": "squared", "clip_norm": None, "calendar": False, **table} if "base" not in table else table,
            source,
        )

    def table(self) -> dict[str, Any]:
        """As a table of TOML, so that older runs resume: a naive base is left out, and with it a squared loss."""
        table = super().table()
        if self.base == "naive":
            del table["base"]
            if self.loss == "squared":
                del table["loss"]
        return table

    def networks(self) -> list[str]:
        """The network, and the one of the baseline."""
        return [self.model, *([self.rival] if self.rival else [])]

    @property
    def rival(self) -> str | None:
        """The model of the baseline network; None for none."""
        name = f"window-{self.history}" if self.baseline == "window" else self.baseline
        return None if name in ("none", self.model) else name


@dataclass(frozen=True)
class Held:
    """The held-out end of a series: n values, origins = n - horizon + 1.

    Attributes:
        id:         of the series; "" where there is one.
        times:      n texts.
        truth:      (n,) values, NaN at a gap.
        forecasts:  method -> (origins, horizon, Q): row j holds the quantiles, ascending, of truth[j : j + horizon].
    """

    id: str
    times: list[str]
    truth: np.ndarray
    forecasts: dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Result(runs.Result):
    """Errors and forecasts over the held-out ends of the series.

    Attributes:
        rows:       a method each: {"method", ...} and the measures of `carousel.data.forecast.metrics`, the
                    network last; all but MASE and coverage are in the series' unit.
        name:       the column that was forecast.
        time_name:  the column of times, or "row".
        notes:      what is to be known of the file: gaps, steps that differ.
        held:       a series each.
        gates:      what the network's gates did at the last steps of the first series: name -> (steps, units).
    """

    name: str
    time_name: str
    notes: list[str]
    held: list[Held]
    gates: dict[str, np.ndarray]


def train(settings: Settings, out: Path | str, *, resume: bool = False, progress: bool = True) -> Result:
    """Train the network, forecast the held-out end and write the run folder.

    Args:
        settings:  what to do.
        out:       the run folder: new, or with resume=True the one to go on with.
        resume:    go on from the last checkpoint in `out`.
        progress:  show how training goes.

    Raises:
        InputError: a file, column, option or folder that cannot be used.
    """
    from carousel.data import series_of
    from carousel.data.forecast import Forecast, usable
    from carousel.data.times import steps_table

    out = Path(out)
    asked = (*settings.covariates, *settings.known)
    _check_columns(settings, asked)
    table = _read(settings, settings.file, asked, settings.decimal)
    series = series_of(
        table,
        settings.target,
        settings.time,
        id=settings.id,
        columns=asked,
        categories=settings.categories,
        date_format=settings.date_format,
        sort=settings.sort,
    )
    naive = settings.base == "naive"  # nothing is found and nothing chosen
    parts: dict[str, Any] = {name: getattr(settings, name) for name in ("horizon", "history", "validation", "test", "quantiles")}
    parts["season"] = None if settings.season == 1 else settings.season or (None if naive else "auto")
    series, skipped = usable(series, **parts) if settings.skip else (series, [])
    task = Forecast(
        series,
        known=settings.known,
        calendar=bool(settings.calendar) if naive else settings.calendar,
        base=settings.base,
        log=bool(settings.log) if naive else settings.log,
        non_negative=bool(settings.non_negative) if naive else settings.non_negative,
        squared=settings.loss == "squared",
        **parts,
    )
    notes = [
        *_notes(series, table, settings.time),
        *(f"skipped: {reason.removeprefix('forecast: ')}" for reason in skipped),
    ]
    if not naive:
        notes.append(_chosen(task, settings))
    texts = [name for name in asked if isinstance(series[0].columns[name], list)]
    prepared = {
        "input_size": task.input_size,
        "output_size": task.output_size,
        **task.prepared.table(),
        "columns": list(table.cells),
        "delimiter": table.delimiter,
        "decimal": table.decimal,
        "time": _time_columns(settings, series[0]),
        "texts": texts,
        "date_format": series[0].format,
        **steps_table(series),
    }
    cells = {name: _built(name, settings, task) for name in (settings.rival, settings.model) if name}
    asked_for, settings = settings, _budgeted(settings, task)
    chosen_by = monitor(settings)
    trained = runs.fitted(
        cells[settings.model],
        task,
        settings,
        monitor=chosen_by,
        out=out,
        resume=resume,
        progress=progress and settings.model,
        evaluate_first=not naive,
        notes=notes,
    )
    if settings.rival:
        beside, own = out / "baseline", replace(settings, model=settings.rival)
        runs.fitted(
            cells[own.model],
            task,
            own,
            monitor=chosen_by,
            out=beside,
            resume=beside.exists(),
            progress=progress and own.model,
            evaluate_first=not naive,
        )
        runs.keep_prepared(beside, prepared)
    made = [_made(track, origins, cells, task.prepared) for track, origins in zip(task.tracks, task.origins, strict=True)]
    result = Result(
        rows=_table(task.tracks, task.origins, made, task.prepared),
        name=settings.target,
        time_name=series[0].time_name,
        notes=notes,
        held=[
            Held(track.series.id, track.series.times[start:], track.values[start:], own)
            for track, start, own in zip(task.tracks, task.test_starts, made, strict=True)
        ],
        gates=_gates(cells[settings.model].cpu(), task.tracks[0], task.test_starts[0]),
        seconds=trained.seconds,
        sequences=trained.sequences,
        stopped=trained.stopped,
        command=asked_for.command(out),
    )
    keep(out, prepared, result)
    return result


def _check_columns(settings: Settings, asked: Sequence[str]) -> None:
    for name in asked:
        if name == settings.target:
            raise InputError(f"forecast: {name!r} is the target, which the network reads anyway; it cannot be a covariate too")
        if asked.count(name) > 1:
            raise InputError(f"forecast: the covariate {name!r} is named twice")
    for name in settings.categories:
        if name not in asked:
            raise InputError(
                f"forecast: the category {name!r} is none of the covariates: {', '.join(map(repr, asked)) or 'there are none'}"
            )
    if settings.header and settings.no_header:
        raise InputError("forecast: expected either --header or --no-header, got both")


def _read(settings: Settings, file: Path | str, asked: Sequence[str], decimal: str | None) -> Table:
    from carousel.data import read_table

    return read_table(
        file,
        header=settings.header or (False if settings.no_header else None),
        delimiter=settings.delimiter,
        decimal=decimal,
        missing=settings.missing,
        numbers=[name for name in (settings.target, *asked) if name not in settings.categories],
    )


def _time_columns(settings: Settings, series: Series) -> list[str]:
    """Those that were named, or the one that was found; empty where rows are numbered."""
    return list(settings.time or (() if series.numbered else (series.time_name,)))


def _built(model: str, settings: Settings, task: Forecast) -> Cell:
    from carousel.models import build

    cell = build(model, task.input_size, task.output_size, hidden=settings.hidden, layers=settings.layers, seed=settings.seed)
    return cell if settings.base == "naive" else begin_at_base(cell)


def begin_at_base(cell: Cell) -> Cell:
    """The network with zeros in its last linear layer, so that its first forecasts are those of its base."""
    from torch import nn

    readout = [module for module in cell.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.zeros_(readout.weight)
    nn.init.zeros_(readout.bias)
    return cell


def _budgeted(settings: Settings, task: Forecast) -> Settings:
    """The settings with the budget that the data ask for, where none was given: in an epoch each training step counts once."""
    epoch = min(max(sum(task.train_ends) // settings.history, SHORTEST_EPOCH), LONGEST_EPOCH)
    return replace(
        settings,
        sequences=settings.sequences or EPOCHS * epoch,
        evaluate_every=settings.evaluate_every or min(epoch, settings.sequences or epoch),
    )


def monitor(settings: Settings) -> str:
    """The validation figure that the weights are chosen by."""
    return "pinball" if settings.quantiles else "MAE"


def _notes(series: Sequence[Series], table: Table, time: Sequence[str] | None) -> list[str]:
    """How the times were read, what is missing and what is irregular, a sentence each."""
    from carousel.data.csv import gaps, reading

    notes = [reading(series, table, time)]
    for name in (series[0].name, *series[0].columns):
        counts = []
        for one in series:
            cells = one.values if name == one.name else one.columns[name]
            if not isinstance(cells, list):
                counts.append((*gaps(cells), one.id))
        missing, n = sum(count for count, _, _ in counts), sum(map(len, series))
        if missing:
            _, longest, id = max(counts, key=lambda entry: entry[1])
            where = f" (in {id!r})" if id else ""
            notes.append(f"{name}: {missing:,} of {n:,} values are missing; the longest gap has {longest:,}{where}")
    for one in series:
        step = one.step
        if step.others and step.regular:
            name = f"{one.time_name} of {one.id!r}" if one.id else one.time_name
            of = f"{step.others:,} of {len(one) - 1:,} steps are not {step.told()}"
            notes.append(f"{name}: {of}; the longest is {step.told(step.longest)}")
    return notes


def _chosen(task: Forecast, settings: Settings) -> str:
    """What was found of the series and chosen by the validation error, in one line."""
    prepared = task.prepared
    season = f"a season of {prepared.season} steps" if prepared.season else "no season"
    found = "" if settings.season else " found"
    calendar = f", calendar inputs {', '.join(prepared.features.calendar)}" if prepared.features.calendar else ""
    above = ", not below zero" if prepared.base.non_negative else ""
    return f"{season}{found}{calendar}; the network corrects {prepared.base.described()}{above}"


def rolling(cell: Cell, track: Track, origins: np.ndarray, horizon: int) -> Values:
    """(origins, horizon, Q) the network's forecasts at origins of a series, in its unit, quantiles ascending.

    One run over the series from its beginning with the state carried: the forecast at an origin
    knows every value up to it, and none after.
    """
    import torch

    from carousel.loop import scan

    device = next(cell.parameters()).device
    training = cell.training
    with torch.no_grad():
        outputs, _ = scan(cell.eval(), track.inputs[: origins[-1] + 1, None].to(device))
    cell.train(training)
    return track.forecasts(outputs[:, 0], origins, horizon)


def _made(track: Track, origins: np.ndarray, networks: Mapping[str, Cell], prepared: ForecastPreprocessing) -> dict[str, Values]:
    """method -> (origins, horizon, Q) forecasts: naive ones, then those of the networks."""
    own = {name: rolling(cell, track, origins, prepared.horizon) for name, cell in networks.items()}
    return {**prepared.baselines(track, origins), **own}


def _gates(cell: Cell, track: Track, start: int) -> dict[str, np.ndarray]:
    """The network's gates at the last steps of a series' held-out end."""
    return runs.gates(cell, track.inputs, min(_SHOWN, len(track) - start))


def _table(
    tracks: Sequence[Track], origins: Sequence[np.ndarray], made: Sequence[Mapping[str, Values]], prepared: ForecastPreprocessing
) -> list[dict[str, Any]]:
    """The errors of each method over all series."""
    import numpy as np

    from carousel.data.forecast import metrics

    truth = np.concatenate([track.truth(own, prepared.horizon) for track, own in zip(tracks, origins, strict=True)])
    scale = np.concatenate([np.full((len(own), 1), track.scaling.scale) for track, own in zip(tracks, origins, strict=True)])
    rows = []
    for method in made[0]:
        forecast = np.concatenate([own[method] for own in made])
        rows.append({"method": method, **metrics(forecast, truth, scale, prepared.quantiles)})
    return rows


# --- The run folder --------------------------------------------------------------------------------


def keep(out: Path, prepared: dict[str, Any], result: Result) -> None:
    """Write the arrays aside, in single precision; result.json comes last."""
    import numpy as np

    arrays: dict[str, Any] = {}
    for n, held in enumerate(result.held):
        arrays[f"{n} truth"] = held.truth
        arrays |= {f"{n} {method}": forecast.astype(np.float32) for method, forecast in held.forecasts.items()}
    arrays |= {f"gates {name}": values for name, values in result.gates.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    plain = replace(result, gates={}).__dict__ | {"held": [{"id": held.id, "times": held.times} for held in result.held]}
    runs.keep(out, prepared, plain, buffer.getvalue())


def load(folder: Run | Path | str) -> tuple[Settings, Result]:
    """The settings and the result of a run folder whose training has ended.

    Raises:
        InputError: a folder that holds no finished forecast.
    """
    run = Run.of(folder)
    return run.load(Settings, lambda table, place: _result(table, place, _arrays(run)))


def _result(table: dict[str, Any], place: str, arrays: dict[str, np.ndarray]) -> Result:
    """The result of result.json and of forecasts.npz."""
    try:
        methods = [row["method"] for row in table["rows"]]
        held = [
            Held(held["id"], held["times"], arrays[f"{n} truth"], {method: arrays[f"{n} {method}"] for method in methods})
            for n, held in enumerate(table["held"])
        ]
        own = {name: typed(table[name], kind, f"{place}: {name}") for name, kind in _PLAIN.items()}
    except (KeyError, TypeError) as error:
        raise InputError(f"{place}: {error}") from None
    for one in held:
        if any(len(one.times) != len(one.truth) or len(of) > len(one.truth) or of.ndim != 3 for of in one.forecasts.values()):
            raise InputError(f"{place}: the times do not fit the values in forecasts.npz")
    gates = {name.removeprefix("gates "): arrays[name] for name in arrays if name.startswith("gates ")}
    shared = runs.Result.from_table({name: table[name] for name in table if name not in (*_PLAIN, "held", "gates")}, place)
    return Result(**vars(shared), **own, held=held, gates=gates)


def _arrays(run: Run) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        return dict(np.load(io.BytesIO(run.read("forecasts.npz"))))
    except InputError:
        raise
    except Exception as error:  # in damaged bytes zipfile and NumPy meet errors of a dozen kinds
        raise InputError(f"{run.folder / 'forecasts.npz'}: missing or damaged: {error}") from None


def _prepared(run: Run) -> ForecastPreprocessing:
    """What of prepared.json the task understands."""
    from carousel.data.forecast import ForecastPreprocessing

    return run.prepared_as(ForecastPreprocessing.from_table)


# --- Use -------------------------------------------------------------------------------------------


def evaluate(folder: Run | Path | str, file: Path | str | None = None, *, progress: bool = True) -> list[dict[str, Any]]:
    """The table of errors on the held-out end; or on a file of the same form, from every origin that
    follows at least `history` values (and a season).

    Raises:
        InputError: no finished run, a file that cannot be used, too short a series.
    """
    import numpy as np

    run = Run.of(folder)
    settings, result = load(run)
    if file is None:
        return result.rows
    prepared = _prepared(run)
    first = max(prepared.history, prepared.season or 0)
    tracks, refused = [], None
    for one in _series(settings, run.prepared, file):
        try:
            if len(one) < first + prepared.horizon:
                name = f"the series {one.id!r}" if one.id else "the series"
                needed = f"{first} to begin with and the horizon, {prepared.horizon}"
                raise InputError(f"{file}: {name} has {len(one)} values, at least {first + prepared.horizon} are needed ({needed})")
            tracks.append(prepared.track(one))
        except InputError as error:
            if not settings.skip:
                raise
            refused = error
            if progress:
                print(printable(f"skipped: {error}"), file=sys.stderr)
    if refused and not tracks:
        raise refused
    origins = [np.arange(first - 1, len(track) - prepared.horizon) for track in tracks]
    networks = {settings.model: run.network}
    if settings.rival:
        networks = {settings.rival: Run(run.folder / "baseline").network, **networks}
    made = [_made(track, own, networks, prepared) for track, own in zip(tracks, origins, strict=True)]
    return _table(tracks, origins, made, prepared)


def predict(folder: Run | Path | str, file: Path | str, *, progress: bool = True) -> Iterator[dict[str, Any]]:
    """The values after the end of each series in a file: a record each step ahead. A series that was not in training is
    scaled by its own values.

    A record has the id where the run has one, the time, "ahead" (1 to horizon), the target, and its
    quantiles "<target> q0.1" where the run has them. The time is "" where the steps in training are irregular. Where columns
    are known ahead, the file holds them for the steps to come, with the target left empty.

    Args:
        folder:    the run.
        file:      of the form that the run was trained on.
        progress:  say on the standard error what is to be known of the file.

    Raises:
        InputError: no finished run, a file that cannot be used.
    """
    import numpy as np

    from carousel.data.times import following, step_in

    run = Run.of(folder)
    settings, prepared, cell = run.settings(Settings), _prepared(run), run.network
    ahead_known = any(column.known for column in prepared.features.columns)
    told = sys.stderr if progress else io.StringIO()
    for one in _series(settings, run.prepared, file):
        try:
            if np.isnan(one.values).all():
                raise InputError(f"{file}: no value of {settings.target!r}{f' of {one.id!r}' if one.id else ''} to begin with")
            track = prepared.track(one, new=True)
        except InputError as error:
            if not settings.skip:
                raise
            print(printable(f"skipped: {error}"), file=told)
            continue
        if one.id not in prepared.scaling:
            print(f"{one.id!r} was not in training; it is scaled by its own {len(one):,} values", file=told)
        there = np.flatnonzero(~np.isnan(track.values))
        origin = int(there[-1]) if ahead_known else len(track) - 1
        if ahead_known and len(track) - 1 - origin < prepared.horizon:
            rows = f"{prepared.horizon} rows after the last value of {settings.target!r}"
            raise InputError(f"{file}: expected {rows}, for {', '.join(settings.known)}, got {len(track) - 1 - origin}")
        forecast = rolling(cell, track, np.array([origin]), prepared.horizon)[0]
        step = step_in(run.prepared, one)
        if not (step.regular or ahead_known):
            name = f"{one.time_name} of {one.id!r}" if one.id else one.time_name
            print(printable(f"{name}: the rows of the training are {step.described()}"), file=told)
        times = one.times[origin + 1 :] if ahead_known else following(one.times[-1], step, prepared.horizon, one.format)
        for n, values in enumerate(forecast.tolist()):
            record: dict[str, Any] = {settings.id: one.id} if settings.id else {}
            record |= {one.time_name: times[n], "ahead": n + 1, settings.target: values[len(values) // 2]}
            if len(values) > 1:
                levels = zip(prepared.quantiles, values, strict=True)
                record |= {f"{settings.target} q{level:g}": value for level, value in levels if level != 0.5}
            yield record


def _series(settings: Settings, table: Mapping[str, Any], file: Path | str) -> list[Series]:
    """The series of another file, its columns of the kinds that they had in training."""
    from carousel.data import series_of
    from carousel.data.times import check_steps

    asked = [*settings.covariates, *settings.known]
    numbers = [name for name in asked if name not in table["texts"]]
    series = series_of(
        _read(settings, file, numbers, settings.decimal or ("," if table.get("decimal") == "," else None)),
        settings.target,
        table["time"],
        id=settings.id,
        columns=asked,
        texts=table["texts"],
        date_format=table.get("date_format"),
        sort=settings.sort,
    )
    check_steps(series, table, file)
    return series


def stream(folder: Run | Path | str) -> Callable[[str], str]:
    """A function from one row of CSV, with the columns of the training file, to the forecasts after it.

    The answer is a row too: the id where the run has one, the time, and the forecasts 1, 2, ... steps ahead,
    each with its quantiles. A first line of column names is answered with the names of the answer. The
    state of each series is carried from row to row; a row that cannot be used leaves it as it was.

    Raises:
        InputError: no finished run, or one that was trained with columns known ahead.
    """
    run = Run.of(folder)
    settings = run.settings(Settings)
    if settings.known:
        raise InputError(f"{run.folder}: its network reads {', '.join(settings.known)} ahead; use predict")
    return _Stream(settings, run.prepared, _prepared(run), run.network)


class _Stream:
    """The rows of a stream, one after the other."""

    def __init__(self, settings: Settings, table: Mapping[str, Any], prepared: ForecastPreprocessing, cell: Cell) -> None:
        from carousel.loop import Stepper

        self.settings, self.prepared, self.cell = settings, prepared, cell
        self.columns, self.time, self.texts = table["columns"], table["time"], table["texts"]
        self.date_format = table.get("date_format")
        self.delimiter, self.decimal = table.get("delimiter", ","), table.get("decimal", ".")
        self.stepper = Stepper(cell)
        self.rows = 0
        self.latest: dict[str, Series] = {}
        """The rows before, of each series, as many as its base reads, their gaps filled."""
        self.states: dict[str, Any] = {}

    def __call__(self, line: str) -> str:
        import numpy as np

        from carousel.data import Table, series_of
        from carousel.data.csv import joined

        number = self.rows + 1
        try:
            cells = [
                without_apostrophe(cell.strip()) for cell in next(csv.reader([line.rstrip("\r\n")], delimiter=self.delimiter), [])
            ]
        except csv.Error as error:
            raise InputError(f"stream: row {number} is no row of CSV: {error}") from None
        cells = [without_apostrophe(cell.strip()) for cell in cells]
        if not self.rows and cells == self.columns:
            return self._names()
        if len(cells) != len(self.columns):
            expected = f"expected {len(self.columns)} cells ({', '.join(self.columns)})"
            raise InputError(f"stream: row {number}: {expected}, got {len(cells)}")
        by_name = {name: [cell] for name, cell in zip(self.columns, cells, strict=True)}
        table = Table("stream", by_name, number, decimal=self.decimal, missing=self.settings.missing)
        asked, id = self.settings.covariates, self.settings.id
        (now,) = series_of(
            table, self.settings.target, self.time, id=id, columns=asked, texts=self.texts, date_format=self.date_format
        )
        before = self.latest.get(now.id)
        if before is not None and not now.moments[0] > before.moments[-1]:
            raise InputError(f"stream: row {number}: the time {now.times[0]!r} is not after {before.times[-1]!r}")
        known = now if before is None else joined(before, now)
        track = self.prepared.track(known)
        state = self.states[now.id] if now.id in self.states else self.cell.initial_state()
        y, state = self.stepper.step(track.inputs[-1], state)
        self.rows, self.latest[now.id], self.states[now.id] = number, known.filled().cut(None, -self.prepared.memory), state
        (forecast,) = track.forecasts(y.expand(len(track), -1), np.array([len(track) - 1]), self.prepared.horizon)
        return csv_row([*([now.id] if id else []), now.times[0], *(f"{value:.6g}" for value in forecast.ravel())], end="")

    def _names(self) -> str:
        """The names of the answer's columns."""
        levels = [f" q{level:g}" if level != 0.5 else "" for level in self.prepared.quantiles]
        ahead = [f"+{n}{level}" for n in range(1, self.prepared.horizon + 1) for level in levels]
        own = csv_row([*([self.settings.id] if self.settings.id else []), " ".join(self.time) or "row"], end="")
        return ",".join([own, *ahead])
