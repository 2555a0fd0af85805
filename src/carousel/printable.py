"""Text from files, made fit for a terminal: what a terminal would obey instead of showing stands as its code."""

from __future__ import annotations

import re

# Control characters, ends of lines that are none of ASCII, and what turns the direction of writing.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_OBEYED_IN_LINES = re.compile(rf"\r(?!\n)|(?![\t\n\r]){_OBEYED.pattern}")


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with ``\u001b`` for an escape, and so on, as JSON has them.

    Args:
        text:   of any characters.
        lines:  whether it may have more than one line; tabs and ends of lines then stay.
    """
    return (_OBEYED_IN_LINES if lines else _OBEYED).sub(lambda found: f"\\u{ord(found[0]):04x}", text)
