"""Series from a CSV file, checked cell by cell.

The file is UTF-8 (or UTF-16 with its mark), plain or gzip, its cells separated by commas, semicolons, tabs or bars, its first
row the names of the columns. Rows are counted as in the file: the row of names is row 1. Empty lines at the end do not count.
A cell that is empty or says NA, N/A, NaN or null is a gap, and so is what the caller names. Numbers have a decimal point or a
decimal comma, all alike; thousands may be apart by the other one.
"""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import SequenceMatcher
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from carousel.data import dates
from carousel.data.files import in_utf8, read_bytes, shortened
from carousel.data.times import Step, step_of
from carousel.errors import InputError
from carousel.printable import without_apostrophe

_GAPS = ("", "na", "n/a", "nan", "null")
_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 200  # rows that are looked at for what is between cells
_NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?")
_SPACES = "[ '\u00a0\u202f\u2019]"
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
        format:     how the times were read, as `carousel.data.dates` has it; "row" where they are the numbers of the rows.
        id:         what tells the series apart from the others in the file; "" where it is alone.
        columns:    other columns by name: (n,) float64 with NaN at gaps, or n texts with "" at gaps.
    """

    name: str
    values: np.ndarray
    times: list[str]
    time_name: str
    moments: np.ndarray
    format: str = "number"
    id: str = ""
    columns: dict[str, np.ndarray | list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dated(self) -> bool:
        """Whether the times are dates."""
        return self.format not in ("number", "row")

    @property
    def clock(self) -> np.ndarray:
        """(n,) the moments as a clock on the wall shows them, where all times name one zone."""
        return self.moments + dates.offset(self.times) if self.format == "iso" else self.moments

    @property
    def numbered(self) -> bool:
        """Whether the times are the numbers of its rows."""
        return self.format == "row"

    @cached_property
    def step(self) -> Step:
        """The calendar of its times."""
        return Step(1.0, "", 0, 1.0) if self.numbered else step_of(self.clock, self.dated)

    def cut(self, stop: int | None, start: int | None = None) -> Series:
        """Its part from index `start` on, before index `stop`."""
        part = slice(start, stop)
        columns = {name: cells[part] for name, cells in self.columns.items()}
        return replace(self, values=self.values[part], times=self.times[part], moments=self.moments[part], columns=columns)

    def filled(self) -> Series:
        """With the last known number at each gap that has one before it."""
        columns = {name: cells if isinstance(cells, list) else filled(cells, np.nan) for name, cells in self.columns.items()}
        return replace(self, values=filled(self.values, np.nan), columns=columns)


def reading(series: Sequence[Series], table: Table, names: Sequence[str] | None = None) -> str:
    """Which columns tell the time of the series of a file, and how they were read, in a sentence.

    Args:
        series:  of one file.
        table:   the file.
        names:   the columns, where they were named.
    """
    first = series[0]
    if first.numbered:
        unread = [name for name in table.cells if name not in (first.name, *first.columns)][:5]
        held = f" ({_listed(unread)} {'holds' if len(unread) == 1 else 'hold'} no dates that can be read)" if unread else ""
        return f"no column tells the time{held}: the rows stand oldest first, a step apart; --time names a column"
    names = names or [first.time_name]
    column = f"the column {names[0]!r} tells" if len(names) == 1 else f"the columns {_listed(names)} tell"
    read = {"iso": "ISO dates", "number": "numbers"}.get(first.format, first.format)
    calendars = Counter(one.step.described() for one in series)
    (usual, count), several = calendars.most_common(1)[0], len(series) > 1
    series_told = f"{len(series):,} series, {'' if count == len(series) else f'{count:,} of them '}" if several else ""
    begin, end = min(series, key=lambda one: one.moments[0]).times[0], max(series, key=lambda one: one.moments[-1]).times[-1]
    missing = sum(one.step.others for one in series if one.step.regular)
    gaps = f", {missing:,} gap{'s' if missing != 1 else ''}" if first.step.regular else ""
    return f"{column} the time, read as {read}: {series_told}{usual}, from {begin} to {end}{gaps}"


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
    delimiter:  what stood between its cells.
    decimal:    what stands before the decimals of its numbers.
    missing:    texts that are gaps, besides those that always are.
    """

    source: str
    cells: dict[str, list[str]]
    first_row: int = 2
    delimiter: str = ","
    decimal: str = "."
    missing: tuple[str, ...] = ()

    def place(self, n: int, *names: str) -> str:
        """How messages call row n, counted from 0, and columns in it."""
        columns = f", column{'s' if len(names) > 1 else ''} {_listed(names)}" if names else ""
        return f"{self.source}: row {n + self.first_row}{columns}"

    def gap(self, cell: str) -> bool:
        """Whether a cell says that there is no value."""
        return cell.lower() in _GAPS or cell in self.missing


