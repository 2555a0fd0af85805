"""The calendar of a series: the step between its times, and the times that come next.

Three kinds of calendar are tried: a fixed length (1 hour), days of the month (its end, its third Friday, the last
business day, the 1st and the 15th; each month, quarter or year) and times of the week (business days, trading hours).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from carousel.data.dates import date_of, formats_of, written
from carousel.errors import InputError
from carousel.plain import typed

if TYPE_CHECKING:
    from carousel.data.csv import Series

_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0))
_DAY, _WEEK = 86400 * 10**6, 7 * 86400 * 10**6  # microseconds
_MONDAY = -3 * _DAY  # 1969-12-29
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_WHICH = ("first", "second", "third", "fourth")
_REGULAR = 0.1
"""The share of steps up to which others than the usual one are gaps; above it a series is irregular."""


@dataclass(frozen=True)
class Step:
    """The usual step between two times of a series.

    size:     how many units: seconds, days of the month that count, times of the week that count; of numbers, their unit.
    unit:     "second", "month", "week" or "".
    others:   how many steps are of another length.
    longest:  the longest step.
    rule:     of the unit "month", the days that count: "1", "31" (a shorter month's last), "1 15", "last business day".
    slots:    of the unit "week", the times that count, in seconds since Monday.
    regular:  whether so few steps are of another length that the times to come are known.
    """

    size: float
    unit: str
    others: int
    longest: float
    rule: str = "1"
    slots: tuple[float, ...] = ()
    regular: bool = True

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Step:
        """The inverse of `dataclasses.asdict`, after a way through JSON; InputError where it is damaged."""
        return typed(table, cls, "prepared.json: step")

    def told(self, size: float | None = None) -> str:
        """A length in words, "1 hour"; by default that of the usual step."""
        size = self.size if size is None else size
        unit = self.unit
        if unit == "second":
            unit, length = next((unit for unit in _UNITS if size >= unit[1] and size % unit[1] == 0), _UNITS[-1])
            size /= length
        elif unit == "week":
            unit = "business day" if self._days() == _WEEKDAYS[:5] else "time" if size == 1 else "times"
            if unit.startswith("time"):
                return f"{size:g} {unit} of the week's {len(self.slots)}"
        elif unit == "month" and " " in self.rule and self.rule[0].isdigit():
            return f"{size:g} of the days {self.rule} of the month"
        return f"{size:g} {unit}{'s' if size != 1 else ''}" if unit else f"{size:g}"

    def described(self) -> str:
        """The calendar in words: "hourly", "monthly, on the last day"."""
        if not self.regular:
            return f"at irregular steps ({self.others:,} are not {self.told()}; the times to come are not given)"
        often = {"1 second": "every second", "1 minute": "every minute", "1 hour": "hourly", "1 day": "daily", "7 days": "weekly"}
        if self.unit == "week":
            days = self._days()
            if days:
                return "on business days" if days == _WEEKDAYS[:5] else f"every {', '.join(days)}"
            return f"at {len(self.slots)} times of the week"
        if self.unit != "month":
            return often.get(self.told(), f"every {self.told()}")
        parts = len(_parts(self.rule))
        if parts > 1:
            return f"on the days {self.rule.replace(' ', ', ')} of each month"
        how_often = {1: "monthly", 3: "quarterly", 12: "yearly"}.get(int(self.size), f"every {self.told()}")
        day = {"1": "", "31": ", on the last day"}.get(self.rule)
        return f"{how_often}{day if day is not None else f', on the {self.rule}' if ' ' in self.rule else f', on day {self.rule}'}"

    def _days(self) -> tuple[str, ...]:
        """The days of the week that count, where each counts once, at the same time of day."""
        days = [divmod(slot, 86400) for slot in self.slots]
        return tuple(_WEEKDAYS[int(day)] for day, _ in days) if len({time for _, time in days}) == 1 else ()

    def positions(self, values: np.ndarray) -> np.ndarray:
        """(n,) how many of its units each time is away from a fixed one; NaN where it is no time of the calendar.

        Args:
            values:  (n,) times as `step_of` takes them.
        """
        if self.unit == "":
            return values - values[0]
        us = _microseconds(values)
        if self.unit == "second":
            return (us - us[0]) / 1e6
        if self.unit == "month":
            return _month_positions(us, self.rule)
        slots = np.array([round(slot * 1e6) for slot in self.slots])
        week, within = np.divmod(us - _MONDAY, _WEEK)
        at = np.searchsorted(slots, within).clip(max=len(slots) - 1)
        return np.where(slots[at] == within, week * len(slots) + at, np.nan)

    def after(self, date: datetime, n: int) -> datetime:
        """The n-th time after a time of the calendar, on the same clock."""
        if self.unit == "second":
            return date + timedelta(seconds=self.size * n)
        start = date.replace(tzinfo=UTC)
        us = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        at = float(self.positions(np.array([us / 1e6]))[0])
        if np.isnan(at):
            raise InputError(f"forecast: {date} is none of the times of the series, which are {self.described()}")
        position = int(at) + int(self.size) * n
        if self.unit == "week":
            week, slot = divmod(position, len(self.slots))
            later = week * _WEEK + _MONDAY + round(self.slots[slot] * 1e6)
        else:
            parts = _parts(self.rule)
            month, part = divmod(position, len(parts))
            later = int(_of_months(np.array([month], "datetime64[M]"), parts[part]).astype(np.int64)[0]) * _DAY + us % _DAY
        return date + timedelta(microseconds=later - us)


def step_of(values: np.ndarray, dated: bool) -> Step:
    """The calendar that the times follow, and how many of their steps do not.

    Args:
        values:  (n,) times, strictly increasing: seconds since 1970 where they are dates, else numbers.
        dated:   whether they are dates.
    """
    unit = "second" if dated else ""
    if len(values) < 2:
        return Step(1.0, unit, 0, 1.0, regular=False)
    if not dated:
        return _usual(_rounded_steps(values), "")
    us = _microseconds(values)
    steps = np.diff(us)
    fixed = _usual(steps / 1e6, "second")
    by_month = _by_month(us) if steps.min() >= 8 * _DAY else []
    single = [step for step in by_month if step.regular and step.rule.isdigit()]
    if single:
        return single[0]
    if fixed.others == 0:
        return fixed
    best = min((step for step in [*by_month, *_by_week(us)] if step.regular), key=lambda step: step.others, default=fixed)
    return best if 2 * best.others <= fixed.others else fixed


def contradicts(values: np.ndarray, step: Step) -> bool:
    """Whether the steps between (n,) times are, but for gaps, not those of a regular calendar."""
    if not step.regular or len(values) < 2:
        return False
    steps = np.diff(step.positions(values)) / step.size
    off = ~(np.abs(steps - np.round(steps)) < 1e-6)  # NaN is off too
    rare = len(steps) > 1 and np.mean(np.round(steps) == 1) < 0.3
    return bool(off.mean() > _REGULAR or rare)


def steps_table(series: Sequence[Series]) -> dict[str, Any]:
    """As plain values: "step", that of most series, and "steps", of each series of another calendar, by its id."""

    def key(one: Series) -> Step:
        return replace(one.step, others=0, longest=0.0)

    usual = Counter(map(key, series)).most_common(1)[0][0]
    first = next(one for one in series if key(one) == usual)
    return {"step": asdict(first.step), "steps": {one.id: asdict(one.step) for one in series if key(one) != usual}}


def step_in(table: Mapping[str, Any], one: Series) -> Step:
    """The calendar of a series as training found it, in what `steps_table` made; of an older run, that of the series itself."""
    if "steps" not in table and len(one) > 1:
        return one.step
    own = table.get("steps", {}).get(one.id)
    return Step.from_table(own or table.get("step", {}))


def check_steps(series: Sequence[Series], table: Mapping[str, Any], source: object) -> None:
    """Refuse series whose times contradict the calendar that `steps_table` kept.

    Raises:
        InputError: the first such series.
    """
    for one in series:
        step = step_in(table, one)
        if not one.numbered and contradicts(one.clock, step):
            name = f"{one.time_name} of {one.id!r}" if one.id else one.time_name
            raise InputError(
                f"{source}: {name}: the rows are {one.step.described()} ({one.times[0]}, {one.times[1]}, ...), "
                f"those of the training {step.described()}; give rows at the steps of the training"
            )


def following(last: str, step: Step, count: int, format: str | None = None) -> list[str]:
    """The next `count` times after the text `last`, written like it; each "" where the steps are irregular.

    Args:
        last:    the last time.
        step:    the calendar.
        count:   how many times.
        format:  of `last`, as `carousel.data.dates` has it; None to look.

    Raises:
        InputError: they are past the year 9999, or `last` is no time of the calendar.
    """
    if format is None:
        format = (formats_of([last]) or ["number"])[0]
        if step.unit == "" and "%" in format:
            raise InputError(f"{last!r} looks like a date ({format}), but the steps are those of numbers; say how it is read")
    if not step.regular:
        return [""] * count
    if step.unit == "":
        begin, size = Decimal(last), Decimal(str(step.size)).normalize()
        decimals = max(0, *(-int(number.as_tuple().exponent) for number in (begin, size)))
        return [f"{begin + size * n:.{decimals}f}" for n in range(1, count + 1)]
    try:
        date = date_of(last, format)
        return written([step.after(date, n) for n in range(1, count + 1)], format, last)
    except (ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"no calendar has the {count} times after {last!r}") from None


def _usual(steps: np.ndarray, unit: str, **more: Any) -> Step:
    size, count = Counter(steps.tolist()).most_common(1)[0]
    others = len(steps) - count
    return Step(size, unit, others, steps.max().item(), regular=others <= _REGULAR * len(steps), **more)


def _rounded_steps(values: np.ndarray) -> np.ndarray:
    """The differences of numbers, without the digits that float64 adds."""
    if values.dtype == np.int64:
        return np.diff(values)
    largest = float(np.abs(values).max())
    digits = 14 - int(np.floor(np.log10(largest))) if largest else 14
    return np.array([round(step, digits) for step in np.diff(values).tolist()])


def _microseconds(values: np.ndarray) -> np.ndarray:
    return np.round(values * 1e6).astype(np.int64)


def _by_month(us: np.ndarray) -> list[Step]:
    """The calendars of days of the month that all times are on."""
    found = []
    for rule in _rules(us // _DAY):
        at = _month_positions(us, rule)
        if not np.isnan(at).any():
            found.append(_usual(np.diff(at), "month", rule=rule))
    return [step for step in found if len(_parts(step.rule)) == 1 or (step.size == 1 and len(us) >= 4 * len(_parts(step.rule)))]


def _rules(days: np.ndarray) -> Iterator[str]:
    """Which days of the month they may be, the simplest first."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    numbers = (dates - months.astype("datetime64[D]")).astype(np.int64) + 1
    ends = dates == (months + 1).astype("datetime64[D]") - 1
    yield "31"
    yield str(numbers.max())
    yield "first business day"
    yield "last business day"
    weekday = _WEEKDAYS[int(days[0] + 3) % 7]
    for which in (*_WHICH, "last"):
        yield f"{which} {weekday}"
    several = sorted({*numbers[~ends].tolist(), *([31] if ends.any() else [])})
    if 2 <= len(several) <= 3:
        yield " ".join(map(str, several))


def _parts(rule: str) -> list[str]:
    """The days of the month of a rule, one by one."""
    return rule.split() if rule[0].isdigit() else [rule]


def _month_positions(us: np.ndarray, rule: str) -> np.ndarray:
    """(n,) months since 1970, times the days that count in a month; NaN at another day or time of day."""
    dates = (us // _DAY).astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    parts = _parts(rule)
    on = np.array([_of_months(months, part) == dates for part in parts]) & (us % _DAY == us[0] % _DAY)
    return np.where(on.any(0), months.astype(np.int64) * len(parts) + on.argmax(0), np.nan)


def _of_months(months: np.ndarray, day: str) -> np.ndarray:
    """(n,) the date of each month that is its day "15", "31" (or the last), "third Friday" or "last business day"."""
    first, last = months.astype("datetime64[D]"), (months + 1).astype("datetime64[D]") - 1
    if day.isdigit():
        return np.minimum(first + int(day) - 1, last)
    which, _, name = day.partition(" ")
    mask = [(name == "business day" and n < 5) or name == weekday for n, weekday in enumerate(_WEEKDAYS)]
    if which == "last":
        return np.busday_offset(last, 0, roll="backward", weekmask=mask)
    return np.busday_offset(first, _WHICH.index(which), roll="forward", weekmask=mask)


def _by_week(us: np.ndarray) -> list[Step]:
    """The calendar of the times of the week that occur, where some never do in two weeks or more."""
    base = int(np.gcd.reduce(np.diff(us)))
    slots = np.unique((us - _MONDAY) % _WEEK)
    if us[-1] - us[0] < 2 * _WEEK or _WEEK % base or len(slots) == _WEEK // base:
        return []
    step = Step(1.0, "week", 0, 1.0, slots=tuple(slot / 1e6 for slot in slots.tolist()))
    found = _usual(np.diff(step.positions(us / 1e6)), "week", slots=step.slots)
    return [found] if found.size == 1 and len(us) >= 2 * len(slots) else []


PERIODS = {"hour of day": 86400.0, "day of week": 7 * 86400.0, "day of year": 365.2425 * 86400.0}
"""What `calendar` can tell of a date, by its period in seconds."""


def calendar_of(step: Step) -> tuple[str, ...]:
    """The keys of PERIODS that a series of dates goes through in more than two steps."""
    unit = {"month": 365.2425 / 12 * 86400.0 / len(_parts(step.rule)), "week": 7 * 86400.0 / max(len(step.slots), 1)}
    return tuple(name for name, period in PERIODS.items() if 2 * step.size * unit.get(step.unit, 1.0) < period)


def calendar(values: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(n, 2 * len(names)): sine and cosine of where each date stands in each period; 1970-01-01 00:00 UTC is at angle 0."""
    angles = [2 * np.pi * (values / PERIODS[name] % 1) for name in names]
    return np.stack([turn(angle) for angle in angles for turn in (np.sin, np.cos)], axis=1) if names else np.empty((len(values), 0))
