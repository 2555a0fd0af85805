"""Labelled images from idx files, as MNIST has them (LeCun & Cortes): each is a sequence of its rows or of its pixels.

An idx file is two zero bytes, a byte for the type of number, a byte for the number of axes, each axis's
length as a big-endian 32-bit number, then the numbers, big-endian, the last axis fastest. The labels
are a file of their own, found by the usual name: that of the images with "images" as "labels" and
"idx3" as "idx1".
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from carousel.data.files import read_bytes
from carousel.data.sequences import Sequences, checked, may_be_skipped
from carousel.errors import InputError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_images(
    path: Path | str, *, labels: Path | str | None = None, by: str = "rows", skipped: list[str] | None = None
) -> Sequences:
    """The images of an idx file, plain or gzip, named by their numbers from 1 on.

    Args:
        path:     (n, rows, columns), or (n, steps) for sequences of one number a step.
        labels:   the file of labels (n,), whole numbers; None: the one of the usual name, if it is there.
        by:       what a step is: "rows" (a vector of a row's pixels) or "pixels" (one number).
        skipped:  gets the reason for each image that is left out; None: one with a number that is not finite is refused.

    Raises:
        InputError: a file that cannot be read or is no idx file, labels that do not fit.
    """
    images = read_idx(path)
    if images.ndim < 2 or images.size == 0:
        raise InputError(f"{path}: expected images (n, rows, columns), got an array of shape {images.shape}")
    n = len(images)
    steps = math.prod(images.shape[1:]) if by == "pixels" or images.ndim == 2 else images.shape[1]
    found = _labels(path, labels, n)
    items, kept = [], []
    for at, image in enumerate(images.reshape(n, steps, -1)):
        with may_be_skipped(skipped):
            items.append(checked(image, f"{path}: image {at + 1}"))
            kept.append(at)
    if not items:
        raise InputError(f"{path}: no image in which all numbers are finite")
    return Sequences(str(path), "numbers", items, [found[at] for at in kept], [f"image {at + 1}" for at in kept])


def read_idx(path: Path | str) -> np.ndarray:
    """The array of an idx file, plain or gzip."""
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or not 1 <= content[3] <= 8:
        raise InputError(f"{path}: not an idx file (expected at its start two zero bytes, the type and the number of axes, 1 to 8)")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise InputError(f"{path}: the idx file is cut off within its first {start} bytes")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    dtype = np.dtype(_TYPES[content[2]])
    wanted = start + math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise InputError(
            f"{path}: the idx file is damaged or cut off: shape {shape} needs {wanted:,} bytes, it has {len(content):,}"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def usual_labels(path: Path | str) -> Path:
    """The name that the labels of these images usually have."""
    path = Path(path)
    return path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))


def _labels(path: Path | str, given: Path | str | None, n: int) -> list[str | None]:
    usual = usual_labels(path)
    if given is None and (usual == Path(path) or not usual.exists()):
        return [None] * n
    file = given or usual
    labels = read_idx(file)
    if labels.ndim != 1 or labels.dtype.kind == "f":
        raise InputError(f"{file}: expected whole numbers (n,) as labels, got {labels.dtype} of shape {labels.shape}")
    if len(labels) != n:
        raise InputError(f"{file}: expected a label for each of the {n} images of {path}, got {len(labels)}")
    return list(map(str, labels.tolist()))
