"""Lossless compression of files by a recurrent network that learns while it codes.

The predictor (`predictor.py`) mixes the forecast of an LSTM that learns online (`network.py`) with counts of what followed the
short contexts so far (`counts.py`); the entropy coder (`coder.py`) is constriction's. Both sides learn the same from what is
already coded, so that nothing has to be sent but the code, and both compute the same bits on every machine.
"""

from __future__ import annotations

import io
from typing import Any

from carousel.compressor.container import read_archive, write_archive
from carousel.compressor.predictor import Settings

__all__ = ["Settings", "compress", "decompress"]


def compress(data: bytes, **settings: Any) -> bytes:
    """Compress bytes into an archive, which contains the settings.

    Args:
        data:      any bytes.
        settings:  attributes of `Settings` that are not to have their defaults.

    Raises:
        InputError: settings out of range.
    """
    archive = io.BytesIO()
    write_archive(io.BytesIO(data), archive, Settings(**settings))
    return archive.getvalue()


def decompress(archive: bytes) -> bytes:
    """The bytes that `compress` was given.

    Raises:
        InputError: no archive, or one that is truncated, damaged, or made for another version.
    """
    return b"".join(read_archive(io.BytesIO(archive), "archive"))
