"""Labelled sequences from a .ts file, as the UCR and UEA archives have them.

The file is UTF-8. Lines that begin with ``#`` are remarks. Lines that begin with ``@``, up to
``@data``, tell what follows; of these ``@dimensions``, ``@classLabel``, ``@timeStamps`` and
``@targetLabel`` are read, in any case of letters. Each line after ``@data`` is a sequence: its channels
separated by colons, the values of a channel by commas, and at the end its label::

    @dimensions 2
    @classLabel true up down
    @data
    1.0,2.0,3.0 : 0.5,0.5,0.1 : up

Sequences may differ in length; the channels of one may not. Time stamps and gaps (``?``) are refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from carousel.data.files import numbered_lines, shortened
from carousel.data.sequences import Sequences, checked
from carousel.errors import InputError


def read_ts(path: Path | str) -> Sequences:
    """The sequences of a .ts file, plain or gzip, named by their lines.

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

    items, found, names = [], [], []
    for number, line in lines:
        place = f"{path}: line {number}"
        if line.startswith("#"):
            continue
        parts, label = line.split(":"), None
        if labels is not None:
            label = parts.pop().strip()
            if labels and label not in labels:
                raise InputError(f"{place}: the label {shortened(label)} is none of those after @classLabel: {', '.join(labels)}")
        if not parts:
            raise InputError(f"{place}: expected values, then a colon and the label, got {shortened(line)}")
        if len(parts) != (channels or len(parts)):
            raise InputError(
                f"{place}: expected {channels} channels, separated by colons, and the label, got {len(parts)} channels"
            )
        channels = len(parts)
        items.append(_steps(place, parts))
        found.append(label)
        names.append(f"line {number}")
    if not items:
        raise InputError(f"{path}: no sequences below @data")
    return Sequences(str(path), "numbers", items, found, names)


def _labels(path: Path | str, header: dict[str, list[str]]) -> list[str] | None:
    """The labels that may come, [] for any, None where sequences have none."""
    for name, why in (("timestamps", "time stamps are not read; give plain values"), ("targetlabel", "its targets are numbers")):
        if [word.lower() for word in header.get(name, [])][:1] == ["true"]:
            raise InputError(f"{path}: @{name} true: {why}; expected sequences with class labels")
    known, *labels = header.get("classlabel") or ["true"]
    return labels if known.lower() == "true" else None


def _channels(path: Path | str, header: dict[str, list[str]]) -> int | None:
    given = header.get("dimensions") or header.get("dimension")
    if given is None:
        return 1 if [word.lower() for word in header.get("univariate", [])][:1] == ["true"] else None
    if len(given) != 1 or not given[0].isdecimal() or int(given[0]) < 1:
        raise InputError(f"{path}: expected @dimensions and a whole number of 1 or more, got {shortened(' '.join(given))}")
    return int(given[0])


def _steps(place: str, parts: list[str]) -> np.ndarray:
    """(T, I) of the texts of I channels."""
    channels = [part.split(",") for part in parts]
    lengths = {len(channel) for channel in channels}
    if len(lengths) > 1:
        raise InputError(f"{place}: expected channels of one length, got {min(lengths)} and {max(lengths)} values")
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
