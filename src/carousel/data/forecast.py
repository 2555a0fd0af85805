"""Forecast: series, their next values, and the errors of forecasts against naive ones.

Each series is cut in three parts, oldest first: training, validation, test. The test part is held
back: neither the scaling nor a training window nor the validation batch reads one of its values.

Residual form: at step i the network reads the scaled value x(i), with what `carousel.data.features`
puts beside it, and gives what is missing from a base, a forecast of the next h = horizon steps that needs no
network (`carousel.data.base`): a network that answers zero is its base. With the naive one it gives the scaled changes
x(i+1) - x(i), ..., x(i+h) - x(i). At a gap x(i) is the last known value; a value that is missing among the next h counts
neither in the loss nor in the errors.

With quantiles the network gives each of them for each step ahead, learned by the pinball loss (Koenker &
Bassett, Econometrica 46, 1978) and sorted where they cross (Chernozhukov, Fernández-Val & Galichon,
Econometrica 78, 2010); the forecast itself is the median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carousel.batch import Batch
from carousel.data.base import NAIVE, Asked, Base, Part, candidates, validation_error, with_unit
from carousel.data.csv import Series, filled
from carousel.data.features import Features
from carousel.data.season import find_season
from carousel.errors import InputError
from carousel.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]
MARGIN = 1.03
"""How much lower the validation error of a linear base must be than that of a simpler one, which it may be by chance."""

_SKIP = "; --skip leaves such series out"


@dataclass(frozen=True)
class SeriesScaling:
    """Of the training part of one series.

    Attributes:
        mean:       of its values, or of their logarithms where the base takes these.
        deviation:  of the same.
        scale:      mean absolute error of the one-step naive forecast, in the series' unit: the unit of MASE (Hyndman &
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
        spread:     method -> (h, Q) what is added to it for each quantile: that of its errors in training, in deviations.
        base:       what the network's outputs are added to.
    """

    horizon: int
    history: int
    season: int | None
    quantiles: tuple[float, ...]
    features: Features
    scaling: dict[str, SeriesScaling]
    spread: dict[str, Values]
    base: Base = NAIVE

    def track(self, series: Series, new: bool = False) -> Track:
        """One of the series, as the network sees it.

        Args:
            series:  any of its values.
            new:     whether it may be one that was not in training; such a series is scaled by its own values.

        Raises:
            InputError: a series that was not in training, where none is expected or its values do not vary.
        """
        if series.id in self.scaling:
            return Track(series, self.scaling[series.id], self.features, self.base)
        known = ", ".join(map(repr, list(self.scaling)[:10]))
        if not new:
            raise InputError(f"forecast: no series {series.id!r} was in training; expected one of: {known}")
        scaling = _scaling(series, self.base)
        if scaling is None:
            values = f"its {len(series)} values do not vary, so that they cannot be scaled"
            raise InputError(
                f"forecast: no series {series.id!r} was in training, and {values}; expected more of them, or one of: {known}"
            )
        return Track(series, scaling, self.features, self.base)

    @property
    def memory(self) -> int:
        """How many of the latest rows are read at a step, besides what the network's state has."""
        return self.base.memory

    def baselines(self, track: Track, origins: NDArray[np.int64]) -> dict[str, Values]:
        """method -> (origins, h, Q) the naive forecasts, in the series' unit, with their intervals."""
        made = baseline_forecasts(track, origins, self.horizon, self.season)
        return {name: track.shifted(made[name], self.spread[name]) for name in made}

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
            base=Base.from_table(table["base"]) if "base" in table else NAIVE,
        )


