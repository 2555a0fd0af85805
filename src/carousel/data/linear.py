"""Linear forecasts: the next values of a series as a linear function of what is known, by ridge regression.

Ridge regression (Hoerl & Kennard, Technometrics 12, 1970) on the lags of a series: the forecast that a recurrent
network has to beat, and may begin from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Steps = NDArray[np.int64]

MOST_LAGS = 336
"""Lags that a linear forecast reads at most: two weeks of hours."""

MOST_ROWS = 20_000
"""Training steps that it is fitted to, evenly spaced; more of them would change little."""

PENALTIES = tuple(10.0**power for power in range(-2, 6))

FEWEST_ROWS = 16
"""For each step ahead it is fitted to so many training steps at least."""

_CHUNK = 1 << 15  # steps whose regressors are in memory at a time


@dataclass(frozen=True)
class Regressors:
    """What a linear forecast reads at step i, in deviations of the series x.

    x(i - l) - x(i) for l = 1..lags; with a season s, the values a whole number of seasons before each of the h steps to come,
    x(i + k - s ceil(k / s)) - x(i); with `level`, x(i) itself; then the features beside. Before the first value stands the first.
    """

    lags: int
    season: int | None
    level: bool
    horizon: int

    def at(self, steps: Steps, x: Values, beside: Values) -> Values:
        """(len(steps), R) of the series x (n,) with the features beside (n, F)."""
        back = -np.arange(1, self.lags + 1)
        if self.season is not None:
            ahead = np.arange(1, self.horizon + 1)
            back = np.concatenate([back, ahead - self.season * -(-ahead // self.season)])
        now = x[steps, None]
        changes = x[np.maximum(steps[:, None] + back, 0)] - now
        return np.concatenate([changes, *([now] if self.level else []), beside[steps]], axis=1)


@dataclass(frozen=True)
class LinearForecast:
    """x(i + k) - x(i), k = 1..h, as a linear function of the regressors at i.

    Attributes:
        regressors:  R numbers a step.
        weights:     (R, h)
        intercept:   (h,)
    """

    regressors: Regressors
    weights: Values
    intercept: Values

    def changes(self, steps: Steps, x: Values, beside: Values) -> Values:
        """(len(steps), h) forecast at these steps of the series x (n,), features beside (n, F)."""
        made = np.empty((len(steps), len(self.intercept)))
        for start in range(0, len(steps), _CHUNK):
            part = slice(start, start + _CHUNK)
            made[part] = self.regressors.at(steps[part], x, beside) @ self.weights + self.intercept
        return made

    def table(self) -> dict[str, Any]:
        """As plain values and arrays."""
        return asdict(self)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> LinearForecast:
        """The inverse of `table`, after a way through JSON."""
        intercept = np.asarray(table["intercept"], np.float64)
        weights = np.asarray(table["weights"], np.float64).reshape(-1, len(intercept))
        return cls(Regressors(**table["regressors"]), weights, intercept)


def fit_linear(
    regressors: Regressors, series: Sequence[tuple[Values, Values]], coming: Sequence[Values], steps: Sequence[Steps]
) -> list[LinearForecast]:
    """Ridge regressions with each of PENALTIES, fitted to all series together; none where there is too little to fit to.

    Args:
        regressors:  what they read.
        series:      (x (n,), features beside (n, F)) of each.
        coming:      of each (n,) the values that come, NaN at a gap.
        steps:       of each, those in training, each followed by h values there; what is missing among these is left out.
    """
    ahead = np.arange(1, regressors.horizon + 1)
    total = sum(map(len, steps))
    read, changes = [], []
    for (x, beside), future, own in zip(series, coming, steps, strict=True):
        some = own[:: max(1, -(-total // MOST_ROWS))]
        read.append(regressors.at(some, x, beside))
        changes.append(future[some[:, None] + ahead] - x[some, None])
    A, Y = np.concatenate(read), np.concatenate(changes)
    there = ~np.isnan(Y)
    if not (there.sum(0) >= FEWEST_ROWS).all():
        return []
    # Steps ahead that have the same gaps are fitted together: all of them where there is no gap.
    groups: dict[bytes, list[int]] = {}
    for k in range(regressors.horizon):
        groups.setdefault(there[:, k].tobytes(), []).append(k)
    weights = np.empty((len(PENALTIES), A.shape[1], regressors.horizon))
    intercepts = np.empty((len(PENALTIES), regressors.horizon))
    for group in groups.values():
        whole = there[:, group[0]]
        weights[..., group], intercepts[..., group] = _ridge(A[whole], Y[whole][:, group])
    return [LinearForecast(regressors, *made) for made in zip(weights, intercepts, strict=True)]


def _ridge(A: Values, Y: Values) -> tuple[Values, Values]:
    """(weights (P, R, h), intercepts (P, h)) for each of P penalties, of A (n, R), scaled to variance 1, to Y (n, h)."""
    mean, deviation = A.mean(0), A.std(0)
    deviation[deviation < 1e-9] = np.inf  # what does not vary in training is not used
    A = (A - mean) / deviation
    middle = Y.mean(0)
    variances, directions = np.linalg.eigh(A.T @ A)
    along = directions.T @ (A.T @ (Y - middle))
    weights = np.stack([directions @ (along / (variances.clip(0) + penalty)[:, None]) for penalty in PENALTIES])
    weights /= deviation[:, None]
    return weights, middle - mean @ weights
