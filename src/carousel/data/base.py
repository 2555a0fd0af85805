"""The base of a forecast: what is forecast without a network, so that the network learns what is left to be learned.

naive: the last known value. seasonal: the value a whole number of seasons before. linear: ridge regression on the lags
(`carousel.data.linear`). A network that answers zero is its base, as in residual forecasting with exponential smoothing (Smyl,
Int. J. Forecasting 36, 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from carousel.data.linear import MOST_LAGS, LinearForecast, Regressors, Steps, Values, fit_linear

Kind = Literal["naive", "seasonal", "linear"]
Asked = Literal["auto", "naive", "seasonal", "linear"]

MOST_INPUTS = 24
"""How many of the steps of a base's forecast a network reads at most, evenly spaced."""

_ORIGINS = 4000  # of all series, at which bases are compared


@dataclass(frozen=True)
class Base:
    """What the network's outputs are added to, and in which units.

    Attributes:
        kind:          of the forecast.
        season:        steps; None where it is not used.
        linear:        for the kind "linear"; beside others it is what they are compared with.
        log:           the values are logarithms.
        non_negative:  forecasts below zero become zero.
        unit:          deviations of the series that an output of 1 stands for.
        local:         number of values whose mean is subtracted from the network's first input, so that it stays in the range
                       of the training part where the series leaves it; None for none.
    """

    kind: Kind = "naive"
    season: int | None = None
    linear: LinearForecast | None = None
    log: bool = False
    non_negative: bool = False
    unit: float = 1.0
    local: int | None = None

    @property
    def memory(self) -> int:
        """How many of the latest values it reads at a step."""
        lags = self.linear.regressors.lags + 1 if self.kind == "linear" and self.linear is not None else 1
        return max(lags, self.season or 1, self.local or 1)

    def inputs(self, horizon: int) -> int:
        """How many numbers of its forecast the network reads at a step."""
        return 0 if self.kind == "naive" else min(horizon, MOST_INPUTS)

    def changes(self, steps: Steps, x: Values, beside: Values, horizon: int) -> Values:
        """(len(steps), h) forecasts of x(i + k) - x(i), in deviations, at steps i of the series x (n,), features beside (n, F)."""
        if self.kind == "linear":
            assert self.linear is not None
            return self.linear.changes(steps, x, beside)
        if self.kind == "seasonal":
            assert self.season is not None
            ahead = np.arange(1, horizon + 1)
            return x[np.maximum(steps[:, None] + ahead - self.season * -(-ahead // self.season), 0)] - x[steps, None]
        return np.zeros((len(steps), horizon))

    def beside(self, x: Values, beside: Values, horizon: int) -> tuple[Values, Values]:
        """((n, I) what the network reads of the series x (n,), (n, h) the base's changes)."""
        made = self.changes(np.arange(len(x)), x, beside, horizon)
        read = np.linspace(0, horizon - 1, self.inputs(horizon)).round().astype(int)
        now = x if self.local is None else x - _running_mean(x, self.local)
        return np.concatenate([now[:, None], beside, made[:, read] / self.unit], axis=1), made

    def forward(self, values: Values) -> Values:
        """Of values in the series' unit; logarithms where they are asked for."""
        return np.log(values) if self.log else values

    def back(self, values: Values) -> Values:
        """The inverse of `forward`, of forecasts."""
        values = np.exp(values) if self.log else values
        return values.clip(0) if self.non_negative else values

    def described(self) -> str:
        """In words."""
        kind = {"naive": "the last value", "seasonal": f"the value {self.season} steps before", "linear": "the linear forecast"}
        return kind[self.kind] + (" of the logarithm" if self.log else "")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Base:
        """The inverse of `dataclasses.asdict`, after a way through JSON."""
        linear = table.get("linear")
        return cls(**{**table, "linear": None if linear is None else LinearForecast.from_table(linear)})


NAIVE = Base()


@dataclass(frozen=True)
class Part:
    """What bases are compared on, of one series: `training` and `validation` are steps each followed by h values of its part.

    values (n,) are in its unit, NaN at a gap; x (n,) scaled, without gaps, coming (n,) scaled, with them; beside (n, F).
    """

    values: Values
    x: Values
    coming: Values
    beside: Values
    training: Steps
    validation: Steps
    mean: float
    deviation: float
    scale: float


def candidates(kind: Asked, parts: Sequence[Part], season: int | None, history: int, horizon: int, like: Base) -> list[Base]:
    """The bases of a kind, all kinds for "auto", with the other attributes of `like`; fitted to the training parts alone."""
    found = []
    if kind in ("naive", "auto"):
        found.append(like)
    if season is not None and kind in ("seasonal", "auto"):
        found.append(replace(like, kind="seasonal", season=season))
    if kind in ("linear", "auto"):
        reach = 2 * season if season is not None and 2 * season <= MOST_LAGS else 0
        shortest = min(int(part.training[-1]) + 1 for part in parts)
        lags = max(min(max(history, reach), MOST_LAGS, shortest // 4), 1)
        for level in (True, False):
            regressors = Regressors(lags, season, level, horizon)
            steps = [part.training[part.training >= min(lags, len(part.training) // 2)] for part in parts]
            for linear in fit_linear(regressors, [(p.x, p.beside) for p in parts], [p.coming for p in parts], steps):
                found.append(replace(like, kind="linear", season=season, linear=linear))
    return found


def validation_error(base: Base, parts: Sequence[Part], horizon: int) -> float:
    """The mean absolute error of a base in the validation parts, in units of each series' one-step naive error."""
    every = max(1, sum(len(part.validation) for part in parts) // _ORIGINS)
    total, count = 0.0, 0
    for part in parts:
        steps = part.validation[::every]
        truth = part.values[steps[:, None] + np.arange(1, horizon + 1)]
        there = ~np.isnan(truth)
        made = part.x[steps, None] + base.changes(steps, part.x, part.beside, horizon)
        forecast = base.back(part.mean + part.deviation * made)
        total += float(np.abs(forecast - truth)[there].sum()) / part.scale
        count += int(there.sum())
    return total / max(count, 1)


def with_unit(base: Base, parts: Sequence[Part], horizon: int) -> Base:
    """The base with the root mean square of its errors in the training parts as the unit of the network's outputs."""
    every = max(1, sum(len(part.training) for part in parts) // _ORIGINS)
    errors = []
    for part in parts:
        steps = part.training[::every]
        truth = part.coming[steps[:, None] + np.arange(1, horizon + 1)] - part.x[steps, None]
        errors.append((truth - base.changes(steps, part.x, part.beside, horizon)).ravel())
    found = np.concatenate(errors)
    found = found[~np.isnan(found)]
    return replace(base, unit=max(float(np.sqrt(np.square(found).mean())), 1e-6) if len(found) else 1.0)


def _running_mean(x: Values, window: int) -> Values:
    """(n,) at each step the mean of the latest `window` values, of fewer at the beginning."""
    total = np.concatenate([[0.0], x.cumsum()])
    first = np.maximum(np.arange(len(x)) + 1 - window, 0)
    return (total[1:] - total[first]) / (np.arange(len(x)) + 1 - first)
