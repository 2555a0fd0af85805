"""The units of a recipe that are done, in one file: a line of JSON each, added by several processes at once.

A line is added whole or not at all, under a lock on the file. What a killed process left of its line does not count and is
cut off before the next one is added. Where a unit has two lines, the later one counts.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from carousel.errors import InputError
from carousel.files import write_aside

Unit = tuple[str, int | str]
"""(row name, unit name)."""


def read_units(path: Path) -> dict[Unit, dict[str, Any]]:
    """What each unit that is done gave, in the order of the file; nothing where there is no file.

    Raises:
        InputError: a line that is no unit, with its number.
    """
    return _parsed(path, path.read_bytes()) if path.exists() else {}


def add_unit(path: Path, unit: Unit, entry: dict[str, Any]) -> None:
    """Add what a unit gave. OSError (a full disk, no permission) leaves the file as it was."""
    with _locked(path) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            rest = _line(unit, entry)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(end)
            raise


def remove_units(path: Path, units: Collection[Unit]) -> None:
    """Take these units out of the file, which is made where it is missing, and cut off an unfinished line."""
    with _locked(path) as file:
        kept = _parsed(path, file.read())
        if kept.keys() & set(units):
            write_aside(path, b"".join(_line(unit, entry) for unit, entry in kept.items() if unit not in units))


def _line(unit: Unit, entry: dict[str, Any]) -> bytes:
    return json.dumps({"row": unit[0], "unit": unit[1], **entry}).encode() + b"\n"


def _parsed(path: Path, content: bytes) -> dict[Unit, dict[str, Any]]:
    units: dict[Unit, dict[str, Any]] = {}
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        try:
            entry = json.loads(line)
            units[entry.pop("row"), entry["unit"]] = entry
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            if line.endswith(b"\n"):
                reason = "damaged, expected a unit as JSON; remove the line and run again"
                raise InputError(f"{path}, line {number}: {reason}") from None
    return units


@contextmanager
def _locked(path: Path) -> Iterator[FileIO]:
    """The file, made where it is missing, open at its beginning, its lines whole, while no other process has it so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                continue  # it was replaced while we waited
            file.seek(0)
            content = file.read()
            if content and not content.endswith(b"\n"):
                whole = content.rfind(b"\n") + 1
                if whole < len(content) and _parsed(path, content[whole:]):
                    file.write(b"\n")  # a unit that only its line end is missing of
                else:
                    file.truncate(whole)
            file.seek(0)
            yield file
            return
