"""The commands that put a finished run to use: evaluate, predict, stream, generate."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cyclopts import App

from carousel import jobs
from carousel.cli.tables import for_reader, print_table
from carousel.errors import InputError
from carousel.files import write_aside
from carousel.jobs.run import Run
from carousel.printable import csv_row


def add_to(app: App) -> None:
    """Register the commands."""
    commands: tuple[Callable[..., None], ...] = (evaluate, predict, stream, generate)
    for order, command in enumerate(commands):
        app.command(sort_key=2.1 + order / 10)(command)


def evaluate(run: Path, file: Path | None = None, /) -> None:
    """Print the scores of a finished run on its test part, or on another file.

    Parameters
    ----------
    run
        The run folder.
    file
        A file of the same form as the training file, with targets. [default: the held-out test part]
    """
    from carousel.report.results import errors_table

    opened = Run(run)
    print_table(*errors_table(jobs.of_run(opened).evaluate(opened, file)))


def predict(run: Path, file: Path, /, *, out: Path | None = None) -> None:
    """Predict from a file: the values to come, the label of each sequence or step, the bits of each line of a text.

    The output is a table for a table (.csv), and JSON lines for everything else.

    Parameters
    ----------
    run
        The run folder.
    file
        A file of the same form as the training file; targets may be missing.
    out
        The file to create, .csv or .jsonl. [default: standard output]
    """
    if out is not None and out.exists():
        raise InputError(f"{out} already exists; choose another file")
    opened = Run(run)
    records = jobs.of_run(opened).predict(opened, file)
    named = out if out is not None and out.suffix.lower() in (".csv", ".jsonl") else file
    lines = _as_csv(records) if ".csv" in (suffix.lower() for suffix in named.suffixes) else _as_json(records)
    if out is not None:
        write_aside(out, "".join(lines))
        return
    for line in lines:
        sys.stdout.write(for_reader(line))


def stream(run: Path, /) -> None:
    """Read lines from standard input and answer each one immediately, carrying the state from line to line.

    A forecast reads CSV rows with the columns of its training file; a classifier or tagger, the numbers or words of a
    step (a blank line starts a new sequence); a language model, lines of text.

    Parameters
    ----------
    run
        The run folder.
    """
    opened = Run(run)
    answer = jobs.of_run(opened).stream(opened)
    for number, line in enumerate(_lines(by_byte=opened.table.get("unit") == "byte"), start=1):
        try:
            answered = answer(line)
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None
        print(for_reader(answered), flush=True)


def generate(run: Path, /, *, prompt: str | None = None, length: int = 500, temperature: float = 1.0, seed: int = 0) -> None:
    """Generate text with a language model.

    Parameters
    ----------
    run
        The run folder.
    prompt
        The text to continue. [default: a line break]
    length
        Number of characters (or bytes) to generate.
    temperature
        Sampling temperature; 0 always takes the most likely symbol.
    seed
        Random seed of the sampling; the same seed gives the same text.
    """
    from carousel.jobs import language

    written = language.generate(run, prompt, length=length, temperature=temperature, seed=seed)
    print((prompt or "").lstrip("\n"), end="", flush=True)
    for text in written:
        print(for_reader(text), end="", flush=True)
    print()


def _lines(*, by_byte: bool) -> Iterator[str]:
    """The lines of the standard input as they come, with their ends; read by byte, what is not UTF-8 as surrogates."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            # As in files, a mark of the byte order is none of a text's characters.
            yield line.decode("utf-8-sig" if number == 1 and not by_byte else "utf-8", "surrogateescape" if by_byte else "strict")
        except UnicodeDecodeError as error:
            raise InputError(f"line {number}: byte {error.start + 1} is not UTF-8") from None


def _as_json(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    for record in records:
        yield json.dumps(record, ensure_ascii=False) + "\n"


def _as_csv(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Rows with the names of the first record's entries above them."""
    names: list[str] = []
    for record in records:
        if not names:
            names = list(record)
            yield csv_row(names)
        yield csv_row(record[name] for name in names)
