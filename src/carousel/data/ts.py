"""Labelled sequences as the UCR and UEA archives have them: from a .ts file, or from a table (.tsv).

Files are UTF-8. In a .ts file lines that begin with ``#`` are remarks. Lines that begin with ``@``, up to
``@data``, tell what follows; of these ``@dimensions``, ``@classLabel``, ``@timeStamps`` and
``@targetLabel`` are read, in any case of letters. Each line after ``@data`` is a sequence: its channels
separated by colons, the values of a channel by commas, and at the end its label::

    @dimensions 2
    @classLabel true up down
    @data
    1.0,2.0,3.0 : 0.5,0.5,0.1 : up

Sequences may differ in length; the channels of one may not. Gaps (``?`` or NaN) are refused; at the end of all channels
they fill a sequence up to the length of the longest, and are not read. With ``@timeStamps true`` a
value stands with its time, a number or a date of ISO 8601, as ``(2004-10-01 00:15:00,39.0)``; the time since the step before,
of dates in seconds, is then the first channel, 0 at the first step.

A line of a table is a sequence of one channel: its label, then its values, separated by tabs.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from carousel.data.files import lines_of, numbered_lines, read_bytes, shortened
from carousel.data.sequences import Sequences, checked, may_be_skipped
from carousel.errors import InputError


def read_ts(path: Path | str, *, skipped: list[str] | None = None) -> Sequences:
    """The sequences of a .ts file, plain or gzip, named by their lines.

    Args:
        path:     the file.
        skipped:  gets the reason for each line that is left out; None: one that cannot be read is refused.

    Raises:
        InputError: a file that cannot be read, a line that does not fit; with the line.
    """
    lines = numbered_lines(path)
    header: dict[str, list[str]] = {}
    for number, line in lines:
        if line.startswith("@"):
            name, *words = line[1:].split() or [""]
            if name.lower() == "data":
                break
            header[name.lower()] = words
        elif not line.startswith("#"):
            raise InputError(f"{path}: line {number}: expected a line that begins with @ or #, or @data, got {shortened(line)}")
    else:
        raise InputError(f"{path}: expected a line @data, with a sequence a line below it")
    labels = _labels(path, header)
    channels = _channels(path, header)
    stamped = _is_true(header, "timestamps")

    items, found, names = [], [], []
    for number, line in lines:
        place = f"{path}: line {number}"
        if line.startswith("#"):
            continue
        with may_be_skipped(skipped):
            parts, label = _COLON.split(line) if stamped else line.split(":"), None
            if labels is not None:
                label = parts.pop().strip()
                if labels and label not in labels:
                    raise InputError(
                        f"{place}: the label {shortened(label)} is none of those after @classLabel: {', '.join(labels)}"
                    )
            if not parts:
                raise InputError(f"{place}: expected values, then a colon and the label, got {shortened(line)}")
            if len(parts) != (channels or len(parts)):
                raise InputError(
                    f"{place}: expected {channels} channels, separated by colons, and the label, got {len(parts)} channels"
                )
            channels = len(parts)
            items.append(_stamped_steps(place, parts) if stamped else _steps(place, [part.split(",") for part in parts]))
            found.append(label)
            names.append(f"line {number}")
    if not items:
        raise InputError(f"{path}: no sequences below @data")
    return Sequences(str(path), "numbers", items, found, names)


def read_table(path: Path | str, *, skipped: list[str] | None = None) -> Sequences:
    """The sequences of a table with a label first and then values a line, plain or gzip, named by their lines.

    Args:
        path:     the file.
        skipped:  as for `read_ts`.

    Raises:
        InputError: a file that cannot be read, a line that does not fit; with the line.
    """
    items, labels, names = [], [], []
    for number, line in lines_of(read_bytes(path), path):
        if not line.strip():
            continue
        place = f"{path}: line {number}"
        with may_be_skipped(skipped):
            label, *values = line.rstrip().split("\t")
            if not values:
                raise InputError(f"{place}: expected a label and then numbers, separated by tabs, got {shortened(line)}")
            items.append(_steps(place, [values]))
            labels.append(_whole(label.strip()) or None)
            names.append(f"line {number}")
    if not items:
        raise InputError(f"{path}: expected a label and then numbers in each line, found none")
    return Sequences(str(path), "numbers", items, labels, names)


def _whole(label: str) -> str:
    """The label; of a whole number without a fraction, as 1 for 1.0000000e+00."""
    try:
        number = float(label)
    except ValueError:
        return label
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else label


def _is_true(header: dict[str, list[str]], name: str) -> bool:
    return [word.lower() for word in header.get(name, [])][:1] == ["true"]


def _labels(path: Path | str, header: dict[str, list[str]]) -> list[str] | None:
    """The labels that may come, [] for any, None where sequences have none."""
    if _is_true(header, "targetlabel"):
        raise InputError(f"{path}: @targetlabel true: its targets are numbers; expected sequences with class labels")
    known, *labels = header.get("classlabel") or ["true"]
    return labels if known.lower() == "true" else None


def _channels(path: Path | str, header: dict[str, list[str]]) -> int | None:
    given = header.get("dimensions") or header.get("dimension")
    if given is None:
        return 1 if _is_true(header, "univariate") else None
    if len(given) != 1 or not given[0].isdecimal() or int(given[0]) < 1:
        raise InputError(f"{path}: expected @dimensions and a whole number of 1 or more, got {shortened(' '.join(given))}")
    return int(given[0])


_COLON = re.compile(r":(?![^(]*\))")
"""That separates channels: not within the parentheses of a value with its time."""

_PAIR = re.compile(r"\(([^(),]*),([^(),]*)\)")


def _stamped_steps(place: str, parts: list[str]) -> np.ndarray:
    """(T, 1 + I) of the texts of I channels, each value with its time: the time since the step before, and the values."""
    channels = []
    times: list[float] = []
    for n, part in enumerate(parts, start=1):
        pairs = _PAIR.findall(part)
        if not pairs or "".join(_PAIR.sub("", part).split()) != "," * (len(pairs) - 1):
            raise InputError(f"{place}: channel {n}: expected values with their times, as (0,1.5),(1,2.5), got {shortened(part)}")
        own = [_moment(place, step, time) for step, (time, _) in enumerate(pairs, start=1)]
        if n > 1 and own != times:
            raise InputError(f"{place}: the times of channel {n} are not those of channel 1; give all channels the same times")
        times = own
        channels.append([value for _, value in pairs])
    values = _steps(place, channels)
    since = np.diff(times, prepend=times[0])
    if (since < 0).any():
        raise InputError(f"{place}: step {int((since < 0).argmax()) + 1}: its time is before that of the step before")
    return np.concatenate([since[: len(values), None], values], axis=1)


def _moment(place: str, step: int, text: str) -> float:
    """A time as a number, of a date the seconds since 1970."""
    try:
        try:
            moment = float(text)
        except ValueError:
            date = datetime.fromisoformat(text.strip())
            moment = date.replace(tzinfo=date.tzinfo or UTC).timestamp()
        if abs(moment) < np.inf:
            return moment
    except (ValueError, OverflowError):
        pass
    raise InputError(f"{place}: step {step}: expected a time, a number or a date as 2004-10-01 00:15:00, got {shortened(text)}")


def _steps(place: str, channels: list[list[str]]) -> np.ndarray:
    """(T, I) of the texts of I channels."""
    lengths = {len(channel) for channel in channels}
    if len(lengths) > 1:
        raise InputError(f"{place}: expected channels of one length, got {min(lengths)} and {max(lengths)} values")
    length = max(lengths)
    while length and all(channel[length - 1].strip().lower() in ("?", "nan") for channel in channels):
        length -= 1
    if not length:
        raise InputError(f"{place}: expected one number or more, got gaps alone")
    channels = [channel[:length] for channel in channels]
    try:
        values = np.array(channels, dtype=np.float64)
    except ValueError:
        raise _no_number(place, channels) from None
    return checked(values.T, place)


def _no_number(place: str, channels: list[list[str]]) -> InputError:
    for n, channel in enumerate(channels, start=1):
        for step, text in enumerate(map(str.strip, channel), start=1):
            try:
                float(text)
            except ValueError:
                if text == "?":
                    return InputError(f"{place}: step {step}, channel {n}: no value ('?'); fill gaps first")
                return InputError(f"{place}: step {step}, channel {n}: expected a number, got {shortened(text)}")
    return InputError(f"{place}: expected numbers")
