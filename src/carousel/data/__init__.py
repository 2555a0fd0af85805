"""Files on disk to tasks.

The one series that ships with the package, `example("sunspots")`, is the classic monthly mean
sunspot number, January 1749 to December 1983 (2820 months), of SILSO, World Data Center, Royal
Observatory of Belgium, Brussels (the series before its revision of 2015).
"""

from __future__ import annotations

from pathlib import Path

from carousel.data.csv import Series, Table, read_series, read_table, series_of
from carousel.errors import InputError

__all__ = ["Series", "Table", "example", "read_series", "read_table", "series_of"]

_EXAMPLES = {"sunspots": "sunspots.csv"}


def example(name: str) -> Path:
    """The path of a series that ships with the package: "sunspots"."""
    if name not in _EXAMPLES:
        raise InputError(f"no example series {name!r}, expected one of: {', '.join(_EXAMPLES)}")
    return Path(__file__).with_name(_EXAMPLES[name])