def read_series(path: Path | str, target: str, time: str | Sequence[str] | None = None, **options: Any) -> Series:
    """The column `target` of a CSV file as one series; the arguments are those of `series_of`."""
    return series_of(read_table(path, numbers=(target,)), target, time, **options)[0]


def series_of(
    table: Table,
    target: str,
    time: str | Sequence[str] | None = None,
    *,
    id: str | None = None,
    columns: Sequence[str] = (),
    texts: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    date_format: str | None = None,
    sort: bool = False,
) -> list[Series]:
    """The column `target` of a table, cut into a series for each value of the column `id`, in the table's order.

    Args:
        table:    as `read_table` gives it.
        target:   the column of values: numbers, or gaps.
        time:     the column of times: dates or numbers, strictly increasing within a series; or several columns: a
                  date and a time of day, or whole numbers for year, month, day, hour, minute, second, as many as
                  there are. None: the first other column of dates, or none. The rows are numbered where there is none.
        id:       the column that tells series apart. None: the table is one series.
        columns:  other columns to keep: numbers where the first cell that is no gap is one, else texts. Whole numbers
                  that begin with 0 are texts: codes such as 001.
        texts:    which of `columns` are texts; None to look.
        categories:  which of them are texts, whatever they look like.
        date_format:  how the times are read, as `carousel.data.dates` has it; None to look.
        sort:     whether the rows of a series are put in the order of their times.

    Raises:
        InputError: a column that is not there, a cell that is no number, a date whose day and month
            cannot be told apart, times that are missing, repeat or run backwards; with the row and the column.
    """
    cells = table.cells
    times = [time] if isinstance(time, str) else list(time or ())
    for name in (target, *times, *([id] if id else []), *columns):
        if name not in cells:
            raise InputError(f"{table.source}: no column {name!r}; the columns are: {_listed(_nearest_first(name, list(cells)))}")
    values = _numbers(table, target)
    groups = _rows_by(table, id, len(values))
    if time is None:
        others_named = [name for name in cells if name not in (target, id)]
        times = [name for name in others_named if _tells_time(table, name, date_format, groups, name in columns)][:1]
    found, moments, read = _times(table, times, len(values), date_format)
    others: dict[str, np.ndarray | list[str]] = {}
    for name in columns:
        if name in texts if texts is not None else name in categories or _are_texts(table, name):
            others[name] = ["" if table.gap(cell) else cell for cell in cells[name]]
        else:
            others[name] = _numbers(table, name)
    called = ("row", *times)[-1] if len(times) < 2 else "time"
    series = []
    for key, rows in groups.items():
        if sort:
            rows = sorted(rows, key=moments.__getitem__)
        if times:
            _check_increasing(table, times, found, moments, rows, id is not None)
        own = {
            name: column[rows] if isinstance(column, np.ndarray) else [column[n] for n in rows] for name, column in others.items()
        }
        where = [found[n] for n in rows]
        series.append(Series(target, values[rows], where, called, moments[rows], read, key, own))
    return series


