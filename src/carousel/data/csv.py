"""One series from a CSV file, checked cell by cell.

The file is UTF-8, its cells separated by commas, its first row the names of the columns. Rows are
counted as in the file: the row of names is row 1. Empty lines at the end do not count.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from carousel.errors import InputError

_GAPS = ("", "na", "n/a", "nan", "null")


@dataclass(frozen=True)
class Series:
    """n values in their own unit, oldest first, each with its time.

    name:       the column of the values.
    values:     (n,) float64, all finite.
    times:      n texts, as the file has them; row numbers where it has no column of times.
    time_name:  the column of the times, or "row".
    """

    name: str
    values: np.ndarray
    times: list[str]
    time_name: str


def read_series(path: Path | str, target: str, time: str | None = None) -> Series:
    """The column `target` of a CSV file as a series.

    Args:
        path:    the file.
        target:  the column of values: numbers, without gaps.
        time:    the column of times: ISO dates (1749-01, 1749-01-31, 1749-01-31 12:00) or numbers,
                 strictly increasing. None: the first other column that begins with such a date;
                 where there is none, the rows are numbered.

    Raises:
        InputError: a file that cannot be read, a column that is not there, a cell that is empty or
            no number, times that repeat or run backwards; with the row and the column.
    """
    path = Path(path)
    columns = _columns(path)
    for name in (target,) if time is None else (target, time):
        if name not in columns:
            raise InputError(f"{path}: no column {name!r}; the columns are: {_listed(_nearest_first(name, list(columns)))}")
    if time is None:
        time = next((name for name, cells in columns.items() if name != target and _is_date(cells[0])), None)
    values = _numbers(path, target, columns[target])
    if time is None:
        return Series(target, values, [str(row) for row in range(2, len(values) + 2)], "row")
    _check_times(path, time, columns[time])
    return Series(target, values, columns[time], time)


def _columns(path: Path) -> dict[str, list[str]]:
    """name -> cells, all as stripped text, "" for an empty one; at least one row."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: row {row} is not UTF-8 text; save the file as CSV in UTF-8") from None
    try:
        # Read as a table of text without header, so that row numbers are those of the file and names stay as they are.
        table = pl.read_csv(io.BytesIO(text.encode()), has_header=False, infer_schema=False)
    except pl.exceptions.NoDataError:
        raise _empty(path) from None
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: not a CSV table: {str(error).splitlines()[0]}") from None
    rows = [[(cell or "").strip() for cell in row] for row in table.rows()]
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        raise _empty(path)
    names, rows = rows[0], rows[1:]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: row 1 names two columns {name!r}; expected names that differ")
    if not rows:
        raise InputError(f"{path}: no rows of values under the names {_listed(names)}")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _empty(path: Path) -> InputError:
    return InputError(f"{path}: the file is empty; expected a row of column names, then rows of values")


def _numbers(path: Path, name: str, cells: list[str]) -> np.ndarray:
    values = pl.Series(cells).cast(pl.Float64, strict=False).to_list()
    for row, (cell, value) in enumerate(zip(cells, values, strict=True), start=2):
        if cell.lower() in _GAPS:
            raise InputError(f"{path}: row {row}, column {name!r}: no value ({cell!r}); fill or cut gaps first")
        if value is None or not math.isfinite(value):
            raise InputError(f"{path}: row {row}, column {name!r}: expected a number, got {_short(cell)}")
    return np.array(values, dtype=np.float64)


def _check_times(path: Path, name: str, cells: list[str]) -> None:
    """Strictly increasing dates, or strictly increasing numbers."""
    kind = _date if _is_date(cells[0]) else _number
    times = []
    for row, cell in enumerate(cells, start=2):
        try:
            times.append(kind(cell))
        except ValueError:
            expected = "an ISO date, as in the first row" if kind is _date else "an ISO date or a number"
            raise InputError(f"{path}: row {row}, column {name!r}: expected {expected}, got {_short(cell)}") from None
    for row, ((before, now), cell) in enumerate(zip(pairwise(times), cells[1:], strict=True), start=3):
        if now == before:
            raise InputError(f"{path}: row {row}, column {name!r}: the time {_short(cell)} stands in the row above already")
        if now < before:
            raise InputError(f"{path}: row {row}, column {name!r}: {_short(cell)} is before the row above; sort the rows by time")


def _is_date(cell: str) -> bool:
    try:
        _date(cell)
    except ValueError:
        return False
    return "-" in cell


def _date(cell: str) -> float:
    """Seconds since 1970 of an ISO date, UTC where it names no zone; a month stands for its first day."""
    try:
        date = datetime.fromisoformat(cell)
    except ValueError:
        date = datetime.fromisoformat(f"{cell}-01")
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return (date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


def _number(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def _nearest_first(name: str, names: list[str]) -> list[str]:
    return sorted(names, key=lambda other: -SequenceMatcher(None, name.lower(), other.lower()).ratio())


def _listed(names: list[str]) -> str:
    return ", ".join(map(_short, names))


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:37]}...")