class Track:
    """One series as a network sees it: scaled, gaps filled with the last known value, features and the base beside it."""

    def __init__(self, series: Series, scaling: SeriesScaling, features: Features, base: Base) -> None:
        self.series, self.scaling, self.base, self.horizon = series, scaling, base, features.horizon
        self.values: Values = np.asarray(series.values, dtype=np.float64)
        if base.log and np.nanmin(self.values, initial=np.inf) <= 0:
            when = f"{series.time_name} {series.times[int(np.nanargmin(self.values))]}"
            raise InputError(
                f"forecast: at {when} stands {np.nanmin(self.values):g}; the forecasts were learned on the logarithms of positive "
                "values; train with --no-log"
            )
        self.latest = filled(self.values, base.back(np.array(scaling.mean)).item())
        """(n,) the last known value at each step, in the series' unit; the training mean before there is one."""
        self.x: Values = (base.forward(self.latest) - scaling.mean) / scaling.deviation
        """(n,) the same, scaled."""
        self.scaled = torch.tensor(self.x, dtype=torch.float32)
        self.features: Values = features.encode(series)
        inputs, changes = base.beside(self.x, self.features, self.horizon)
        self.inputs = torch.tensor(inputs, dtype=torch.float32)
        """(n, I) what the network reads at each step."""
        self.changes = torch.tensor(changes, dtype=torch.float32)
        """(n, h) the base's forecasts of the scaled changes; (n, 0) where it forecasts none."""
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
        own = _in_order(outputs[origins], horizon) * self.base.unit
        return self._back(origins, self.base.changes(origins, self.x, self.features, horizon)[..., None] + own)

    def base_forecasts(self, base: Base, origins: NDArray[np.int64], horizon: int) -> Values:
        """(origins, horizon) the forecasts of a base alone, in the series' unit."""
        return self._back(origins, base.changes(origins, self.x, self.features, horizon))

    def shifted(self, forecasts: Values, spread: Values) -> Values:
        """(origins, h, Q) forecasts (origins, h) in the series' unit, each with what its quantiles add (h, Q), in deviations."""
        return self.base.back(self.base.forward(forecasts)[..., None] + spread * self.scaling.deviation)

    def _back(self, origins: NDArray[np.int64], changes: Values) -> Values:
        """Values in the series' unit, of changes (origins, ...) from the last known values, in deviations."""
        latest = self.base.forward(self.latest)[origins].reshape(-1, *(1 for _ in changes.shape[1:]))
        return self.base.back(latest + changes * self.scaling.deviation)


def _ahead(origins: NDArray[np.int64], horizon: int) -> NDArray[np.int64]:
    return origins[:, None] + np.arange(1, horizon + 1)


def _in_order(outputs: Tensor, horizon: int) -> Values:
    """(..., horizon, Q) the quantiles of each step ahead, ascending, from (..., horizon * Q)."""
    changes: Values = outputs.detach().double().cpu().numpy()
    return np.sort(changes.reshape(*changes.shape[:-1], horizon, -1), axis=-1)


