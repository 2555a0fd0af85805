"""Text from files, made fit for a terminal and for a spreadsheet, which would obey some of it instead of showing it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

# Control characters, ends of lines that are none of ASCII, and what turns the direction of writing.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORMULA = re.compile("[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]")  # how a formula begins, for one spreadsheet or another
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?")
_OBEYED_IN_LINES = re.compile(rf"\r(?!\n)|(?![\t\n\r]){_OBEYED.pattern}")


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with ``\u001b`` for an escape, and so on, as JSON has them.

    Args:
        text:   of any characters.
        lines:  whether it may have more than one line; tabs and ends of lines then stay.
    """
    return (_OBEYED_IN_LINES if lines else _OBEYED).sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def csv_row(cells: Iterable[object], end: str = "\n") -> str:
    """A row of CSV. A text that a spreadsheet would take for a formula begins with an apostrophe; numbers stay numbers."""
    row = io.StringIO()
    # With this end csv quotes both of its characters wherever they stand.
    csv.writer(row, lineterminator="\r\n").writerow([_shown(cell) if isinstance(cell, str) else cell for cell in cells])
    return row.getvalue().removesuffix("\r\n") + end


def without_apostrophe(cell: str) -> str:
    """A cell as it was before `csv_row` wrote it."""
    return cell[1:] if cell.startswith("'") and _shown(cell[1:]) == cell else cell


def _shown(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell
