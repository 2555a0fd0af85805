"""What the commands do, without a terminal: one job a file. Nothing here imports torch before a job runs.

Every job has the same names: `Settings`, `Result`, `train`, `load`, `evaluate`, `predict`, `stream`.
"""

from __future__ import annotations

import gzip
import json
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType

from carousel.errors import InputError

JOBS: dict[str, str] = {
    "forecast": "carousel.jobs.forecast",
}
"""name -> module; a job is loaded only when it is asked for."""


def load(name: str) -> ModuleType:
    """The module of the job of that name; InputError has the nearest right name."""
    if name not in JOBS:
        raise InputError(f"unknown job {name!r}; did you mean {get_close_matches(name, JOBS, n=1, cutoff=0.0)[0]!r}?")
    return import_module(JOBS[name])


def of_run(run: Path | str) -> ModuleType:
    """The module of the job that a run folder was made by."""
    from carousel.jobs.run import settings_table

    return load(settings_table(run)["job"])


def of_file(path: Path) -> str:
    """The job that a file is for, by its kind: what `carousel train FILE` takes where no job is named.

    .csv: forecast; .ts, .tar, idx and a folder: classify; .jsonl: classify, or tag where the first
    line has a list of labels; every other file is a text: language. Each may be packed (.gz).

    Raises:
        InputError: no such file.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    endings = [ending.lower() for ending in path.suffixes if ending.lower() != ".gz"]
    ending = endings[-1] if endings else ""
    if ending == ".csv":
        return "forecast"
    if path.is_dir() or ending in (".ts", ".tar", ".tgz", ".wav") or "ubyte" in path.name:
        return "classify"
    if ending in (".jsonl", ".ndjson"):
        return "tag" if _labels_each_step(path) else "classify"
    return "language"


def _labels_each_step(path: Path) -> bool:
    """Whether the first line of a file of JSON lines has a list of labels; the reader tells what is wrong with a file."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            first = json.loads(file.readline(1 << 24))
        return any(isinstance(first.get(name), list) for name in ("label", "labels", "tags"))
    except (OSError, EOFError, ValueError, AttributeError, RecursionError):
        return False
