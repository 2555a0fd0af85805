"""Broken files for readers: bytes at random, and a good file cut off, with bytes changed, or with lines mixed."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from carousel.errors import InputError

whatever = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def broken(*good: bytes) -> st.SearchStrategy[bytes]:
    """Contents that a reader must take or refuse, near to and far from the good ones."""
    return st.one_of(st.binary(max_size=100), *(_near(content) for content in good))


@st.composite
def _near(draw: st.DrawFn, content: bytes) -> bytes:
    made = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(made)))
        match draw(st.sampled_from(["cut", "change", "insert", "remove", "repeat"])):
            case "cut":
                del made[at:]
            case "change" if at < len(made):
                made[at] = draw(st.integers(0, 255))
            case "insert":
                made[at:at] = draw(st.one_of(st.binary(max_size=8), st.sampled_from(PIECES)))
            case "remove":
                del made[at : at + draw(st.integers(1, 20))]
            case "repeat":
                made[at:at] = made[at : at + draw(st.integers(1, 40))]
    return bytes(made)


PIECES = [
    piece.encode()
    for piece in '\n : , ? @ @data \r\n nan inf 1e999 -1 null true [] {} [[1],[1,2]] " \\ud800 \\ufeff é 999999999999'.split(" ")
]


def read_or_refused(read: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What the reader gives, or None where it refuses in one line; whatever else is raised fails the test."""
    try:
        return read(*arguments, **options)
    except InputError as error:
        if len(str(error).splitlines()) != 1:
            pytest.fail(f"expected one line, got {error}")
        return None
