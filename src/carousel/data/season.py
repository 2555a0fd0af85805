"""The season of a series: after how many steps it repeats itself, found in its training part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

GAIN = 0.9
"""The seasonal naive forecast must have at most this share of the naive one's error."""

CANDIDATES = 12
_CLEAR = 4.0
"""Deviations that an autocorrelation must be above zero; by chance one is 3 among hundreds."""

_ORIGINS = 2000  # of all series, at which forecasts are compared
_CLOSE = 1.15  # of seasons whose errors differ by less than by chance, the shortest: a multiple of a season is one too


def find_season(series: Sequence[Values], horizon: int) -> int | None:
    """The season by which the seasonal naive forecast is best, or None where none is better than the naive forecast.

    Candidates are the highest peaks of the autocorrelation of the changes from step to step, averaged over the series, up to
    half of the longest series: each is seen twice at least. They are compared by the mean absolute error of the next `horizon`
    values in the training parts, each series in units of its deviation.

    Args:
        series:   of each the values (n,) of its training part, without gaps.
        horizon:  h.
    """
    peaks = _peaks(series)
    if not len(peaks):
        return None
    naive, errors = _errors(series, [1, *peaks], horizon)
    best = min(errors)
    if not best <= GAIN * naive:
        return None
    return next(season for season, error in sorted(zip(peaks, errors, strict=True)) if error <= min(_CLOSE * best, GAIN * naive))


def _peaks(series: Sequence[Values]) -> list[int]:
    """The lags of the highest peaks of the mean autocorrelation, none below 2."""
    longest = max(len(values) for values in series) // 2
    if longest < 3:
        return []
    total = np.zeros(longest + 1)
    for values in series:
        changes = np.diff(values)
        changes = changes - changes.mean()
        size = 1 << (2 * len(values)).bit_length()
        found = np.fft.irfft(np.abs(np.fft.rfft(changes, size)) ** 2, size)[: min(longest + 1, len(values) // 2 + 1)]
        if found[0] > 0:
            total[: len(found)] += found / found[0]
    inner = np.arange(2, longest)
    least = _CLEAR / np.sqrt(sum(map(len, series)))
    peaks = inner[(total[2:-1] > least) & (total[2:-1] >= total[1:-2]) & (total[2:-1] >= total[3:])]
    return [int(lag) for lag in sorted(peaks, key=lambda lag: -total[lag])[:CANDIDATES]]


def _errors(series: Sequence[Values], seasons: list[int], horizon: int) -> tuple[float, list[float]]:
    """The mean absolute errors of the seasonal naive forecasts, the first one and the others, over the same steps."""
    ahead = np.arange(1, horizon + 1)
    errors = np.zeros(len(seasons))
    every = max(1, sum(map(len, series)) // _ORIGINS)
    for values in series:
        origins = np.arange(min(max(seasons), len(values) // 2), len(values) - horizon)[::every]
        truth, deviation = values[origins[:, None] + ahead], values.std() or 1.0
        for n, season in enumerate(seasons):
            at = origins[:, None] + ahead - season * -(-ahead // season)
            errors[n] += np.abs(values[np.maximum(at, 0)] - truth).sum() / deviation
    return float(errors[0]), [float(error) for error in errors[1:]]
