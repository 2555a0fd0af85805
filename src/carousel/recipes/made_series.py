"""Series of known make, for the forecasts of the recipe own-data: what real files have, each by itself.

Each function draws from a generator of its own and gives the rows of a CSV file, names first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, timedelta

import numpy as np

Rows = list[list[str]]


def _days(n: int) -> list[str]:
    return [(date(2015, 1, 1) + timedelta(days=k)).isoformat() for k in range(n)]


def _table(names: list[str], *columns: Iterable[str]) -> Rows:
    return [names, *map(list, zip(*columns, strict=True))]


def week_and_year() -> Rows:
    """Four years of days: a week, a year, a slow trend, and noise that persists."""
    rng, n = np.random.default_rng(1), 4 * 365
    day = np.arange(n)
    week = np.array([0.0, 3.0, 4.0, 3.5, 2.0, -6.0, -7.0])[day % 7]
    noise = np.zeros(n)
    for k in range(1, n):
        noise[k] = 0.7 * noise[k - 1] + rng.normal(0, 2)
    values = 100 + 0.01 * day + week * (1 + 0.4 * np.sin(2 * np.pi * day / 365.25)) + 15 * np.sin(2 * np.pi * day / 365.25) + noise
    return _table(["date", "demand"], _days(n), (f"{value:.2f}" for value in values))


def intermittent_sales() -> Rows:
    """Three years of daily sales of one article: mostly none, more before the weekend and when it is on offer."""
    rng, n = np.random.default_rng(2), 3 * 365
    day = np.arange(n)
    offer = (rng.random(n // 14 + 1) < 0.2).repeat(14)[:n]
    rate = 0.25 * np.array([0.6, 0.6, 0.7, 1.0, 1.8, 2.0, 0.3])[day % 7] * np.where(offer, 4.0, 1.0)
    sold = rng.poisson(rate * rng.gamma(1.5, 1 / 1.5, n))
    return _table(["date", "sold", "offer"], _days(n), map(str, sold), map(str, offer.astype(int)))


def many_short_series() -> Rows:
    """Sixty shops, three years of months each: levels from 10 to 10,000, one shape of the year, growth of their own."""
    rng, months = np.random.default_rng(3), 48
    rows = [["shop", "month", "sales"]]
    shape = np.exp(0.3 * np.sin(2 * np.pi * (np.arange(months) - 3) / 12) + 0.15 * np.cos(4 * np.pi * np.arange(months) / 12))
    for shop in range(60):
        level, growth = 10 ** rng.uniform(1, 4), rng.normal(0.004, 0.006)
        values = level * shape * np.exp(growth * np.arange(months) + rng.normal(0, 0.06, months))
        rows += [[f"shop {shop:02d}", f"{2019 + k // 12}-{k % 12 + 1:02d}-01", f"{value:.2f}"] for k, value in enumerate(values)]
    return rows


def drifting_level() -> Rows:
    """A hundred days of hours: a level that drifts far from where it began, and a day whose height follows the hour before."""
    rng, n = np.random.default_rng(4), 2400
    level = rng.normal(0.05, 0.6, n).cumsum()
    hour = np.arange(n) % 24
    values = (
        500 + level + 8 * np.sin(2 * np.pi * hour / 24) * (1 + 0.5 * np.tanh(np.diff(level, prepend=0.0))) + rng.normal(0, 0.5, n)
    )
    times = (f"{day}T{h:02d}:00" for day in _days(n // 24) for h in range(24))
    return _table(["time", "value"], times, (f"{value:.3f}" for value in values))


MADE: dict[str, Callable[[], Rows]] = {
    "week-and-year": week_and_year,
    "intermittent-sales": intermittent_sales,
    "many-short-series": many_short_series,
    "drifting-level": drifting_level,
}
