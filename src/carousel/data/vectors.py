"""Word vectors as text, a word and its numbers a line, as GloVe and word2vec publish them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carousel.data.files import lines_of, read_bytes, shortened
from carousel.errors import InputError


def read_vectors(path: Path | str, words: Collection[str]) -> tuple[int, dict[str, NDArray[np.float32]]]:
    """(D, word -> (D,)) of those of `words` that a file of word vectors has, plain or gzip.

    A first line of two whole numbers, how many words and how many numbers each, as in word2vec's text form, is skipped.
    A word that is there twice has its first vector.

    Raises:
        InputError: a file that cannot be read, or a line whose numbers are of another count than those before it.
    """
    path, wanted = Path(path), set(words)
    found: dict[str, NDArray[np.float32]] = {}
    size = 0
    for number, line in lines_of(read_bytes(path), path):
        parts = line.rstrip(" ").split(" ")  # a word may hold other kinds of space
        if number == 1 and len(parts) == 2 and all(part.isdecimal() for part in parts):
            continue
        if parts == [""]:
            continue
        if not size:
            size = len(parts) - 1
            if size < 1:
                raise InputError(f"{path}: line {number}: expected a word and its numbers, got {shortened(line)}")
        if len(parts) <= size or (len(parts) > size + 1 and _is_number(parts[-size - 1]) and _is_number(parts[1])):
            raise InputError(f"{path}: line {number}: expected a word and {size} numbers, as before, got {len(parts) - 1} numbers")
        word = " ".join(parts[:-size])
        if word not in wanted or word in found:
            continue
        try:
            vector = np.array(parts[-size:], np.float32)
        except ValueError:
            raise InputError(f"{path}: line {number}: expected numbers after the word {shortened(word)}") from None
        if not np.isfinite(vector).all():
            raise InputError(f"{path}: line {number}: a number of the word {shortened(word)} is not finite")
        found[word] = vector
    if not size:
        raise InputError(f"{path}: there is no word vector in it")
    return size, found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
