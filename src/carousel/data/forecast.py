"""Forecast: series, their next values, and the errors of forecasts against naive ones.

Each series is cut in three parts, oldest first: training, validation, test. The test part is held
back: neither the scaling nor a training window nor the validation batch reads one of its values.

Residual form: at step i the network reads the scaled value x(i), with what `carousel.data.features`
puts beside it, and gives the scaled changes x(i+1) - x(i), ..., x(i+h) - x(i) of the next h = horizon
steps, so that a network that answers zero is the naive forecast. At a gap x(i) is the last known value;
a value that is missing among the next h counts neither in the loss nor in the errors.

With quantiles the network gives each of them for each step ahead, learned by the pinball loss (Koenker &
Bassett, Econometrica 46, 1978) and sorted where they cross (Chernozhukov, Fernández-Val & Galichon,
Econometrica 78, 2010); the forecast itself is the median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel.batch import Batch
from carousel.data.csv import Series, filled
from carousel.data.features import Features
from carousel.errors import InputError
from carousel.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]
_SKIP = "; --skip leaves such series out"


@dataclass(frozen=True)
class SeriesScaling:
    """Of the training part of one series, in its unit.

    Attributes:
        mean:       of its values.
        deviation:  of its values.
        scale:      mean absolute error of the one-step naive forecast: the unit of MASE (Hyndman &
                    Koehler, Int. J. Forecasting 22, 2006).
    """

    mean: float
    deviation: float
    scale: float


@dataclass(frozen=True)
class ForecastPreprocessing:
    """What must be known of the training data to forecast further values of the same series.

    Attributes:
        horizon:    h, how many steps are forecast at each step.
        history:    how many values come before a forecast that counts, at least.
        season:     steps after which the seasonal naive forecast repeats; None for no such forecast.
        quantiles:  Q levels, ascending, the median in the middle; (0.5,) where only the value is forecast.
        features:   what stands beside the value of a step.
        scaling:    of each series, by its id.
        spread:     naive method -> (h, Q) what is added to it for each quantile: that of its errors in
                    training, in deviations.
    """

    horizon: int
    history: int
    season: int | None
    quantiles: tuple[float, ...]
    features: Features
    scaling: dict[str, SeriesScaling]
    spread: dict[str, Values]

    def track(self, series: Series, new: bool = False) -> Track:
        """One of the series, as the network sees it.

        Args:
            series:  any of its values.
            new:     whether it may be one that was not in training; such a series is scaled by its own values.

        Raises:
            InputError: a series that was not in training, where none is expected or its values do not vary.
        """
        if series.id in self.scaling:
            return Track(series, self.scaling[series.id], self.features)
        known = ", ".join(map(repr, list(self.scaling)[:10]))
        if not new:
            raise InputError(f"forecast: no series {series.id!r} was in training; expected one of: {known}")
        scaling = _scaling(series)
        if scaling is None:
            values = f"its {len(series)} values do not vary, so that they cannot be scaled"
            raise InputError(
                f"forecast: no series {series.id!r} was in training, and {values}; expected more of them, or one of: {known}"
            )
        return Track(series, scaling, self.features)

    def baselines(self, track: Track, origins: NDArray[np.int64]) -> dict[str, Values]:
        """method -> (origins, h, Q) the naive forecasts, in the series' unit, with their intervals."""
        made = naive_forecasts(track, origins, self.horizon, self.season)
        return {name: made[name][..., None] + self.spread[name] * track.scaling.deviation for name in made}

    def table(self) -> dict[str, Any]:
        """As plain values and arrays."""
        return {**asdict(self), "features": self.features.table()}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> ForecastPreprocessing:
        """The inverse of `table`, after a way through JSON; keys of others are let pass."""
        own = {name: table[name] for name in ("horizon", "history", "season")}
        return cls(
            **own,
            quantiles=tuple(table["quantiles"]),
            features=Features.from_table(table["features"]),
            scaling={name: SeriesScaling(**scaling) for name, scaling in table["scaling"].items()},
            spread={name: np.array(spread) for name, spread in table["spread"].items()},
        )