def read_table(
    path: Path | str,
    *,
    header: bool | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    missing: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> Table:
    """The cells of a CSV file; at least one row under the names.

    Args:
        path:       the file.
        header:     whether its first row has the names of the columns; they are called 1, 2, ... where it has not. None: it
                    has, and a first row that looks like values is refused.
        delimiter:  what stands between cells: one character, or "tab"; None to look.
        decimal:    what stands before the decimals of a number: "." or ","; None to look, in the columns `numbers`.
        missing:    cells that are gaps too.
        numbers:    columns.

    Raises:
        InputError: a file that cannot be read or is no table, or whose numbers can be read in two ways.
    """
    text = _text(path)
    skipped = 0
    if rule := re.match("sep=(.)\r?\n", text):  # as Excel has it
        delimiter, text, skipped = delimiter or rule[1], text[rule.end() :], 1
    delimiter = _delimiter(path, text) if delimiter is None else "\t" if delimiter in ("tab", "\\t") else delimiter
    if len(delimiter.encode()) != 1 or delimiter in '\r\n"':
        raise InputError(f"{path}: delimiter {delimiter!r}: expected one character, or tab")
    try:
        # Read as a table of text without header, so that row numbers are those of the file and names stay as they are.
        table = pl.read_csv(io.BytesIO(text.encode()), has_header=False, infer_schema=False, separator=delimiter)
    except pl.exceptions.NoDataError:
        raise _empty(path) from None
    except (pl.exceptions.PolarsError, OSError) as error:  # OSError: what begins like a compressed file is taken for one
        _check_widths(path, text, delimiter)
        raise InputError(f"{path}: not a CSV table: {str(error).splitlines()[0]}") from None
    rows = [[without_apostrophe((cell or "").strip()) for cell in row] for row in table.rows()]
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows:
        raise _empty(path)
    if header is None and _like_values(rows[0]):
        row = f"row {1 + skipped} looks like values ({_listed(rows[0][:4])}), not like names of columns"
        raise InputError(f"{path}: {row}; say which: --no-header (they are called 1, 2, ...) or --header")
    if header is False:
        names = [str(n) for n in range(1, len(rows[0]) + 1)]
    else:
        names, rows = rows[0], rows[1:]
        skipped += 1
    if len(names) == 1:
        _check_widths(path, text, delimiter)
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: row {skipped} names two columns {name!r}; expected names that differ")
    if not rows:
        raise InputError(f"{path}: no rows of values under the names {_listed(names)}")
    cells = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    found = Table(str(path), cells, skipped + 1, delimiter, missing=tuple(missing))
    return replace(found, decimal=decimal or _decimal(found, [name for name in numbers if name in cells]))


def _text(path: Path | str) -> str:
    content = in_utf8(read_bytes(path), path)
    if b"\r" in content and b"\n" not in content:  # as old Macs ended lines
        content = content.replace(b"\r", b"\n")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: row {row} is not UTF-8 text; save the file as CSV in UTF-8") from None


def _delimiter(path: Path | str, text: str) -> str:
    """What makes the first rows equally many cells, more than one; a comma where nothing does."""
    counts = {}
    for delimiter in _DELIMITERS:
        try:
            rows = list(islice((row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row), _SAMPLE))
        except csv.Error:
            continue
        widths = set(map(len, rows))
        if len(widths) == 1 and widths != {1}:
            counts[delimiter] = widths.pop()
    most = [delimiter for delimiter, count in counts.items() if count == max(counts.values())]
    if len(most) > 1:
        ways = " or ".join(f"--delimiter {'tab' if delimiter == chr(9) else repr(delimiter)}" for delimiter in most)
        raise InputError(f"{path}: its cells may be apart by {' or '.join(map(repr, most))}; say which: {ways}")
    return most[0] if most else ","


def _like_values(names: Sequence[str]) -> bool:
    """Whether a row has a date in it, or nothing but numbers."""
    there = [name for name in names if name]
    return any(map(_date_like, there)) or (bool(there) and all(not math.isnan(_as_number(name)) for name in there))


def _date_like(name: str) -> bool:
    return bool(dates.formats_of([name])) and any(map(str.isdecimal, name))


def _check_widths(path: Path | str, text: str, delimiter: str) -> None:
    """Refuse a table whose rows have more cells than names."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        names = len(next(reader, []))
        for cells in reader:
            if names and len(cells) > names:
                told = f"row {reader.line_num} has {len(cells)} cells, the row of names {names}"
                remedy = "put a cell that holds a comma in quotes" if delimiter == "," else "or give --delimiter"
                raise InputError(f"{path}: {told}; {remedy}")
    except csv.Error:
        return  # polars has words for it


def _empty(path: Path | str) -> InputError:
    return InputError(f"{path}: the file is empty; expected a row of column names, then rows of values")


def _decimal(table: Table, names: Sequence[str]) -> str:
    """What stands before the decimals in columns of numbers: a point, where nothing says otherwise."""
    if not any("," in cell for name in names for cell in table.cells[name]):
        return "."
    marks: dict[str, tuple[str, str]] = {}
    for name in names:
        for n, cell in enumerate(map(_unspaced, table.cells[name])):
            if ("," in cell or "." in cell) and _NUMBER.fullmatch(cell):
                marks.setdefault(_mark(cell), (cell, table.place(n, name)))
    if "," in marks and "." in marks:
        (one, where), (other, _) = marks[","], marks["."]
        raise InputError(f"{where}: {one!r} has a decimal comma, where {other!r} has a decimal point; write all numbers alike")
    unclear = marks.get("1.234") if "," in marks else marks.get("1,234") if "." not in marks else None
    if unclear:
        cell, where = unclear
        raise InputError(
            f"{where}: {cell!r} may have decimals or thousands; say what stands before decimals: --decimal , or --decimal ."
        )
    return "," if "," in marks else "."


def _mark(cell: str) -> str:
    """What stands before the decimals of a number with commas or points; "1,234" or "1.234" where it may be thousands."""
    comma, point = cell.count(","), cell.count(".")
    if comma and point:
        return "," if cell.rindex(",") > cell.rindex(".") else "."
    mark, other = (",", ".") if comma else (".", ",")
    if max(comma, point) > 1:
        return other
    return f"1{mark}234" if re.fullmatch(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", cell) else mark


def _unspaced(cell: str) -> str:
    """A number without the spaces or apostrophes between its thousands."""
    return re.sub(_SPACES, "", cell) if re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}({_SPACES}\d{{3}})+([.,]\d*)?", cell) else cell


def _as_number(cell: str, decimal: str = ".") -> float:
    """NaN for what is none; Python's own 1_000 is none. Thousands are groups of three digits."""
    if len(cell) > 4 and not cell.isalnum():
        cell = _unspaced(cell)
    other = "," if decimal == "." else "."
    if other in cell:
        if not re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}([{other}]\d{{3}})+([{decimal}]\d*)?", cell):
            return math.nan
        cell = cell.replace(other, "")
    try:
        return float(cell.replace(",", ".")) if "_" not in cell else math.nan
    except ValueError:
        return math.nan