def baseline_forecasts(track: Track, origins: NDArray[np.int64], horizon: int, season: int | None) -> dict[str, Values]:
    """method -> (origins, horizon) forecasts of a series that need no network, in its unit.

    naive: the last known value at the origin. seasonal naive, where there is a season: the value known
    latest a whole number of seasons before, or the last known one there. linear, where one was fitted: ridge
    regression on the lags.
    """
    made = {"naive": np.repeat(track.latest[origins, None], horizon, axis=1)}
    if season is not None:
        ahead = np.arange(1, horizon + 1)
        made[f"seasonal naive ({season})"] = track.latest[np.maximum(_ahead(origins, horizon) - season * -(-ahead // season), 0)]
    if (linear := track.base.linear) is not None:
        lags = linear.regressors.lags
        made[f"linear ({lags} {'lag' if lags == 1 else 'lags'})"] = track.base_forecasts(
            replace(track.base, kind="linear"), origins, horizon
        )
    return made


@dataclass(frozen=True)
class Windows(Batch):
    """A batch of series: the targets (T, B, h) are what is missing from the base at each step, in its unit, NaN at gaps.

    Attributes:
        scaling:  (B, 3) mean, deviation and scale of each sequence's series, float64, for the score.
        now:      (T, B) the last known value, scaled.
        base:     (T, B, h) the base's forecasts of the next h values, scaled.
    """

    scaling: Tensor = field(kw_only=True)
    now: Tensor = field(kw_only=True)
    base: Tensor = field(kw_only=True)


@dataclass(frozen=True)
class ForecastLoss:
    """Mean squared, or absolute, error of y (h,) over the horizon; of several quantiles, y (h * Q,), the mean pinball loss.

    Gaps add nothing.
    """

    quantiles: tuple[float, ...]
    squared: bool = True

    def __call__(self, y: Tensor, target: Tensor) -> Tensor:
        if len(self.quantiles) == 1:
            error = torch.where(target.isnan(), 0.0, y - target)
            return error.square().mean() if self.squared else error.abs().mean()
        error = target[:, None] - y.reshape(-1, len(self.quantiles))
        error = torch.where(error.isnan(), 0.0, error)
        levels = torch.tensor(self.quantiles, device=y.device, dtype=y.dtype)
        return torch.maximum(levels * error, (levels - 1) * error).mean()


class Forecast(Task):
    """Windows of series; the loss is the mean squared or absolute error over the horizon, or the mean pinball loss (scaled units).

    A training window has 2 * history steps: the first half warms the state up, every step of the
    second half counts. A forecast that counts so follows at least `history` values. Validation
    and test run through each series from its beginning, with the state carried, and count the
    steps whose whole horizon lies in their part.

    Args:
        series:      a series, or several with different ids; or the values (n,) of one alone.
        horizon:     h, how many steps are forecast at each step.
        history:     how many values come before a forecast that counts in training, at least.
        season:      steps after which the seasonal naive forecast repeats; None for no such forecast; "auto": found in the
                     training part (`carousel.data.season`), or none.
        validation:  share of each series before the test part that training is watched on.
        test:        share of each series held back at its end.
        quantiles:   levels between 0 and 1, ascending, 0.5 in the middle; none: only the value is forecast.
        known:       those columns of the series whose next h values are known; of the others the past is.
        calendar:    tell the network the hour of the day, the day of the week and that of the year; None: those of them that the
                     training part has seen twice.
        base:        what the network's outputs are added to; "auto": what has the lowest validation error.
        log:         the network and the base work on logarithms; None: if all values are positive, and only if the base
                     is better for it on the validation part.
        non_negative:  forecasts below zero become zero; None: if no value of the training part is below zero.
        squared:     the loss is the mean squared error, whose best forecast is the mean of what may come; False: the mean
                     absolute error, whose best forecast is the median.

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
        season: int | Literal["auto"] | None = None,
        validation: float = 0.15,
        test: float = 0.15,
        quantiles: Sequence[float] = (),
        known: Sequence[str] = (),
        calendar: bool | None = False,
        base: Asked = "naive",
        log: bool | None = False,
        non_negative: bool | None = False,
        squared: bool = True,
    ) -> None:
        for name, count in (("horizon", horizon), ("history", history), ("season", season)):
            if isinstance(count, int) and count < 1:
                raise InputError(f"forecast: expected {name} of at least 1, got {count}")
        for name, share in (("validation", validation), ("test", test)):
            if not 0 < share < 1:
                raise InputError(f"forecast: expected {name} between 0 and 1 (a share of the series), got {share}")
        levels = _checked(quantiles)
        self.horizon, self.history, self.quantiles = horizon, history, levels
        self.output_size = horizon * len(levels)
        self.loss = ForecastLoss(levels, squared)
        self.test_starts, self.train_ends = [], []
        given = _as_series(series)
        for one in given:
            test_start = len(one) - round(test * len(one))
            self.test_starts.append(test_start)
            self.train_ends.append(test_start - round(validation * len(one)))
            self._check_lengths(one, None if season == "auto" else season)
        training = [one.cut(stop) for one, stop in zip(given, self.train_ends, strict=True)]
        features = Features.of(training, known, calendar, horizon)
        if season == "auto":
            scaled = [_scaling_in_training(part, NAIVE) for part in training]
            season = find_season([filled(part.values, own.mean) for part, own in zip(training, scaled, strict=True)], horizon)
        chosen = self._choose(given, training, features, base, season, log, non_negative)
        scaling = {part.id: _scaling_in_training(part, chosen) for part in training}
        self.tracks = [Track(one, scaling[one.id], features, chosen) for one in given]
        self.input_size = self.tracks[0].inputs.shape[1]
        self.prepared = ForecastPreprocessing(horizon, history, season, levels, features, scaling, self._spread(season), chosen)
        self._inputs = torch.cat([track.inputs for track in self.tracks])
        self._scaled = torch.cat([track.scaled for track in self.tracks])
        there = torch.cat([torch.tensor(~np.isnan(track.values)) for track in self.tracks])
        self._coming = torch.where(there, self._scaled, torch.nan)
        scales = [(one.mean, one.deviation, one.scale) for one in (track.scaling for track in self.tracks)]
        self._scales = torch.tensor(scales, dtype=torch.float64)
        self._changes = torch.cat([track.changes for track in self.tracks])
        self._offsets = torch.tensor([0, *np.cumsum([len(track) for track in self.tracks])[:-1]])
        windows = [train_end - 2 * history - horizon + 1 for train_end in self.train_ends]
        self._windows_until = torch.tensor(windows).cumsum(0)  # a number below the k-th is a window of the series 0..k

    def _choose(
        self,
        given: Sequence[Series],
        training: Sequence[Series],
        features: Features,
        kind: Asked,
        season: int | None,
        log: bool | None,
        non_negative: bool | None,
    ) -> Base:
        """The base; where it is to be found, the one with the lowest error on the validation parts."""
        positive = all(np.nanmin(one.values, initial=np.inf) > 0 for one in given)
        if log and not positive:
            raise InputError("forecast: log needs positive values; the file has others")
        if non_negative is None:
            non_negative = all(np.nanmin(part.values, initial=np.inf) >= 0 for part in training)
        if kind == "naive" and log is not None:
            return Base(log=log, non_negative=non_negative)
        beside = [features.encode(one) for one in given]
        found: list[tuple[float, Base, list[Part]]] = []
        for taken in (False, True) if log is None and positive else (bool(log),):
            like = Base(log=taken, non_negative=non_negative, local=self.history)
            parts = [self._part(n, training[n], beside[n], like, one) for n, one in enumerate(given)]
            offered = candidates(kind, parts, season, self.history, self.horizon, like)
            errors = [(validation_error(one, parts, self.horizon), one) for one in offered]
            linear = min(
                (entry for entry in errors if entry[1].linear is not None), key=lambda entry: entry[0], default=(0.0, like)
            )
            error, best = min(
                errors, key=lambda entry: entry[0] * (MARGIN if entry[1].kind == "linear" else 1), default=(0.0, None)
            )
            if best is not None:
                found.append((error, replace(best, linear=linear[1].linear), parts))
        if not found:
            raise InputError(f"forecast: no {kind} base can be fitted to so few values; use base naive")
        _, best, parts = min(found, key=lambda entry: entry[0])
        return with_unit(best, parts, self.horizon)

    def _part(self, n: int, training: Series, beside: Values, like: Base, series: Series) -> Part:
        scaling = _scaling_in_training(training, like)
        values = np.asarray(series.values, np.float64)
        x = (like.forward(filled(values, like.back(np.array(scaling.mean)).item())) - scaling.mean) / scaling.deviation
        coming = np.where(np.isnan(values), np.nan, x)
        train_end, test_start = self.train_ends[n], self.test_starts[n]
        steps = np.arange(train_end - self.horizon), np.arange(train_end - 1, test_start - self.horizon)
        return Part(values, x, coming, beside, *steps, scaling.mean, scaling.deviation, scaling.scale)

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
        """method -> (h, Q) quantiles of the errors of the baselines in training, in deviations; 0 for the median."""
        errors: dict[str, list[Values]] = {}
        first = (season or 1) - 1
        for track, train_end in zip(self.tracks, self.train_ends, strict=True):
            origins = np.arange(min(first, train_end - self.horizon), train_end - self.horizon)
            if len(self.quantiles) > 1 and not len(origins):
                raise InputError(f"forecast: intervals of the seasonal naive forecast need a season within training, got {season}")
            truth = track.truth(origins, self.horizon)
            for name, forecast in baseline_forecasts(track, origins, self.horizon, season).items():
                errors.setdefault(name, []).append(track.base.forward(truth) - track.base.forward(forecast))
                errors[name][-1] /= track.scaling.deviation
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
        now = self._scaled[at]
        coming = self._coming[at[..., None] + torch.arange(1, self.horizon + 1)]
        base = now[..., None] + self._changes[at] if self._changes.shape[1] else now[..., None].expand_as(coming)
        targets = (coming - base) / self.prepared.base.unit
        return Windows(self._inputs[at], targets, mask, lengths, scaling=self._scales[of], now=now, base=base)

    def score(self, outputs: Any, batch: Batch) -> dict[str, float]:
        """The errors of `metrics` over all steps that count and the whole horizon."""
        windows, mask = _windows(batch), batch.mask.cpu()
        mean, deviation, scale = windows.scaling.expand(*mask.shape, 3)[mask].numpy().T
        base, unit = windows.base[batch.mask].double().cpu().numpy(), self.prepared.base.unit

        def values(changes: Values) -> Values:  # (n, h, Q) in units of the base
            return self.prepared.base.back(mean[:, None, None] + deviation[:, None, None] * (base[..., None] + unit * changes))

        forecast = values(_in_order(outputs[batch.mask], self.horizon))
        truth = values(batch.targets[batch.mask].double().cpu().numpy()[..., None])[..., 0]
        return metrics(forecast, truth, scale[:, None], self.quantiles)

    @cached_property
    def origins(self) -> list[NDArray[np.int64]]:
        """Of each series the steps from which the test part is forecast; origin i is followed by the values i+1, ..., i+h."""
        return [np.arange(start - 1, len(one) - self.horizon) for one, start in zip(self.tracks, self.test_starts, strict=True)]

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence in its series' unit, with a forecast from every horizon-th step that counts."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.subplots()
        windows, base = _windows(batch), self.prepared.base
        mean, deviation, _ = windows.scaling[0].tolist()
        values = base.back(mean + deviation * windows.now[:, 0].double().cpu().numpy())
        axes.plot(values, color="black", linewidth=0.8, label="series")
        if outputs is not None:
            own = _in_order(outputs[:, 0], self.horizon)[..., len(self.quantiles) // 2] * base.unit
            made = base.back(mean + deviation * (windows.base[:, 0].double().cpu().numpy() + own))
            for i in batch.mask[:, 0].nonzero()[:: self.horizon, 0].tolist():
                axes.plot(range(i, i + self.horizon + 1), [values[i], *made[i]], color="tab:red", linewidth=0.8)
        axes.set_xlabel("step")
        return figure


def _windows(batch: Batch) -> Windows:
    assert isinstance(batch, Windows), "score and draw take batches of the same task"
    return batch


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


def _scaling(series: Series, base: Base) -> SeriesScaling | None:
    """Of the values of a series; None where they do not vary."""
    values = base.forward(series.values[~np.isnan(series.values)])
    changes = np.abs(np.diff(series.values))
    changes = changes[~np.isnan(changes)]
    if not len(changes):  # each value stands between gaps
        changes = np.abs(np.diff(series.values[~np.isnan(series.values)]))
    if not len(changes) or not (values.std() > 0 and changes.mean() > 0):
        return None
    return SeriesScaling(float(values.mean()), float(values.std()), float(changes.mean()))


def _scaling_in_training(training: Series, base: Base) -> SeriesScaling:
    scaling = _scaling(training, base)
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
