"""Tagged sentences from a CoNLL file: a word a line, with its label in another column; a blank line ends a sentence.

Columns are separated by tabs or, where a file has none, by blanks. The word is the first column and the
label the last, as in the shared tasks of CoNLL up to 2003::

    U.N.      NNP  I-NP  I-ORG
    official  NN   I-NP  O

In a file of Universal Dependencies (.conllu) the word is the column form and the label the column upos; lines of
words that were taken apart (2-3) or that are not there (2.1) are not read. Lines that begin with -DOCSTART-, and remarks, are
not read either.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from carousel.data.files import lines_of, read_bytes, shortened
from carousel.data.sequences import Sequences, may_be_skipped
from carousel.errors import InputError

NAMES = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns of a .conllu file."""

_REMARK = re.compile(r"#\s?(id\s|begin\s|end\s|[\w.]+\s=)")


def read_conll(
    path: Path | str,
    *,
    key: str | None = None,
    label_key: str | None = None,
    with_labels: bool = True,
    skipped: list[str] | None = None,
) -> Sequences:
    """The sentences of a file, plain or gzip, named by the lines that they begin at; without labels where it has one column.

    Args:
        path:         the file.
        key:          the column of the word, by its number from 1 on or, of a .conllu file, its name.
        label_key:    the column of the label, likewise.
        with_labels:  whether labels are looked at.
        skipped:      gets the reason for each sentence that is left out; None: one that cannot be read is refused.

    Raises:
        InputError: a file that cannot be read, a line that does not fit; with the line.
    """
    universal = ".conllu" in (suffix.lower() for suffix in Path(path).suffixes)
    rows = list(lines_of(read_bytes(path), path))
    first = next((line for _, line in rows if line.strip() and line[0] != "#" and not line.startswith("-DOCSTART-")), "")
    separator = re.compile(r"\t" if "\t" in first else r"[ \t]+")
    width = len(separator.split(first.strip(" ")))
    word = label = _column("--key", key, "2" if universal else "1", width, universal)
    if with_labels:
        label = _column("--label-key", label_key, "4" if universal else str(width), width, universal)
    items, labels, names = [], [], []
    for blank, lines in groupby(rows, lambda row: not row[1].strip() or row[1].startswith("-DOCSTART-")):
        if blank:
            continue
        with may_be_skipped(skipped):
            found = []
            for number, line in lines:
                cells = separator.split(line.strip(" "))
                if line.startswith("#") and (universal or len(cells) != width or _REMARK.match(line)):
                    continue
                place = f"{path}: line {number}"
                if len(cells) != width:
                    raise InputError(
                        f"{place}: expected {width} columns, as in the first line, got {len(cells)}: {shortened(line)}"
                    )
                if universal and not cells[0].isdecimal():
                    continue
                if not cells[word].strip() or not cells[label].strip():
                    raise InputError(f"{place}: expected a word and its label, got {shortened(line)}")
                found.append((number, cells[word], cells[label].strip()))
            if found:
                items.append([cell for _, cell, _ in found])
                labels.append([cell for _, _, cell in found])
                names.append(f"line {found[0][0]}")
    if not items:
        raise InputError(f"{path}: no words there: expected a word and its label a line")
    return Sequences(str(path), "words", items, list(labels) if word != label else [None] * len(items), names)


def _column(option: str, given: str | None, usual: str, width: int, universal: bool) -> int:
    """The index of a column."""
    named = given or usual
    if universal and named.lower() in NAMES:
        named = str(NAMES.index(named.lower()) + 1)
    if not named.isdecimal() or not 1 <= int(named) <= width:
        columns = f"1 to {width}" + (f", or one of {', '.join(NAMES)}" if universal else "")
        raise InputError(f"{option}: expected the number of a column, {columns}, got {shortened(named)}")
    return int(named) - 1
