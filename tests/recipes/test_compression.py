"""The recipe of compressors: what is run comes back, and what is not installed is named."""

from __future__ import annotations

import os
import shutil

import pytest

from carousel.errors import InputError
from carousel.recipes import compression

TEXT = b"one two three four five six seven eight nine ten\n" * 40


@pytest.mark.parametrize("program", [name for name in compression.PROGRAMS if not name.startswith("carousel-")])
def test_each_program_brings_the_file_back(program: str) -> None:
    if shutil.which(compression.PROGRAMS[program][0][0]) is None:
        pytest.skip(f"{program} is not installed")
    size, there, back = compression.timed(program, TEXT)
    assert 0 < size < len(TEXT)
    assert min(there, back) > 0


def test_a_program_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compression.PROGRAMS, "gzip", (["no-such-program", "FILE"], []))
    with pytest.raises(InputError, match="no-such-program is not installed"):
        compression.timed("gzip", TEXT)


def test_the_rows_are_files_and_programs() -> None:
    assert len(compression.RECIPE.rows) == len(compression.FILES) * len(compression.PROGRAMS)
    assert compression.content("random") == compression.content("random")
    assert compression.content("binary")[:4] == b"\x7fELF"


@pytest.mark.skipif("CAROUSEL_DATA" not in os.environ, reason="CAROUSEL_DATA is not set")
def test_the_files_of_the_data_folder() -> None:
    assert b"," in compression.content("table")[:200]
    assert len(compression.content("text")) == 1_115_394
