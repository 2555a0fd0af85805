"""Features: what a network is given at each step besides the series itself, learned from the training part alone.

In this order: a flag whether the value is there (where the training part has gaps), each column, the
calendar. Of a column of numbers: the value, scaled to mean 0 and deviation 1 in training, the last known
one at a gap, and a flag as above. Of a column of texts: a one for the text that it is, of those that
training has most often. Of a column that is known ahead: the same of each of the next `horizon` steps too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from carousel.data.csv import Series, filled
from carousel.data.sequences import mean_and_deviation
from carousel.data.times import PERIODS, calendar, calendar_of
from carousel.errors import InputError

MOST_TEXTS = 12
"""Different texts of a column that are told apart; the others, rarer in training, are as one without any."""


@dataclass(frozen=True)
class Column:
    """How a column becomes features.

    name:             of the column.
    known:            whether the next `horizon` values are given too.
    texts:            those that are told apart, most frequent first; empty for a column of numbers.
    mean, deviation:  of a column of numbers in training.
    flag:             whether it has gaps in training, so that it is told whether a value is there.
    """

    name: str
    known: bool
    texts: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0
    flag: bool = False

    def encode(self, cells: np.ndarray | list[str], horizon: int) -> np.ndarray:
        """(n, size) of n cells; past the last cell the last one is repeated."""
        if isinstance(cells, list):
            now = np.array([[cell == text for text in self.texts] for cell in cells], dtype=np.float64)
        else:
            now = ((filled(cells, self.mean) - self.mean) / self.deviation)[:, None]
        if self.known:
            ahead = np.minimum(np.arange(len(now))[:, None] + np.arange(horizon + 1), len(now) - 1)
            now = now[ahead].reshape(len(now), -1)
        flag = [~np.isnan(cells)[:, None]] if self.flag and not isinstance(cells, list) else []
        return np.concatenate([now, *flag], axis=1)

    def size(self, horizon: int) -> int:
        """How many features it gives."""
        return max(len(self.texts), 1) * (horizon + 1 if self.known else 1) + self.flag


@dataclass(frozen=True)
class Features:
    """What stands beside the value of a series at each step.

    columns:   the other columns.
    calendar:  periods, keys of `carousel.data.times.PERIODS`.
    flag:      whether it is told if the value is there.
    horizon:   how many steps ahead the known columns are given.
    """

    columns: tuple[Column, ...]
    calendar: tuple[str, ...]
    flag: bool
    horizon: int

    @classmethod
    def of(cls, training: Sequence[Series], known: Sequence[str], by_calendar: bool | None, horizon: int) -> Features:
        """Learned from the training parts of all series; the calendar, if by_calendar is None, where it goes round twice in one.

        Raises:
            InputError: a column that has nothing in training, a calendar without dates.
        """
        if by_calendar and not training[0].dated:
            raise InputError(f"forecast: calendar needs dates; the times ({training[0].time_name}) are numbers")
        columns = []
        for name in training[0].columns:
            cells = [series.columns[name] for series in training]
            if isinstance(cells[0], list):
                counts = Counter(text for part in cells for text in part if text)
                if not counts:
                    raise _nothing(name)
                texts = sorted(counts, key=lambda text: (-counts[text], text))[:MOST_TEXTS]
                columns.append(Column(name, name in known, tuple(texts)))
                continue
            values = np.concatenate([np.asarray(part) for part in cells])
            there = values[~np.isnan(values)]
            if not len(there):
                raise _nothing(name)
            mean, deviation = mean_and_deviation(there)  # a column that does not vary in training is 0 there
            columns.append(Column(name, name in known, (), float(mean), float(deviation), len(there) < len(values)))
        flag = any(np.isnan(series.values).any() for series in training)
        names = calendar_of(training[0].step) if by_calendar or (by_calendar is None and training[0].dated) else ()
        if by_calendar is None:
            longest = max(float(series.moments[-1] - series.moments[0]) for series in training)
            names = tuple(name for name in names if 2 * PERIODS[name] <= longest)
        return cls(tuple(columns), names, flag, horizon)

    @property
    def size(self) -> int:
        """How many features a step has."""
        return self.flag + sum(column.size(self.horizon) for column in self.columns) + 2 * len(self.calendar)

    def encode(self, series: Series) -> np.ndarray:
        """(n, size) the features of a series' steps."""
        parts = [~np.isnan(series.values)[:, None]] if self.flag else []
        parts += [column.encode(series.columns[column.name], self.horizon) for column in self.columns]
        return np.concatenate([np.empty((len(series), 0)), *parts, calendar(series.moments, self.calendar)], axis=1)

    def table(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Features:
        """The inverse of `table`, after a way through JSON."""
        columns = tuple(Column(**{**column, "texts": tuple(column["texts"])}) for column in table["columns"])
        return cls(columns, tuple(table["calendar"]), table["flag"], table["horizon"])


def _nothing(name: str) -> InputError:
    return InputError(f"forecast: the column {name!r} has no value in the training part")