class Track:
    """One series as a network sees it: scaled, gaps filled with the last known value, features beside it."""

    def __init__(self, series: Series, scaling: SeriesScaling, features: Features) -> None:
        self.series, self.scaling = series, scaling
        self.values: Values = np.asarray(series.values, dtype=np.float64)
        self.latest = filled(self.values, scaling.mean)
        """(n,) the last known value at each step, in the series' unit; the training mean before there is one."""
        self.scaled = torch.tensor((self.latest - scaling.mean) / scaling.deviation, dtype=torch.float32)
        beside = torch.tensor(features.encode(series), dtype=torch.float32)
        self.inputs = torch.cat([self.scaled[:, None], beside], dim=1)
        """(n, I) what the network reads at each step."""
        finite = torch.isfinite(self.inputs).all(1)
        if not finite.all():
            when = f"{series.time_name} {series.times[int(finite.int().argmin())]}"
            raise InputError(f"forecast: at {when} stands a value far too large beside those of the training part")

    def __len__(self) -> int:
        return len(self.values)

    def truth(self, origins: NDArray[np.int64], horizon: int) -> Values:
        """(origins, horizon) what came after each origin, in the series' unit, NaN at a gap."""
        return self.values[_ahead(origins, horizon)]

    def forecasts(self, outputs: Tensor, origins: NDArray[np.int64], horizon: int) -> Values:
        """(origins, horizon, Q) in the series' unit, of a network's outputs (n, horizon * Q), quantiles in order."""
        changes = _in_order(outputs[origins], horizon)
        return self.latest[origins][:, None, None] + changes * self.scaling.deviation


def _ahead(origins: NDArray[np.int64], horizon: int) -> NDArray[np.int64]:
    return origins[:, None] + np.arange(1, horizon + 1)


def _in_order(outputs: Tensor, horizon: int) -> Values:
    """(..., horizon, Q) the quantiles of each step ahead, ascending, from (..., horizon * Q)."""
    changes: Values = outputs.detach().double().cpu().numpy()
    return np.sort(changes.reshape(*changes.shape[:-1], horizon, -1), axis=-1)


