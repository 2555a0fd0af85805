"""Series from a CSV file, checked cell by cell.

The file is UTF-8, plain or gzip, its cells separated by commas, its first row the names of the columns.
Rows are counted as in the file: the row of names is row 1. Empty lines at the end do not count. A cell
that is empty or says NA, N/A, NaN or null is a gap.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from carousel.data.files import read_bytes, shortened
from carousel.data.times import Step, date_value, is_date, number_value, step_of
from carousel.errors import InputError

_GAPS = ("", "na", "n/a", "nan", "null")
_PARTS = ("year", "month", "day", "hour", "minute", "second")


@dataclass(frozen=True)
class Series:
    """n values in their own unit, oldest first, each with its time.

    Attributes:
        name:       the column of the values.
        values:     (n,) float64, NaN at a gap.
        times:      n texts, as the file has them; row numbers where it has no column of times.
        time_name:  the column of the times; "time" where they are several, "row" where there is none.
        moments:    (n,) the times as numbers, strictly increasing: seconds since 1970 where they are dates.
        dated:      whether the times are dates.
        id:         what tells the series apart from the others in the file; "" where it is alone.
        columns:    other columns by name: (n,) float64 with NaN at gaps, or n texts with "" at gaps.
    """

    name: str
    values: np.ndarray
    times: list[str]
    time_name: str
    moments: np.ndarray
    dated: bool = False
    id: str = ""
    columns: dict[str, np.ndarray | list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def step(self) -> Step:
        """The usual step between two times."""
        return step_of(self.moments, self.dated)

    def cut(self, stop: int | None, start: int | None = None) -> Series:
        """Its part from index `start` on, before index `stop`."""
        part = slice(start, stop)
        columns = {name: cells[part] for name, cells in self.columns.items()}
        return replace(self, values=self.values[part], times=self.times[part], moments=self.moments[part], columns=columns)

    def filled(self) -> Series:
        """With the last known number at each gap that has one before it."""
        columns = {name: cells if isinstance(cells, list) else filled(cells, np.nan) for name, cells in self.columns.items()}
        return replace(self, values=filled(self.values, np.nan), columns=columns)


def joined(before: Series, after: Series) -> Series:
    """One series of two parts that follow on one another."""
    columns = {name: _joined(cells, after.columns[name]) for name, cells in before.columns.items()}
    return replace(
        before,
        values=_joined(before.values, after.values),
        times=before.times + after.times,
        moments=_joined(before.moments, after.moments),
        columns=columns,
    )


def _joined(before: Any, after: Any) -> Any:
    return before + after if isinstance(before, list) else np.concatenate([before, after])


def filled(values: np.ndarray, first: float) -> np.ndarray:
    """The values with the last known one at each gap, and `first` before there is one."""
    there = np.where(np.isnan(values), -1, np.arange(len(values)))
    latest = np.maximum.accumulate(there)
    return np.where(latest < 0, first, values[latest])


def gaps(values: np.ndarray) -> tuple[int, int]:
    """How many values are missing, and how many of the longest gap."""
    missing = np.isnan(values)
    edges = np.diff(np.concatenate(([0], missing, [0])).astype(np.int64))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return int(missing.sum()), int(lengths.max(initial=0))


@dataclass(frozen=True)
class Table:
    """The cells of a table as stripped text.

    source:     what messages call it.
    cells:      column -> n texts, "" for an empty cell.
    first_row:  what messages call its first row.
    """

    source: str
    cells: dict[str, list[str]]
    first_row: int = 2

    def place(self, n: int, *names: str) -> str:
        """How messages call row n, counted from 0, and columns in it."""
        columns = f", column{'s' if len(names) > 1 else ''} {_listed(names)}" if names else ""
        return f"{self.source}: row {n + self.first_row}{columns}"


def read_series(path: Path | str, target: str, time: str | Sequence[str] | None = None) -> Series:
    """The column `target` of a CSV file as one series; the arguments are those of `series_of`."""
    return series_of(read_table(path), target, time)[0]


def series_of(
    table: Table,
    target: str,
    time: str | Sequence[str] | None = None,
    *,
    id: str | None = None,
    columns: Sequence[str] = (),
    texts: Sequence[str] | None = None,
) -> list[Series]:
    """The column `target` of a table, cut into a series for each value of the column `id`, in the table's order.

    Args:
        table:    as `read_table` gives it.
        target:   the column of values: numbers, or gaps.
        time:     the column of times: ISO dates (1749-01, 1749-01-31, 1749-01-31 12:00) or numbers, strictly
                  increasing within a series; or several columns: a date and a time of day, or whole
                  numbers for year, month, day, hour, minute, second, as many as there are. None: the first
                  other column that begins with such a date; where there is none, the rows are numbered.
        id:       the column that tells series apart. None: the table is one series.
        columns:  other columns to keep: numbers where the first cell that is no gap is one, else texts.
        texts:    which of `columns` are texts; None to look.

    Raises:
        InputError: a column that is not there, a cell that is no number, times that repeat or run
            backwards; with the row and the column.
    """
    cells = table.cells
    times = [time] if isinstance(time, str) else list(time or ())
    for name in (target, *times, *([id] if id else []), *columns):
        if name not in cells:
            raise InputError(f"{table.source}: no column {name!r}; the columns are: {_listed(_nearest_first(name, list(cells)))}")
    if not times:
        times = [name for name, column in cells.items() if name not in (target, id) and is_date(column[0])][:1]
    values = _numbers(table, target)
    found, moments, dated = _times(table, times, len(values))
    others: dict[str, np.ndarray | list[str]] = {}
    for name in columns:
        first = next((cell for cell in cells[name] if not _gap(cell)), "0")
        if name in texts if texts is not None else math.isnan(_as_number(first)):
            others[name] = ["" if _gap(cell) else cell for cell in cells[name]]
        else:
            others[name] = _numbers(table, name)
    called = ("row", *times)[-1] if len(times) < 2 else "time"
    series = []
    for key, rows in _rows_by(table, id, len(values)).items():
        if times:
            _check_increasing(table, times, found, moments, rows)
        own = {
            name: column[rows] if isinstance(column, np.ndarray) else [column[n] for n in rows] for name, column in others.items()
        }
        where = [found[n] for n in rows]
        series.append(Series(target, values[rows], where, called, moments[rows], dated, key, own))
    return series


def _picked(column: np.ndarray | list[str], rows: list[int]) -> np.ndarray | list[str]:
    return column[rows] if isinstance(column, np.ndarray) else [column[n] for n in rows]


def read_table(path: Path | str) -> Table:
    """The cells of a CSV file; at least one row under the names.

    Raises:
        InputError: a file that cannot be read or is no table.
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: row {row} is not UTF-8 text; save the file as CSV in UTF-8") from None
    try:
        # Read as a table of text without header, so that row numbers are those of the file and names stay as they are.
        table = pl.read_csv(io.BytesIO(text.encode()), has_header=False, infer_schema=False)
    except pl.exceptions.NoDataError:
        raise _empty(path) from None
    except (pl.exceptions.PolarsError, OSError) as error:  # OSError: what begins like a compressed file is taken for one
        _check_commas(path, text)
        raise InputError(f"{path}: not a CSV table: {str(error).splitlines()[0]}") from None
    rows = [[(cell or "").strip() for cell in row] for row in table.rows()]
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        raise _empty(path)
    names, rows = rows[0], rows[1:]
    if len(names) == 1:
        _check_commas(path, text)
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: row 1 names two columns {name!r}; expected names that differ")
    if not rows:
        raise InputError(f"{path}: no rows of values under the names {_listed(names)}")
    return Table(str(path), dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def _check_commas(path: Path | str, text: str) -> None:
    """Refuse a table whose cells are apart by something else, or whose rows have more cells than names."""
    first = text.partition("\n")[0]
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if mark in first:
            raise InputError(f"{path}: row 1 has its cells apart by {name}; expected commas, and decimal points in numbers")
    reader = csv.reader(io.StringIO(text))
    try:
        names = len(next(reader, []))
        for cells in reader:
            if names and len(cells) > names:
                told = f"row {reader.line_num} has {len(cells)} cells, the row of names {names}"
                raise InputError(f"{path}: {told}; put a cell that holds a comma in quotes")
    except csv.Error:
        return  # polars has words for it


def _empty(path: Path | str) -> InputError:
    return InputError(f"{path}: the file is empty; expected a row of column names, then rows of values")


def _gap(cell: str) -> bool:
    return cell.lower() in _GAPS


def _as_number(cell: str) -> float:
    """NaN for what is none; Python's own 1_000 is none."""
    try:
        return float(cell) if "_" not in cell else math.nan
    except ValueError:
        return math.nan


def _numbers(table: Table, name: str) -> np.ndarray:
    """(n,) float64 of a column, NaN at gaps."""
    cells = table.cells[name]
    values = np.array([_as_number(cell) for cell in cells])
    for n in np.flatnonzero(~np.isfinite(values)).tolist():
        if not _gap(cells[n]):
            raise InputError(f"{table.place(n, name)}: expected a number, got {shortened(cells[n])}")
    return values


def _times(table: Table, names: list[str], n: int) -> tuple[list[str], np.ndarray, bool]:
    """(texts, values as numbers, whether they are dates) of the columns of times; row numbers where there is none."""
    if not names:
        rows = range(table.first_row, n + table.first_row)
        return [str(row) for row in rows], np.array(rows, dtype=np.float64), False
    if len(names) > 1 and not is_date(table.cells[names[0]][0]):
        texts, expected = _dates(table, names), "a date"
        read: Callable[[str], float] = date_value
    else:
        texts = [" ".join(row) for row in zip(*(table.cells[name] for name in names), strict=True)]
        read = date_value if is_date(texts[0]) else number_value
        expected = "an ISO date, as in the first row" if read is date_value else "an ISO date or a number"
    values = np.empty(n)
    for row, text in enumerate(texts):
        try:
            values[row] = read(text)
        except (ValueError, OverflowError):
            raise InputError(f"{table.place(row, *names)}: expected {expected}, got {shortened(text)}") from None
    return texts, values, read is date_value


def _dates(table: Table, names: list[str]) -> list[str]:
    """ISO dates of columns of whole numbers: year, month, day, hour, minute, second, as many as there are."""
    count = len(names)
    if count > len(_PARTS):
        raise InputError(f"{table.source}: expected at most {len(_PARTS)} columns of times ({', '.join(_PARTS)}), got {count}")
    texts = []
    for row, parts in enumerate(zip(*(table.cells[name] for name in names), strict=True)):
        try:
            numbers = [*map(int, parts), 1][: max(count, 3)]  # a month stands for its first day
            date = datetime(*numbers)  # type: ignore[arg-type]
        except (ValueError, OverflowError):
            expected = f"expected whole numbers for {', '.join(_PARTS[:count])} or an ISO date first"
            raise InputError(f"{table.place(row, *names)}: {expected}, got {shortened(' '.join(parts))}") from None
        texts.append(date.isoformat(" ", "seconds" if count == len(_PARTS) else "minutes")[: (0, 0, 7, 10, 16, 16, 19)[count]])
    return texts


def _rows_by(table: Table, id: str | None, n: int) -> dict[str, list[int]]:
    """The indices of the rows of each series."""
    if id is None:
        return {"": list(range(n))}
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(table.cells[id]):
        if not key:
            raise InputError(f"{table.place(row, id)}: empty; expected the name of a series")
        groups.setdefault(key, []).append(row)
    return groups


def _check_increasing(table: Table, names: list[str], texts: list[str], values: np.ndarray, rows: list[int]) -> None:
    """Strictly increasing within a series."""
    for n in np.flatnonzero(np.diff(values[rows]) <= 0).tolist():
        before, now = rows[n], rows[n + 1]
        above = "the row above" if now == before + 1 else f"row {before + table.first_row}"
        if values[now] == values[before]:
            raise InputError(f"{table.place(now, *names)}: the time {shortened(texts[now])} stands in {above} already")
        raise InputError(f"{table.place(now, *names)}: {shortened(texts[now])} is before {above}; sort the rows by time")


def _nearest_first(name: str, names: list[str]) -> list[str]:
    return sorted(names, key=lambda other: -SequenceMatcher(None, name.lower(), other.lower()).ratio())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shortened, names))
