"""Times of a series: texts read as dates or numbers, the step between them, and the texts of the times that come next."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from carousel.errors import InputError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))


def is_date(text: str) -> bool:
    """Whether it is an ISO date; a bare year or a number is none."""
    try:
        date_value(text)
    except (ValueError, OverflowError):
        return False
    return "-" in text


def date_value(text: str) -> float:
    """Seconds since 1970 of an ISO date, UTC where it names no zone; a month stands for its first day."""
    date = _date(text)
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return (date - EPOCH).total_seconds()


def number_value(text: str) -> float:
    """A finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(f"{text}-01")


@dataclass(frozen=True)
class Step:
    """The usual step between two times of a series.

    size:     its length in seconds, months or, of numbers, in their unit.
    unit:     "second", "month" or "".
    others:   how many steps are of another length.
    longest:  the longest step.
    """

    size: float
    unit: str
    others: int
    longest: float

    def told(self, size: float | None = None) -> str:
        """A length in words, "1 hour"; by default that of the usual step."""
        size = self.size if size is None else size
        unit = self.unit
        if unit == "second":
            unit, length = next((unit for unit in _UNITS if size >= unit[1] and size % unit[1] == 0), _UNITS[-1])
            size /= length
        return f"{size:g} {unit}{'s' if size != 1 else ''}" if unit else f"{size:g}"


def step_of(values: np.ndarray, dated: bool) -> Step:
    """The step that most neighbours are apart: in months where every time is a month's first moment, else in seconds.

    Args:
        values:  (n,) times, strictly increasing: seconds since 1970 where they are dates, else numbers.
        dated:   whether they are dates.
    """
    if len(values) < 2:
        return Step(1.0, "second" if dated else "", 0, 1.0)
    unit = "second" if dated else ""
    if dated and (months := _months(values)) is not None:
        values, unit = months, "month"
    steps = np.round(np.diff(values), 6)
    size, count = Counter(steps.tolist()).most_common(1)[0]
    return Step(size, unit, len(steps) - count, float(steps.max()))


def _months(values: np.ndarray) -> np.ndarray | None:
    """(n,) months since 1970 where all times are the first moment of a month; None where one is not."""
    moments = values.astype("datetime64[s]")
    months = moments.astype("datetime64[M]")
    return months.astype(np.float64) if (months == moments).all() else None


def following(last: str, step: Step, count: int) -> list[str]:
    """The next `count` times after the text `last`, written like it.

    Raises:
        InputError: they are past the year 9999.
    """
    if step.unit == "":
        return [f"{number_value(last) + step.size * n:.12g}" for n in range(1, count + 1)]
    date = _date(last)
    try:
        dates = [_later(date, step, n) for n in range(1, count + 1)]
    except (ValueError, OverflowError):
        raise InputError(f"no calendar has the {count} times after {last!r}") from None
    if len(last) == len("2001-01"):
        return [f"{date:%Y-%m}" for date in dates]
    if len(last) == len("2001-01-31") and all(date.time() == datetime.min.time() for date in dates):
        return [f"{date:%Y-%m-%d}" for date in dates]
    separator = "T" if "T" in last else " "
    whole_minutes = last.count(":") == 1 and all(date.second == 0 for date in dates)
    return [date.isoformat(separator, "minutes" if whole_minutes and date.tzinfo is None else "auto") for date in dates]


def _later(date: datetime, step: Step, n: int) -> datetime:
    if step.unit != "month":
        return date + timedelta(seconds=step.size * n)
    year, month = divmod(date.year * 12 + date.month - 1 + int(step.size) * n, 12)
    return date.replace(year=year, month=month + 1)


PERIODS = {"hour of day": 86400.0, "day of week": 7 * 86400.0, "day of year": 365.2425 * 86400.0}
"""What `calendar` can tell of a date, by its period in seconds."""


def calendar_of(step: Step) -> tuple[str, ...]:
    """The keys of PERIODS that a series of dates goes through in more than two steps."""
    seconds = step.size * (365.2425 / 12 * 86400.0 if step.unit == "month" else 1.0)
    return tuple(name for name, period in PERIODS.items() if 2 * seconds < period)


def calendar(values: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(n, 2 * len(names)): sine and cosine of where each date stands in each period; 1970-01-01 00:00 UTC is at angle 0."""
    angles = [2 * np.pi * (values / PERIODS[name] % 1) for name in names]
    return np.stack([turn(angle) for angle in angles for turn in (np.sin, np.cos)], axis=1) if names else np.empty((len(values), 0))