def _are_texts(table: Table, name: str) -> bool:
    """Whether the first cell of a column that is no gap is no number, or its cells are codes such as 001."""
    there = [cell for cell in table.cells[name] if not table.gap(cell)]
    if there and math.isnan(_as_number(there[0], table.decimal)):
        return True
    return any(len(cell) > 1 and cell[0] == "0" for cell in there) and all(cell.isdecimal() for cell in there)


def _numbers(table: Table, name: str) -> np.ndarray:
    """(n,) float64 of a column, NaN at gaps."""
    cells = table.cells[name]
    values = np.array([math.nan if table.gap(cell) else _as_number(cell, table.decimal) for cell in cells])
    for n in np.flatnonzero(~np.isfinite(values)).tolist():
        if not table.gap(cells[n]):
            word = len(cells[n]) <= 12 and cells[n].isprintable() and not any(map(str.isdigit, cells[n]))
            remedy = f"; --missing {shlex.quote(cells[n])} takes it for a gap" if word else ""
            raise InputError(f"{table.place(n, name)}: expected a number, got {shortened(cells[n])}{remedy}")
    return values


def _tells_time(table: Table, name: str, date_format: str | None, groups: dict[str, list[int]], asked: bool) -> bool:
    """Whether a column is one of dates. Whole numbers are where they are not asked for as a covariate; seconds and the like
    only where they rise, or fall, in each series."""
    column = table.cells[name]
    there = [cell for cell in column if not table.gap(cell)]
    if date_format is not None:
        return bool(there) and not np.isnan(dates.moments(there[:1], date_format)).any()
    formats = dates.formats_of(there)
    if not formats or not there[0].isdecimal():
        return bool(formats)
    if asked or len(there) < min(3, len(column)):
        return False
    if formats[0] not in dates.EPOCHS:
        return True
    steps = [np.diff([int(column[n]) for n in rows if not table.gap(column[n])]) for rows in groups.values()]
    return all((own > 0).all() or (own < 0).all() for own in steps)


