"""compress and decompress: files and pipes to archives and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from cyclopts import App

from carousel.errors import InputError
from carousel.files import named, sweep, writing_aside


def add_to(app: App) -> None:
    """Register the commands."""
    commands: tuple[Callable[..., None], ...] = (compress, decompress)
    for order, command in enumerate(commands):
        app.command(sort_key=2.7 + order / 10)(command)


def compress(
    file: Path | None = None,
    /,
    *,
    out: Path | None = None,
    model: Literal["mixed", "network", "counts"] = "mixed",
    hidden: int | None = None,
    slow: bool = False,
) -> None:
    """Compress a file by a recurrent network that learns while it codes.

    Slower than other compressors by far, as the network learns from every byte, here and again in `decompress`. An archive
    can be decompressed on any machine.

    Parameters
    ----------
    file
        The file; any bytes. [default: standard input; also for -]
    out
        The archive to create. [default: standard output]
    model
        What predicts the next byte: the network and counts of short contexts, or one of them alone.
    hidden
        Number of LSTM cells. [default: 128; 256 with --slow]
    slow
        Use larger settings: a smaller archive, in several times the time.
    """
    if out is None and sys.stdout.isatty():
        raise InputError("compress: an archive is not for a terminal; name a file with --out, or use a pipe")

    with _source(file) as (source, name), _target(out) as target:
        from carousel.compressor.container import write_archive
        from carousel.compressor.predictor import SLOW, Settings

        chosen: dict[str, Any] = {**(SLOW if slow else {}), "model": model}
        if hidden is not None:
            chosen["hidden"] = hidden
        with _progress("compressing", file) as moved:
            total, size = write_archive(source, target, Settings(**chosen), moved)
    if out is not None:
        rate = f", {8 * size / total:.3f} bits a byte" if total else ""
        print(f"carousel: {name}: {total} bytes to {size}{rate}", file=sys.stderr)


def decompress(archive: Path | None = None, /, *, out: Path | None = None) -> None:
    """Decompress an archive that `carousel compress` made.

    A file appears under its name once all of it has passed its checks. Through a pipe comes what has passed them so far; if
    the exit status is 0, that is everything.

    Parameters
    ----------
    archive
        The archive. [default: standard input; also for -]
    out
        The file to create. [default: standard output]
    """
    with _source(archive) as (source, name), _target(out) as target:
        from carousel.compressor.container import read_archive

        with _progress("decompressing", archive) as moved:
            for text in read_archive(source, name, moved):
                target.write(text)


@contextmanager
def _source(file: Path | None) -> Iterator[tuple[BinaryIO, str]]:
    if file is None or str(file) == "-":
        if sys.stdin.isatty():
            raise InputError("expected a file, or a pipe into the standard input")
        yield sys.stdin.buffer, "standard input"
    else:
        with named(file), file.open("rb") as source:
            yield source, str(file)


@contextmanager
def _target(out: Path | None) -> Iterator[BinaryIO]:
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if out.exists():
        raise InputError(f"{out} already exists; choose another file")
    sweep(out.parent, out.name)
    with writing_aside(out) as target:
        yield target


@contextmanager
def _progress(what: str, file: Path | None) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal, as far as the input's bytes are read."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    size = file.stat().st_size if file is not None and file.is_file() else None
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task(what, total=size)
        yield lambda read, written: bar.update(line, completed=read)
