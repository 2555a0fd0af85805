"""Labelled sequences from JSON lines: an object a line, with a sequence and its label; or from one array of such objects.

Of a CSV file each row is such an object: its texts by the names of their columns.

The sequence is a text (`"text": "fine film"`), read by words or by bytes; a list of words
(`"words": ["fine", "film"]`), read as they stand; a list of numbers, one a step; or a list of vectors of
numbers; nulls or NaNs at the end only fill it up. The label is a text, a whole number (1.0 is 1) or true / false; for
tagging a list of such, one a step::

    {"text": "a fine film", "label": "good"}
    {"values": [[0.1, 2.0], [0.3, 1.0]], "label": 3}
    {"words": ["the", "cat", "sat"], "label": ["DET", "NOUN", "VERB"]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from carousel.data.csv import read_table
from carousel.data.files import in_utf8, lines_of, read_bytes, shortened
from carousel.data.sequences import Kind, Sequences, as_numbers, may_be_skipped
from carousel.errors import InputError

INPUT_KEYS = ("text", "words", "tokens", "values", "sequence", "input")
"""Where the sequence is looked for when no key is named."""

LABEL_KEYS = ("label", "labels", "tags")


def read_jsonl(
    path: Path | str,
    *,
    key: str | None = None,
    label_key: str | None = None,
    by: str = "words",
    with_labels: bool = True,
    skipped: list[str] | None = None,
) -> Sequences:
    """The sequences of a file of JSON lines, a JSON array or a CSV file, plain or gzip, named by their lines, entries or rows.

    Args:
        path:         the file.
        key:          of the sequence; None: the first of INPUT_KEYS that the first object has.
        label_key:    of the label; None: the first of LABEL_KEYS that the first object has.
        by:           what a step of a text is, "words" (in small letters; punctuation marks stand for themselves) or "bytes".
        with_labels:  whether labels are looked at.
        skipped:      gets the reason for each object that is left out; None: one that cannot be read is refused.

    Raises:
        InputError: a file that cannot be read, a line that does not fit; with the line.
    """
    kind: Kind | None = None
    items: list[Any] = []
    labels: list[Any] = []
    names = []
    what, entries = _entries(path)
    for number, entry in entries:
        name = f"{what} {number}"
        place = f"{path}: {name}"
        with may_be_skipped(skipped):
            record = _parsed(entry, place) if what == "line" else entry
            if not isinstance(record, dict):
                raise InputError(f"{place}: expected a JSON object as {{...}}, got {shortened(record)}")
            if not items:
                of_item = key or _first(INPUT_KEYS, record)
                of_label = label_key or _first(LABEL_KEYS, record) or "label"
            if of_item is None or of_item not in record:
                wanted = repr(of_item) if of_item else f"one of {', '.join(INPUT_KEYS)}"
                raise InputError(f"{place}: no sequence: expected the key {wanted}, got {_listed(record)}")
            found, item = step_sequence(record[of_item], by, place)
            if kind not in (None, found):
                raise InputError(f"{place}: expected a sequence of {kind}, as above, got one of {found}")
            if kind == "numbers" and item.shape[1] != items[0].shape[1]:
                raise InputError(f"{place}: expected {items[0].shape[1]} numbers a step, as above, got {item.shape[1]}")
            label = None if not with_labels or record.get(of_label) is None else _label(record[of_label], place)
            if isinstance(label, list) and len(label) != len(item):
                raise InputError(f"{place}: expected a label for each of the {len(item)} steps, got {len(label)}")
            kind = found
            items.append(item)
            labels.append(label)
            names.append(name)
    if kind is None:
        raise InputError(f"{path}: expected one object or more, found none")
    return Sequences(str(path), kind, items, labels, names)


def _entries(path: Path | str) -> tuple[str, Iterable[tuple[int, Any]]]:
    """What an entry is called, and each with its number: the text of a line, a value of an array, or a row as an object."""
    if ".csv" in (suffix.lower() for suffix in Path(path).suffixes):
        table = read_table(path)
        rows = (dict(zip(table.cells, row, strict=True)) for row in zip(*table.cells.values(), strict=True))
        return "row", enumerate(({name: cell for name, cell in row.items() if cell} for row in rows), start=table.first_row)
    content = in_utf8(read_bytes(path), path)
    lines = ((number, line) for number, line in lines_of(content, path) if line.strip())
    if content.lstrip().startswith(b"["):
        return "entry", enumerate(_parsed("\n".join(line for _, line in lines), str(path)), start=1)
    return "line", lines


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "nested or written beyond what can be read"
        raise InputError(f"{place}: not JSON: {reason}") from None


def step_sequence(value: Any, by: str, place: str) -> tuple[Kind, Any]:
    """(kind, item) as `Sequences` has them, of what JSON has for one sequence."""
    if isinstance(value, str):
        text = _text(value, place)
        if not text.strip():
            raise InputError(f"{place}: the text is empty")
        return ("bytes", text.encode()) if by == "bytes" else ("words", words(text))
    while isinstance(value, list) and len(value) > 1 and _is_gap(value[-1]):
        value = value[:-1]
    if not isinstance(value, list) or not value:
        raise InputError(f"{place}: expected a text, or a list of words, numbers or vectors, got {shortened(value)}")
    # Types are looked at all at once: ten thousand sequences are to be read in a moment.
    types = set(map(type, value))
    if types == {str}:
        return "words", [_text(word, place) for word in value]
    if types == {list}:
        types = set(map(type, chain.from_iterable(value)))
    if not types <= {int, float}:
        raise InputError(f"{place}: expected numbers, got {shortened(_first_other(value))}")
    return "numbers", as_numbers(value, place)


def words(text: str) -> list[str]:
    """Runs of letters, digits and inner apostrophes, in small letters; every other mark by itself."""
    return re.findall(r"\w+(?:['\u2019]\w+)*|[^\w\s]", text.lower())


def _text(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{place}: half of a surrogate pair in {shortened(text.encode(errors='replace').decode())}") from None
    return text


def _is_gap(step: Any) -> bool:
    """Whether a step is null or NaN, or all of its channels are: at the end of a sequence it only fills up."""
    return step is None or step != step or (isinstance(step, list) and len(step) > 0 and all(map(_is_gap, step)))


def _first_other(value: list[Any]) -> Any:
    """The first entry, of the list or of a list in it, that is no number."""
    entries = (entry for row in value for entry in (row if isinstance(row, list) else [row]))
    return next((entry for entry in entries if type(entry) not in (int, float)), value)


def _label(value: Any, place: str) -> Any:
    """The label as a text, the labels of steps as texts."""
    if isinstance(value, list):
        return [_label(one, place) for one in value]
    if isinstance(value, str) and value.strip():
        return _text(value.strip(), place)
    if isinstance(value, int):
        return str(value).lower()  # true is a whole number too
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    raise InputError(
        f"{place}: expected a label that is a text or a whole number, or a list of such, got {shortened(value)}; "
        "write a number that names a class as a text"
    )


def _first(keys: tuple[str, ...], record: dict[str, Any]) -> str | None:
    return next((key for key in keys if key in record), None)


def _listed(record: dict[str, Any]) -> str:
    return ", ".join(map(shortened, record)) or "none"
