"""Compression of four files by a network that learns while it codes, beside the usual programs at their strongest.

Rows "FILE-PROGRAM". The files: a text (Tiny Shakespeare), a table of measurements (pollution.csv), the first MiB of Python's own
program, and a MiB of random bytes. The programs run as a user runs them, so that their start counts; a row whose
program is not installed fails with its name, and the other rows go on. Every archive is decompressed and compared.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from carousel.data.public import data_folder
from carousel.errors import InputError
from carousel.recipes.recipe import Claim, Goal, Recipe, Row

MIB = 1 << 20

_CAROUSEL = [sys.executable, "-m", "carousel"]
_BACK = [*_CAROUSEL, "decompress", "ARCHIVE", "--out", "BACK"]
PROGRAMS: dict[str, tuple[list[str], list[str]]] = {
    "carousel": ([*_CAROUSEL, "compress", "FILE", "--out", "ARCHIVE"], _BACK),
    "carousel-network": ([*_CAROUSEL, "compress", "FILE", "--out", "ARCHIVE", "--model", "network"], _BACK),
    "carousel-counts": ([*_CAROUSEL, "compress", "FILE", "--out", "ARCHIVE", "--model", "counts"], _BACK),
    "carousel-slow": ([*_CAROUSEL, "compress", "FILE", "--out", "ARCHIVE", "--slow"], _BACK),
    "gzip": (["gzip", "-9c", "FILE"], ["gzip", "-dc", "ARCHIVE"]),
    "bzip2": (["bzip2", "-9c", "FILE"], ["bzip2", "-dc", "ARCHIVE"]),
    "xz": (["xz", "-9ec", "FILE"], ["xz", "-dc", "ARCHIVE"]),
    "zstd": (["zstd", "--ultra", "-22", "-qc", "FILE"], ["zstd", "-dqc", "ARCHIVE"]),
    "brotli": (["brotli", "-q", "11", "-w", "24", "-c", "FILE"], ["brotli", "-dc", "ARCHIVE"]),
    "7zz-ppmd": (["7zz", "a", "-bd", "-m0=PPMd:o=5", "ARCHIVE.7z", "FILE"], ["7zz", "x", "-so", "ARCHIVE.7z"]),
    "bzip3": (["bzip3", "-e", "-b", "16", "-c", "FILE"], ["bzip3", "-d", "-c", "ARCHIVE"]),
    "lrzip": (["lrzip", "-z", "-q", "-o", "ARCHIVE", "FILE"], ["lrzip", "-d", "-q", "-o", "BACK", "ARCHIVE"]),
    "zpaq": (["zpaq", "add", "ARCHIVE.zpaq", "FILE", "-m5"], ["zpaq", "extract", "ARCHIVE.zpaq", "FILE", "-to", "BACK"]),
}
"""name -> (compress FILE to ARCHIVE, decompress it to BACK); what names no such file writes it to its standard output."""

FILES = ("text", "table", "binary", "random")


def content(name: str) -> bytes:
    """The file of that name.

    Raises:
        InputError: the data set is not there.
    """
    if name == "random":
        return np.random.Generator(np.random.PCG64(1)).bytes(MIB)
    if name == "binary":
        with Path(sys.executable).resolve().open("rb") as file:
            return file.read(MIB)
    path = data_folder() / {"text": "tinyshakespeare/input.txt.gz", "table": "timeseries/pollution.csv.gz"}[name]
    if not path.exists():
        raise InputError(f"{path} is missing; `carousel data list` says how to get it")
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def run_unit(row: str, unit: int | str) -> dict[str, Any]:
    """One program on one file. Measures: "bits" a byte of the file; "compress" and "decompress", in kB/s."""
    name, _, program = row.partition("-")
    text = content(name)
    size, there, back = timed(program, text)
    measures = {"bits": 8 * size / len(text), "compress": len(text) / 1e3 / there, "decompress": len(text) / 1e3 / back}
    return {
        "seed": unit,
        "solved": None,
        "sequences": 0,
        "seconds": round(there + back, 2),
        "backend": "auto",
        "measures": measures,
        "curve": [],
    }


def timed(program: str, text: bytes) -> tuple[int, float, float]:
    """The length of the archive, and the seconds to make it and to read it again.

    Raises:
        InputError: the program is not installed, fails, or gives other bytes than it was given.
    """
    there, back = PROGRAMS[program]
    if shutil.which(there[0]) is None:
        raise InputError(f"{there[0]} is not installed")
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "FILE").write_bytes(text)
        seconds = [_seconds(there, folder, "ARCHIVE")]
        archive = next(path for path in folder.iterdir() if path.name.startswith("ARCHIVE"))
        seconds.append(_seconds(back, folder, "BACK"))
        if (folder / "BACK").read_bytes() != text:
            raise InputError(f"{program}: the file that came back is another")
        return archive.stat().st_size, seconds[0], seconds[1]


def _seconds(command: list[str], folder: Path, made: str) -> float:
    """Run a command in a folder; what it prints is the file `made` unless it writes that itself."""
    printed = folder / f"{made}.printed"
    with printed.open("wb") as file:
        began = time.perf_counter()
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE)
        seconds = time.perf_counter() - began
    if done.returncode:
        raise InputError(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-200:]}")
    if any(path.name.startswith(made) and path != printed for path in folder.iterdir()):
        printed.unlink()
    else:
        printed.rename(folder / made)
    return seconds


_FOUND = "measured on two cores before this project began"
_CLAIMS = {
    "gzip": 3.110,
    "bzip2": 2.356,
    "xz": 2.614,
    "zstd": 2.642,
    "brotli": 2.593,
    "7zz-ppmd": 2.097,
    "bzip3": 2.103,
    "lrzip": 2.043,
    "zpaq": 1.969,
}
_GOALS = {
    "text-carousel": (
        Goal("bits", "a byte", at_most=2.05),
        Goal("compress", "kB/s", at_least=10.0),
        Goal("decompress", "kB/s", at_least=10.0),
    ),
    "text-carousel-slow": (Goal("bits", "a byte", at_most=1.969),),
    "random-carousel": (Goal("bits", "a byte", at_most=8 * 1.005),),
}


def _row(file: str, program: str) -> Row:
    name = f"{file}-{program}"
    known = file == "text" and program in _CLAIMS
    claims = (Claim("bits", _CLAIMS[program], "a byte", _FOUND),) if known else ()
    return Row(name, units=(0,), claims=claims, goals=_GOALS.get(name, ()))


RECIPE = Recipe(
    name="compression",
    paper="After Schmidhuber & Heil, Sequential neural text compression, IEEE Transactions on Neural Networks 7(1), 1996",
    about="Files by a network that learns while it codes, beside other compressors: bits a byte, and speed both ways.",
    rows=tuple(_row(file, program) for file in FILES for program in PROGRAMS),
    run_unit=run_unit,
)
