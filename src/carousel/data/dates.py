"""Times as texts: the format of a column of them, the moments that they stand for, and further moments written alike.

A format is "iso" (1749-01, 1749-01-31, 1749-01-31 12:00, with or without a zone), "number", one of EPOCHS (whole numbers
counted from 1970, such as "epoch ms"), or one of strptime, such as "%d/%m/%Y".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from carousel.errors import InputError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCHS = {"epoch s": 1, "epoch ms": 10**3, "epoch us": 10**6, "epoch ns": 10**9}
"""Format -> its ticks per second."""

_ISO = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d.*)?)?")
_CLOCK = re.compile(r"(?P<before>T|,? )\d\d?:\d\d(?P<second>:\d\d(?P<part>\.\d+)?)?(?P<noon> ?[AaPp][Mm])?$")
_WHOLE = {  # how whole numbers may tell dates, by the number of their digits
    6: ("%Y%m",),
    8: ("%Y%m%d",),
    10: ("%Y%m%d%H", "epoch s"),
    12: ("%Y%m%d%H%M",),
    13: ("epoch ms",),
    14: ("%Y%m%d%H%M%S",),
    16: ("epoch us",),
    19: ("epoch ns",),
}
_PLAUSIBLE = (-8520336000.0, 7258118400.0)  # whole numbers are dates where all lie in the years 1700 to 2199
_MONTHS = "January February March April May June July August September October November December".split()
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_SAMPLE = 1000  # texts that are looked at for numbers of one digit


def moments(texts: Sequence[str], format: str) -> np.ndarray:
    """(n,) the times as numbers, NaN where a text cannot be read.

    Seconds since 1970 where they are dates: UTC where a text names its zone; a month stands for its first day. Whole
    numbers too large for float64 are int64.

    Raises:
        InputError: no such format.
    """
    if format == "iso":
        return np.array([_or_nan(_iso, text) for text in texts])
    if format == "number":
        values = np.array([_or_nan(float, text) for text in texts])
        values[np.isinf(values)] = np.nan
        if (np.abs(values) >= 2.0**53).any() and all(re.fullmatch(r"[+-]?\d{1,18}", text) for text in texts):
            return np.array([int(text) for text in texts])
        return values
    if format in EPOCHS:
        return np.array([int(text) / EPOCHS[format] if re.fullmatch(r"-?\d{1,19}", text) else math.nan for text in texts])
    if "%" not in format or re.search("%[zZs+]", format):
        known = ", ".join(map(repr, ["iso", "number", *EPOCHS]))
        raise InputError(f"date_format {format!r}: expected one of {known}, or codes such as '%d/%m/%Y' for a date without zone")
    found = pl.Series(*_for_polars(texts, format), dtype=pl.String)
    try:
        read = found.str.to_datetime(found.name, strict=False, time_unit="us")
        values = read.dt.epoch("us").cast(pl.Float64).fill_null(math.nan).to_numpy() / 1e6
    except pl.exceptions.PolarsError as error:
        raise InputError(f"date_format {format!r}: {str(error).splitlines()[0]}") from None
    values[values < _seconds(datetime(1000, 1, 1))] = np.nan  # a year of two digits where four are expected
    return values


def written(dates: Sequence[datetime], format: str, like: str) -> list[str]:
    """Dates as texts of a format; `like` is one of the texts that were read."""
    if format in EPOCHS:
        begin = date_of(like, format)  # whole ticks after it, so that not a digit is lost
        return [str(int(like) + (date - begin) // timedelta(microseconds=1) * EPOCHS[format] // 10**6) for date in dates]
    if format != "iso":
        texts = pl.Series(dates, dtype=pl.Datetime("us")).dt.strftime(format).to_list()
        capitals = re.search("[A-Za-z]", like) is not None and like == like.upper()
        return [text.upper() if capitals else text for text in texts]
    if len(like) == len("2001-01"):
        return [f"{date:%Y-%m}" for date in dates]
    if len(like) == len("2001-01-31") and all(date.time() == datetime.min.time() for date in dates):
        return [f"{date:%Y-%m-%d}" for date in dates]
    separator = "T" if "T" in like else " "
    clock, part, zulu = re.fullmatch(r".{11}([\d:]+)(\.\d+)?.*?(Z?)", like).groups()  # type: ignore[union-attr]
    finest = {0: "auto", 4: "milliseconds", 7: "microseconds"}.get(len(part or ""), "auto")
    if clock.count(":") == 1 and all(date.second == 0 for date in dates):
        finest = "minutes"
    return [date.isoformat(separator, finest).replace("+00:00", "Z" if zulu else "+00:00") for date in dates]


def date_of(text: str, format: str) -> datetime:
    """The date of a text that `moments` reads: the time on the wall where it names a zone, with the zone."""
    if format == "iso":
        return _iso_date(text)
    if format in EPOCHS:
        microseconds = int(text) * 10**6 // EPOCHS[format]
    else:
        microseconds = round(float(moments([text], format)[0]) * 1e6)
    return EPOCH.replace(tzinfo=None) + timedelta(microseconds=microseconds)


def offset(texts: Sequence[str]) -> float:
    """Seconds by which a zone is ahead of UTC that the first and the last of ISO texts name; 0 where they name none, or two."""
    first, last = (_iso_date(text).utcoffset() for text in (texts[0], texts[-1]))
    return first.total_seconds() if first is not None and first == last else 0.0


def formats_of(texts: Sequence[str]) -> list[str]:
    """The formats of dates that a column may have, those that read most of its texts; none where its first text is no date.

    There are several where day and month cannot be told apart. Whole numbers are dates where all of them can be.

    Args:
        texts:  none of them empty.
    """
    if not texts:
        return []
    first = texts[0]
    if _ISO.fullmatch(first) and not math.isnan(_or_nan(_iso, first)):
        return ["iso"]
    if first.isdecimal() and first.isascii():
        return [format for format in _WHOLE.get(len(first), ()) if _all_plausible(texts, format)][:1]
    found: dict[str, np.ndarray] = {}
    for format in _candidates(texts):
        values = moments(texts, format)
        if not math.isnan(values[0]) and not any(np.array_equal(values, other, equal_nan=True) for other in found.values()):
            found[format] = values
    most = max((np.count_nonzero(~np.isnan(values)) for values in found.values()), default=0)
    return [format for format, values in found.items() if np.count_nonzero(~np.isnan(values)) == most]


def _all_plausible(texts: Sequence[str], format: str) -> bool:
    if len({len(text) for text in texts}) > 1:
        return False
    values = moments(texts, format)
    return bool(((values >= _PLAUSIBLE[0]) & (values < _PLAUSIBLE[1])).all())


def _candidates(texts: Sequence[str]) -> list[str]:
    """The formats of strptime that the first text may have, by the shape of it."""
    first = texts[0]
    if re.fullmatch(r"\d{4}-?W\d\d", first):
        return ["%G-W%V" if "-" in first else "%GW%V"]
    if quarter := re.fullmatch(r"(\d{4})([ -]?)Q[1-4]|Q[1-4]([ -/]?)\d{4}", first):
        return [f"%Y{quarter[2]}Q%q" if quarter[1] else f"Q%q{quarter[3]}%Y"]
    short = {n for text in texts[:_SAMPLE] for n, token in enumerate(_tokens(text)) if len(token) == 1 and token.isdecimal()}
    clock = _CLOCK.search(first)
    day = first[: clock.start()] if clock else first
    time = _clock_format(clock, len(_tokens(day + clock["before"])) in short) if clock else ""
    return [date + time for date in _date_formats(_tokens(day), short)]


def _tokens(text: str) -> list[str]:
    return re.findall(r"\d+|[^\W\d_]+|.", text, re.DOTALL)


def _clock_format(clock: re.Match[str], short: bool) -> str:
    hour = ("%-I" if short else "%I") if clock["noon"] else ("%-H" if short else "%H")
    noon = re.sub("[AaPp][Mm]", "%P" if clock["noon"].islower() else "%p", clock["noon"]) if clock["noon"] else ""
    return f"{clock['before']}{hour}:%M{':%S' if clock['second'] else ''}{'%.f' if clock['part'] else ''}{noon}"


def _date_formats(tokens: list[str], short: set[int]) -> list[str]:
    """The formats of a date, one for each order of day, month and year that its numbers may have."""
    if len(tokens) == 1 and re.fullmatch(r"\d{8}", tokens[0]):
        return ["%Y%m%d"]
    parts, numbers = list(tokens), []
    for n, token in enumerate(tokens):
        if token.isdecimal() and len(token) == 4:
            parts[n] = "%Y"
        elif token.isdecimal() and len(token) <= 2:
            numbers.append(n)
        elif token.isalpha():
            parts[n] = _name_format(token)
        elif token not in (" ", ",", ".", "/", "-"):
            return []
    year, named = parts.count("%Y"), sum(part in ("%b", "%B") for part in parts)
    first = year and (not numbers or parts.index("%Y") < numbers[0])
    orders = {
        (1, 1, 0): [""],
        (1, 1, 1): ["d"],
        (0, 1, 1): ["y"] if "-" in tokens else [],
        (0, 1, 2): ["dy"],
        (1, 0, 1): ["m"],
        (1, 0, 2): ["md"] if first else ["dm", "md"],
        (0, 0, 3): ["dmy", "mdy", "ymd"],
    }.get((year, named, len(numbers)), [])
    if year + named + len(numbers) == 2 and not {"/", "-", " " if named else "/"} & set(tokens):
        return []  # 2020.5 and 2020,5 are numbers
    formats = []
    for order in orders:
        for n, code in zip(numbers, order, strict=True):
            parts[n] = f"%{'-' if n in short and code != 'y' else ''}{code}"
        formats.append("".join(parts))
    return formats


def _name_format(token: str) -> str:
    """The code of a month's or a weekday's name, in full or of three letters; of another word, itself."""
    for code, names in (("b", _MONTHS), ("a", _WEEKDAYS)):
        for name in names:
            if token.capitalize() in (name, name[:3]):
                return f"%{code.upper() if len(token) > 3 else code}"
    return token


def _for_polars(texts: Sequence[str], format: str) -> tuple[str, list[str]]:
    """Format and texts with what polars wants besides: a month for a quarter, a day for a month or a week, minutes for hours."""
    texts = list(texts)
    if "%q" in format:
        format = format.replace("%q", "%m")
        texts = [re.sub("Q([1-4])", lambda quarter: f"Q{int(quarter[1]) * 3 - 2:02}", text) for text in texts]
    if "%V" in format and not re.search("%[uwaA]", format):
        format, texts = f"{format} %u", [f"{text} 1" for text in texts]
    elif re.search("%-?[mbB]", format) and not re.search("%-?[dej]", format):
        format, texts = f"{format} %d", [f"{text} 01" for text in texts]
    if re.search("%-?[HI]", format) and "%M" not in format:
        format, texts = f"{format}:%M", [f"{text}:00" for text in texts]
    return format, texts


def _or_nan(read: object, text: str) -> float:
    try:
        return float(read(text)) if "_" not in text else math.nan  # type: ignore[operator]
    except (ValueError, OverflowError):
        return math.nan


def _iso(text: str) -> float:
    if not _ISO.fullmatch(text):
        raise ValueError(text)
    return _seconds(_iso_date(text))


def _iso_date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(f"{text}-01")


def _seconds(date: datetime) -> float:
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - EPOCH).total_seconds()
