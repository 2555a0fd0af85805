"""The units of a recipe in one file: added whole by several processes, half-written lines cut off."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from carousel.errors import InputError
from carousel.recipes.units import add_unit, read_units, remove_units


def entry(value: Any) -> dict[str, Any]:
    return {"seed": 1, "measures": {"MAE": value}, "curve": [[n, 0.1 * n] for n in range(200)]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "toy" / "units.jsonl"
    add_unit(path, ("plain", 0), entry(1.5))
    add_unit(path, ("clever", "a b"), entry(2.5))
    return path


def test_what_was_added_is_read_in_order(path: Path) -> None:
    assert list(read_units(path).items()) == [
        (("plain", 0), {"unit": 0, **entry(1.5)}),
        (("clever", "a b"), {"unit": "a b", **entry(2.5)}),
    ]
    assert next(iter(read_units(path)["plain", 0])) == "unit"
    assert all({"row", "unit"} <= json.loads(line).keys() for line in path.read_text().splitlines())


def test_no_file_is_no_unit(tmp_path: Path) -> None:
    assert read_units(tmp_path / "units.jsonl") == {}
    remove_units(tmp_path / "units.jsonl", [("plain", 0)])
    assert read_units(tmp_path / "units.jsonl") == {}


def test_the_later_line_of_a_unit_counts(path: Path) -> None:
    add_unit(path, ("plain", 0), entry(3.5))
    assert read_units(path)["plain", 0]["measures"] == {"MAE": 3.5}
    assert len(read_units(path)) == 2


def test_units_are_removed_and_others_stay(path: Path) -> None:
    remove_units(path, [("plain", 0), ("plain", 7), ("clever", 0)])
    assert list(read_units(path)) == [("clever", "a b")]
    assert [file.name for file in path.parent.iterdir()] == ["units.jsonl"]


@pytest.mark.parametrize("left", [b"{", b'{"row": "plain", "unit": 1, "see', b"\xc3", b"7", b"[]", b"{}"])
def test_what_a_killed_process_left_does_not_count_and_goes(path: Path, left: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + left)
    assert len(read_units(path)) == 2
    add_unit(path, ("plain", 1), entry(9.0))
    assert path.read_bytes().startswith(whole + b'{"row": "plain", "unit": 1, "seed"')
    assert list(read_units(path)) == [("plain", 0), ("clever", "a b"), ("plain", 1)]

    path.write_bytes(whole + left)
    remove_units(path, ())
    assert path.read_bytes() == whole

    path.write_bytes(left)
    add_unit(path, ("plain", 1), entry(9.0))
    assert list(read_units(path)) == [("plain", 1)]


def test_a_whole_unit_without_its_line_end_is_kept(path: Path) -> None:
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    add_unit(path, ("plain", 1), entry(9.0))
    assert list(read_units(path)) == [("plain", 0), ("clever", "a b"), ("plain", 1)]


@pytest.mark.parametrize("line", ["{", "[]", "7", '{"row": "plain"}', '{"row": "plain", "unit": [1]}', ""])
def test_a_damaged_line_is_refused_with_its_number(path: Path, line: str) -> None:
    first, second = path.read_text().splitlines()
    content = f"{first}\n{line}\n{second}\n"
    path.write_text(content)
    for use in (read_units, lambda path: remove_units(path, [("plain", 0)])):
        with pytest.raises(InputError, match=r"units\.jsonl, line 2: damaged"):
            use(path)
    assert path.read_text() == content


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            add_unit(path, ("plain", 1), entry(9.0))
    assert path.read_bytes() == before


ADDING = """
import sys
from pathlib import Path
from carousel.recipes.units import add_unit, remove_units
path, row = Path(sys.argv[1]), int(sys.argv[2])
sys.stdin.read()  # all begin at once
for unit in range(20):
    add_unit(path, (f"row {row}", unit), {"curve": [[n, 0.1 * n] for n in range(200)]})
    if row == 0:
        remove_units(path, [("row 0", unit - 1)])
"""


def test_many_processes_add_at_once_while_one_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "units.jsonl"
    commands = [[sys.executable, "-c", ADDING, str(path), str(row)] for row in range(6)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for command in commands]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(timeout=100) for process in processes] == [0] * 6
    expected = {(f"row {row}", unit) for row in range(1, 6) for unit in range(20)}
    assert set(read_units(path)) == expected | {("row 0", 19)}
    assert len(path.read_text().splitlines()) == 101
