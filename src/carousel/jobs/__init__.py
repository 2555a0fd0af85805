"""What the commands do, without a terminal: one job a file, each with the names that `Job` has.

Nothing here imports torch before a job runs, and nothing of the command line.
"""

from __future__ import annotations

import gzip
import json
import re
import shlex
import zlib
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from carousel.errors import InputError
from carousel.files import SOUNDS

if TYPE_CHECKING:
    from carousel.jobs.run import Result, Run
    from carousel.jobs.settings import TrainSettings


class Job(Protocol):
    """What the module of a job offers. A run is a folder, or the `Run` in it."""

    @property
    def Settings(self) -> type[TrainSettings]:
        """What is to be learned, and how."""

    def train(self, settings: Any, out: Path | str, *, resume: bool = False, progress: bool = True) -> Result:
        """Train with `Settings` and write the run folder `out`."""

    def load(self, folder: Run | Path | str) -> tuple[TrainSettings, Any]:
        """The settings and the `carousel.jobs.run.Result` of a finished run."""

    def evaluate(self, folder: Run | Path | str, file: Path | str | None = None) -> list[dict[str, Any]]:
        """The table of scores on the held-out part, or on another file."""

    def predict(self, folder: Run | Path | str, file: Path | str) -> Iterator[dict[str, Any]]:
        """What the network predicts of a file."""

    def stream(self, folder: Run | Path | str) -> Callable[[str], str]:
        """A function from a line to the line that answers it."""


JOBS: dict[str, str] = {
    "forecast": "carousel.jobs.forecast",
    "classify": "carousel.jobs.classify",
    "tag": "carousel.jobs.tag",
    "trees": "carousel.jobs.trees",
    "language": "carousel.jobs.language",
}
"""name -> module; a job is loaded only when it is asked for."""

IDX = r"\b(idx\d?|ubyte)\b"
"""What the name of an idx file has in it."""

JSON = (".jsonl", ".ndjson", ".json")
CONLL = (".conll", ".conllu", ".conllx", ".iob", ".iob2", ".bio")
_NOT_READ = (".arff", ".feather", ".h5", ".hdf5", ".mat", ".npy", ".npz", ".ods", ".parquet", ".pkl", ".xls", ".xlsx", ".zip")

_NUMBERS = re.compile(r"(?=.*\d)([\d\s+\-.,;:/|]|(?<=\d)[eETZ](?=[\d+\-\s]|$)|\b(nan|NaN|NA|null|inf)\b)*")
"""A line of nothing but numbers, dates and gaps, whatever separates them."""


_TREE = re.compile(
    r"\s*(?:\(\s*(?:[^\s()]+\s+)?(?:\(\s*)*[^\s()]+\s+(?:\(|[^\s()]+\s*\)\s*(?:[()]|$))|\(\s*(?:\(\s*)+[^\s()]+\s*\)\s*\()"
)
"""The beginning of a tree in brackets: a label and a node, or a label and one word and then the end or another
bracket; or words without labels."""


def load(name: str) -> Job:
    """The module of the job of that name; InputError has the nearest right name."""
    if name not in JOBS:
        raise InputError(f"unknown job {name!r}; did you mean {get_close_matches(name, JOBS, n=1, cutoff=0.0)[0]!r}?")
    return cast("Job", import_module(JOBS[name]))


def of_run(run: Run | Path | str) -> Job:
    """The module of the job that a run folder was made by."""
    from carousel.jobs.run import Run

    return load(Run.of(run).job)


def of_file(path: Path) -> str:
    """The job that a file is for, by its kind: what `carousel train FILE` takes where no job is named.

    .csv: forecast, or classify where it has columns text and label; .ts, .tar, idx, a recording and a folder: classify;
    .jsonl and .json: trees where the first object has parents or children, tag where it has a list of labels, else
    classify; .tsv: classify, or forecast where it begins with names; CoNLL files: tag; a text that begins with a tree in brackets:
    trees; every other file is a text: language. Each may be packed (.gz).

    Raises:
        InputError: no such file; a file whose kind is not read, or that holds a table and does not say so.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if ending(path) == ".csv":
        names = {name.strip(' "').lower() for name in re.split("[,;\t]", _beginning(path).partition("\n")[0].rstrip("\r"))}
        return "classify" if "text" in names and names & {"label", "labels"} else "forecast"
    if path.is_dir() or ending(path) in (".ts", ".tar", ".tgz", *SOUNDS) or re.search(IDX, path.name):
        return "classify"
    if ending(path) in JSON:
        found = _first_object(path)
        if "parents" in found or "children" in found:
            return "trees"
        return "tag" if any(isinstance(found.get(name), list) for name in ("label", "labels", "tags")) else "classify"
    if ending(path) in CONLL:
        return "tag"
    if ending(path) in _NOT_READ:
        raise InputError(
            f"{path}: {ending(path)} is not read; save a series as a table (.csv), and sequences with labels as .jsonl or .ts"
        )
    if _is_tree(_beginning(path)):
        return "trees"
    rows = [row for row in _beginning(path).splitlines() if row.strip()]
    if ending(path) == ".tsv":
        first = rows[0] if rows else ""
        return "classify" if _NUMBERS.fullmatch(first.partition("\t")[2] or first) else "forecast"  # past the label
    # The first row may have the names of the columns.
    if len(rows) > 2 and all(map(_NUMBERS.fullmatch, rows[1:])):
        file = shlex.quote(str(path))
        raise InputError(
            f"{path}: rows of numbers, not a text; to forecast a column: carousel train forecast {file} --target COLUMN, with "
            f"--no-header and --delimiter as it needs; for a model of its characters all the same: carousel train language {file}"
        )
    return "language"


def ending(path: Path) -> str:
    """The last ending of a file's name, in small letters, but that it is packed (.gz)."""
    endings = [ending.lower() for ending in path.suffixes if ending.lower() != ".gz"]
    return endings[-1] if endings else ""


def _first_object(path: Path) -> dict[str, Any]:
    """The first object in a file of JSON, empty where it has none; the reader tells what is wrong with a file."""
    try:
        first, _ = json.JSONDecoder().raw_decode(_beginning(path, 1 << 24).lstrip().removeprefix("[").lstrip())
        return first if isinstance(first, dict) else {}
    except (ValueError, RecursionError):
        return {}


def _is_tree(text: str) -> bool:
    """Whether a text begins with a tree in brackets, after which there is nothing, or another bracket."""
    if not _TREE.match(text):
        return False
    depth = 0
    for bracket in re.finditer("[()]", text):
        depth += 1 if bracket[0] == "(" else -1
        if depth == 0:
            return text[bracket.end() :].lstrip()[:1] in ("", "(")
    return True  # longer than what was read, or not closed, which its reader tells


def _beginning(path: Path, size: int = 1 << 16) -> str:
    """The first lines of a file, unpacked, as text: at most `size` bytes; "" of one that cannot be read."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            found = file.read(size).removeprefix(b"\xef\xbb\xbf")
        if found[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16
            return found.decode("utf-16", errors="replace")
        return (found if len(found) < size else found[: found.rfind(b"\n") + 1] or found).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""