def _times(table: Table, names: list[str], n: int, date_format: str | None) -> tuple[list[str], np.ndarray, str]:
    """(texts, values as numbers, their format) of the columns of times; row numbers where there is none."""
    if not names:
        rows = range(table.first_row, n + table.first_row)
        return [str(row) for row in rows], np.array(rows, dtype=np.float64), "row"
    cells = list(zip(*(table.cells[name] for name in names), strict=True))
    for row, parts in enumerate(cells):
        if any(map(table.gap, parts)):
            raise InputError(f"{table.place(row, *names)}: the time is missing; give it, or delete the row")
    if len(names) == 2 and len(cells[0][0]) > 4 and all(re.fullmatch(r"\d\d?", hour) for _, hour in cells):  # a date and an hour
        cells = [(day, f"{hour.zfill(2)}:00") for day, hour in cells]
    texts = [" ".join(parts) for parts in cells]
    if len(names) > 1 and date_format in (None, "iso") and all(cell.isdecimal() and len(cell) < 5 for cell in cells[0]):
        texts, formats = _dates(table, names), ["iso"]
    else:
        formats = [date_format] if date_format is not None else dates.formats_of(texts) or ["number"]
    if len(formats) > 1:
        ways = " or ".join(f"--date-format {shlex.quote(format)}" for format in formats)
        raise InputError(f"{table.place(0, *names)}: day and month of {shortened(texts[0])} look alike; say which: {ways}")
    values = dates.moments(texts, formats[0])
    for row in np.flatnonzero(np.isnan(values)).tolist():
        expected = f"a date of the format {formats[0]}" if date_format is not None else f"a date like {shortened(texts[0])}"
        expected = "a date or a number" if formats == ["number"] else expected
        raise InputError(f"{table.place(row, *names)}: expected {expected}, got {shortened(texts[row])}")
    return texts, values, formats[0]


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
            expected = f"expected whole numbers for {', '.join(_PARTS[:count])} or a date first"
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


def _check_increasing(table: Table, names: list[str], texts: list[str], values: np.ndarray, rows: list[int], alone: bool) -> None:
    """Strictly increasing within a series, `alone` where it is told apart from others."""
    for n in np.flatnonzero(np.diff(values[rows]) <= 0).tolist():
        before, now = rows[n], rows[n + 1]
        above = "the row above" if now == before + 1 else f"row {before + table.first_row}"
        if values[now] == values[before]:
            remedy = (
                "" if alone else "; --id names a column that tells series apart, --time a date and a time of day in two columns"
            )
            raise InputError(f"{table.place(now, *names)}: the time {shortened(texts[now])} stands in {above} already{remedy}")
        raise InputError(
            f"{table.place(now, *names)}: {shortened(texts[now])} is before {above}; sort the rows by time, or train with --sort"
        )


def _nearest_first(name: str, names: list[str]) -> list[str]:
    return sorted(names, key=lambda other: -SequenceMatcher(None, name.lower(), other.lower()).ratio())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shortened, names))