def naive_forecasts(track: Track, origins: NDArray[np.int64], horizon: int, season: int | None) -> dict[str, Values]:
    """method -> (origins, horizon) forecasts of a series that need no network, in its unit.

    naive: the last known value at the origin. seasonal naive, where there is a season: the value known
    latest a whole number of seasons before, or the last known one there.
    """
    made = {"naive": np.repeat(track.latest[origins, None], horizon, axis=1)}
    if season is not None:
        ahead = np.arange(1, horizon + 1)
        made[f"seasonal naive ({season})"] = track.latest[_ahead(origins, horizon) - season * -(-ahead // season)]
    return made


@dataclass(frozen=True)
class Windows(Batch):
    """A batch of series: the targets (T, B, h) are the scaled changes of the next h values from the last known one, NaN at gaps.

    Attributes:
        scaling:  (B, 3) mean, deviation and scale of each sequence's series, float64, for the score.
    """

    scaling: Tensor = field(kw_only=True)


@dataclass(frozen=True)
class ForecastLoss:
    """Mean squared error of y (h,) over the horizon; of several quantiles, y (h * Q,), the mean pinball loss. Gaps add nothing."""

    quantiles: tuple[float, ...]

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        if len(self.quantiles) == 1:
            error = torch.where(target.isnan(), 0.0, y - target)
            return error.square().mean()
        error = target[:, None] - y.reshape(-1, len(self.quantiles))
        error = torch.where(error.isnan(), 0.0, error)
        levels = torch.tensor(self.quantiles, device=y.device, dtype=y.dtype)
        return torch.maximum(levels * error, (levels - 1) * error).mean()


class Forecast(Task):
    """Windows of series; the loss is the mean squared error over the horizon, or the mean pinball loss (scaled units).

    A training window has 2 * history steps: the first half warms the state up, every step of the
    second half counts. A forecast that counts so follows at least `history` values. Validation
    and test run through each series from its beginning, with the state carried, and count the
    steps whose whole horizon lies in their part.

    Args:
        series:      a series, or several with different ids; or the values (n,) of one alone.
        horizon:     h, how many steps are forecast at each step.
        history:     how many values come before a forecast that counts in training, at least.
        season:      steps after which the seasonal naive forecast repeats; None for no such forecast.
        validation:  share of each series before the test part that training is watched on.
        test:        share of each series held back at its end.
        quantiles:   levels between 0 and 1, ascending, 0.5 in the middle; none: only the value is forecast.
        known:       those columns of the series whose next h values are known; of the others the past is.
        calendar:    tell the network the hour of the day, the day of the week and that of the year.

    Attributes:
        tracks:      a `Track` each series.
        prepared:    what was learned of the training parts.
        train_ends, test_starts:  the parts of each series are [0, train_end), [train_end, test_start), [test_start, n).

    Raises:
        InputError: a series too short for these figures, one that does not vary in training, or
            figures out of range.
    """

    input_size: int

    def __init__(
        self,
        series: Values | Series | Sequence[Series],
        *,
        horizon: int = 12,
        history: int = 24,
        season: int | None = None,
        validation: float = 0.15,
        test: float = 0.15,
        quantiles: Sequence[float] = (),
        known: Sequence[str] = (),
        calendar: bool = False,
    ) -> None:
        for name, count in (("horizon", horizon), ("history", history), ("season", season)):
            if count is not None and count < 1:
                raise InputError(f"forecast: expected {name} of at least 1, got {count}")
        for name, share in (("validation", validation), ("test", test)):
            if not 0 < share < 1:
                raise InputError(f"forecast: expected {name} between 0 and 1 (a share of the series), got {share}")
        levels = _checked(quantiles)
        self.horizon, self.history, self.quantiles = horizon, history, levels
        self.output_size = horizon * len(levels)
        self.loss = ForecastLoss(levels)
        self.test_starts, self.train_ends = [], []
        given = _as_series(series)
        for one in given:
            test_start = len(one) - round(test * len(one))
            self.test_starts.append(test_start)
            self.train_ends.append(test_start - round(validation * len(one)))
            self._check_lengths(one, season)
        training = [one.cut(stop) for one, stop in zip(given, self.train_ends, strict=True)]
        features = Features.of(training, known, calendar, horizon)
        scaling = {part.id: _scaling_in_training(part) for part in training}
        self.tracks = [Track(one, scaling[one.id], features) for one in given]
        self.input_size = 1 + features.size
        self.prepared = ForecastPreprocessing(horizon, history, season, levels, features, scaling, self._spread(season))
        self._inputs = torch.cat([track.inputs for track in self.tracks])
        self._scaled = torch.cat([track.scaled for track in self.tracks])
        there = torch.cat([torch.tensor(~np.isnan(track.values)) for track in self.tracks])
        self._coming = torch.where(there, self._scaled, torch.nan)
        scales = [(one.mean, one.deviation, one.scale) for one in (track.scaling for track in self.tracks)]
        self._scales = torch.tensor(scales, dtype=torch.float64)
        self._offsets = torch.tensor([0, *np.cumsum([len(track) for track in self.tracks])[:-1]])
        windows = [train_end - 2 * history - horizon + 1 for train_end in self.train_ends]
        self._windows_until = torch.tensor(windows).cumsum(0)  # a number below the k-th is a window of the series 0..k

    def _check_lengths(self, series: Series, season: int | None) -> None:
        n, h, train_end, test_start = len(series), self.horizon, self.train_ends[-1], self.test_starts[-1]
        name = f"the series {series.id!r}" if series.id else "the series"
        for part, length, needed, why in (
            ("training", train_end, 2 * self.history + h, f"2 * history + horizon = 2 * {self.history} + {h}"),
            ("validation", test_start - train_end, h, f"the horizon, {h}"),
            ("test", n - test_start, h, f"the horizon, {h}"),
        ):
            if length < needed:
                raise InputError(
                    f"forecast: {name} is too short: of its {n} values the {part} part has {max(length, 0)}, "
                    f"at least {needed} are needed ({why}){_SKIP if series.id else ''}"
                )
        if season is not None and season > test_start:
            part = f"the {test_start} values before the test part of {name}"
            raise InputError(f"forecast: season {season} is longer than {part}{_SKIP if series.id else ''}")

    def _spread(self, season: int | None) -> dict[str, Values]:
        """method -> (h, Q) quantiles of the errors of the naive forecasts in training, in deviations; 0 for the median."""
        errors: dict[str, list[Values]] = {}
        first = (season or 1) - 1
        for track, train_end in zip(self.tracks, self.train_ends, strict=True):
            origins = np.arange(min(first, train_end - self.horizon), train_end - self.horizon)
            if len(self.quantiles) > 1 and not len(origins):
                raise InputError(f"forecast: intervals of the seasonal naive forecast need a season within training, got {season}")
            truth = track.truth(origins, self.horizon)
            for name, forecast in naive_forecasts(track, origins, self.horizon, season).items():
                errors.setdefault(name, []).append((truth - forecast) / track.scaling.deviation)
        middle = len(self.quantiles) // 2
        spread = {}
        for name, parts in errors.items():
            spread[name] = np.zeros((self.horizon, len(self.quantiles)))
            for n, level in enumerate(self.quantiles):
                if n != middle:
                    spread[name][:, n] = np.nanquantile(np.concatenate(parts), level, axis=0)
        return spread

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B windows of the training parts that begin anywhere in them; all have 2 * history steps."""
        if lengths:
            raise InputError(f"forecast: the windows have one length, set by history; got {', '.join(lengths)}")
        steps = 2 * self.history
        windows = torch.randint(int(self._windows_until[-1]), (B,), generator=generator)
        of = torch.searchsorted(self._windows_until, windows, right=True)
        before = torch.where(of > 0, self._windows_until[of - 1], 0)
        where = windows - before + torch.arange(steps)[:, None]
        mask = (torch.arange(steps) >= self.history)[:, None].expand(where.shape)
        return self._batch(of, where, mask, torch.full((B,), steps))

    def validation(self) -> Batch:
        """A sequence each series, from its beginning to the last origin of the validation part."""
        stops = torch.tensor(self.test_starts) - self.horizon
        steps = torch.arange(int(stops.max()))[:, None]
        mask = (steps >= torch.tensor(self.train_ends) - 1) & (steps < stops)
        return self._batch(torch.arange(len(stops)), torch.minimum(steps, stops - 1), mask, stops)

    def _batch(self, of: Tensor, where: Tensor, mask: Tensor, lengths: Tensor) -> Batch:
        """Sequence b runs through the steps where[:, b] of series of[b]."""
        at = self._offsets[of] + where  # (T, B)
        now = self._scaled[at][..., None]
        coming = self._coming[at[..., None] + torch.arange(1, self.horizon + 1)]
        return Windows(self._inputs[at], coming - now, mask, lengths, scaling=self._scales[of])

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """The errors of `metrics` over all steps that count and the whole horizon."""
        # The last known value stands in forecast and truth alike, so the errors are those of the changes.
        scaling = _scaling_of(batch).expand(*batch.mask.shape, 3)[batch.mask.cpu()].numpy()
        forecast = _in_order(outputs[batch.mask], self.horizon) * scaling[:, 1, None, None]
        truth = batch.targets[batch.mask].double().cpu().numpy() * scaling[:, 1, None]
        return metrics(forecast, truth, scaling[:, 2, None], self.quantiles)

    @cached_property
    def origins(self) -> list[NDArray[np.int64]]:
        """Of each series the steps from which the test part is forecast; origin i is followed by the values i+1, ..., i+h."""
        return [np.arange(start - 1, len(one) - self.horizon) for one, start in zip(self.tracks, self.test_starts, strict=True)]

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence in its series' unit, with a forecast from every horizon-th step that counts."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.subplots()
        mean, deviation, _ = _scaling_of(batch)[0].tolist()
        values = mean + deviation * batch.inputs[:, 0, 0].double().cpu().numpy()
        axes.plot(values, color="black", linewidth=0.8, label="series")
        if outputs is not None:
            made = _in_order(outputs[:, 0], self.horizon)[..., len(self.quantiles) // 2] * deviation
            for i in batch.mask[:, 0].nonzero()[:: self.horizon, 0].tolist():
                axes.plot(range(i, i + self.horizon + 1), [values[i], *(values[i] + made[i])], color="tab:red", linewidth=0.8)
        axes.set_xlabel("step")
        return figure


def _scaling_of(batch: Batch) -> Tensor:
    assert isinstance(batch, Windows), "score and draw take batches of the same task"
    return batch.scaling


def metrics(forecast: Values, truth: Values, scale: float | Values, quantiles: Sequence[float] = (0.5,)) -> dict[str, float]:
    """Errors over all values that are there.

    Args:
        forecast:   (..., Q) quantiles, ascending; the one in the middle is the forecast itself.
        truth:      (...) values, NaN where one is missing.
        scale:      of MASE, broadcast against the truth.
        quantiles:  their Q levels.

    Returns:
        MAE, RMSE and MASE (MAE in units of `scale`); with more than one quantile also "pinball", the mean
        pinball loss over the levels, and of each interval, the outermost first, "80% coverage", the share
        of values within it, and "80% width", its mean width.

    Raises:
        InputError: there is no value.
    """
    there = ~np.isnan(truth)
    if not there.any():
        raise InputError("forecast: no value to judge the forecasts by: all are missing there")
    made, came = forecast[there], truth[there]
    error = made[:, len(quantiles) // 2] - came
    scaled = np.abs(error) / np.broadcast_to(scale, truth.shape)[there]
    found = {"MAE": np.abs(error).mean(), "RMSE": np.sqrt(np.square(error).mean()), "MASE": scaled.mean()}
    if len(quantiles) > 1:
        levels = np.array(quantiles)
        above = came[:, None] - made
        found["pinball"] = np.maximum(levels * above, (levels - 1) * above).mean()
    for name, (low, high) in intervals(quantiles).items():
        found[f"{name} coverage"] = ((made[:, low] <= came) & (came <= made[:, high])).mean()
        found[f"{name} width"] = (made[:, high] - made[:, low]).mean()
    return {name: float(value) for name, value in found.items()}


def intervals(quantiles: Sequence[float]) -> dict[str, tuple[int, int]]:
    """Nominal share ("80%") -> the numbers of its lowest and highest quantile, the outermost interval first."""
    pairs = [(n, len(quantiles) - 1 - n) for n in range(len(quantiles) // 2)]
    return {f"{100 * (quantiles[high] - quantiles[low]):.10g}%": (low, high) for low, high in pairs}


def _checked(quantiles: Sequence[float]) -> tuple[float, ...]:
    levels = tuple(quantiles) or (0.5,)
    ascending = all(low < high for low, high in zip((0, *levels), (*levels, 1), strict=True))
    if not ascending or len(levels) % 2 == 0 or levels[len(levels) // 2] != 0.5:
        raise InputError(
            f"forecast: expected quantiles between 0 and 1, ascending, as many below 0.5 as above (0.1 0.5 0.9), "
            f"got {' '.join(f'{level:g}' for level in levels)}"
        )
    return levels


def _as_series(series: Values | Series | Sequence[Series]) -> list[Series]:
    if isinstance(series, Series):
        return [series]
    if isinstance(series, np.ndarray):
        rows = np.arange(1.0, len(series) + 1)
        return [Series("value", np.asarray(series, dtype=np.float64), [f"{row:.0f}" for row in rows], "row", rows, "row")]
    return list(series)


def _scaling(series: Series) -> SeriesScaling | None:
    """Of the values of a series; None where they do not vary."""
    values = series.values[~np.isnan(series.values)]
    changes = np.abs(np.diff(series.values))
    changes = changes[~np.isnan(changes)]
    if not len(changes) or not (values.std() > 0 and changes.mean() > 0):
        return None
    return SeriesScaling(float(values.mean()), float(values.std()), float(changes.mean()))


def _scaling_in_training(training: Series) -> SeriesScaling:
    scaling = _scaling(training)
    if scaling is None:
        which, remedy = (f" of {training.id!r}", _SKIP) if training.id else ("", "")
        what = "does not vary" if not np.isnan(training.values).all() else "has no value"
        raise InputError(f"forecast: the training part{which} (the first {len(training)} values) {what}{remedy}")
    return scaling


def usable(series: Sequence[Series], **options: Any) -> tuple[list[Series], list[str]]:
    """The series that can be learned from, and why each of the others cannot: too short, constant, empty.

    Args:
        series:   of one file.
        options:  horizon, history, season, validation, test and quantiles, as `Forecast` takes them.

    Raises:
        InputError: none can.
    """
    kept, reasons = [], []
    for one in series:
        try:
            Forecast(replace(one, columns={}), **options)
            kept.append(one)
        except InputError as error:
            reasons.append(str(error).removesuffix(_SKIP))
    if not kept:
        raise InputError(f"{reasons[0]}; and so none of the {len(series):,} series can be used")
    return kept, reasons
