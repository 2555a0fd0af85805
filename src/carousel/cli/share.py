"""Commands that share: public data to learn from, networks for other machines, runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from carousel.cli.tables import print_table
from carousel.errors import InputError
from carousel.printable import printable

DataDir = Annotated[Path | None, Parameter(show_default=False)]

data = App(name="data", help="Public data sets: list them, fetch them, tell where they are.", sort_key=8)


@data.command(name="list")
def list_(*, data_dir: DataDir = None) -> None:
    """List the public data sets, and whether they are here.

    Parameters
    ----------
    data_dir
        The data folder. [default: that of CAROUSEL_DATA, else the user's cache]
    """
    from carousel.data import public

    rows = [(name, own.about, _size(public.size(name)), public.state(name, data_dir)) for name, own in public.SETS.items()]
    print_table(("name", "what", "size", "state"), rows)
    print(f"\ndata folder: {public.data_folder(data_dir)}")


@data.command
def get(name: str, /, *, data_dir: DataDir = None) -> None:
    """Fetch a public data set, check it, and print its place.

    A set that cannot be downloaded in the form that is used here is described: its files, their folder,
    where it is published and its licence.

    Parameters
    ----------
    name
        The set; `carousel data list` names them.
    data_dir
        The data folder. [default: that of CAROUSEL_DATA, else the user's cache]
    """
    from carousel.data import public

    def told(line: str) -> None:
        print(f"carousel: {line}", file=sys.stderr)

    if to_do := public.how_to_place(name, data_dir):
        print("\n".join(to_do))
        raise InputError(f"{name}: not here, and not downloaded: place its files by hand, as told")
    print(public.get(name, data_dir, told))


@data.command
def path(name: str, /, *, data_dir: DataDir = None) -> None:
    """Print the file of a public data set, or the folder of its files, for scripts.

    Parameters
    ----------
    name
        The set; `carousel data list` names them.
    data_dir
        The data folder. [default: that of CAROUSEL_DATA, else the user's cache]
    """
    from carousel.data import public

    print(public.path(name, data_dir))


def export(run: Path, /, *, out: Path, onnx: Annotated[bool, Parameter(negative="--no-onnx")] = True) -> None:
    """Write a trained network for other machines: weights, configuration, and its step as an ONNX model.

    Python loads it without the run: `carousel.export.load(OUT)`. The ONNX model takes x and the state and
    gives y and the next state, for a batch of any size; it is written once onnxruntime gives the same.

    Parameters
    ----------
    run
        The run folder.
    out
        The folder to make.
    onnx
        Write step.onnx too; it needs the extra onnx of carousel-rnn. [--no-onnx: leave it out]
    """
    from carousel import export as exporting

    reason = exporting.export(run, out, onnx=onnx)
    if reason is not None:
        print(f"carousel: no step.onnx: {reason}", file=sys.stderr)
    for file in sorted(out.iterdir()):
        print(f"{_size(file.stat().st_size):>8}  {file}")


def compare(*runs: Path, page: Path | None = None) -> None:
    """Lay finished runs of one job side by side: figures, time, weights, and the settings that differ.

    Parameters
    ----------
    runs
        The run folders, two or more.
    page
        Write the same as an HTML page too, with the learning curves over each other.
    """
    from carousel.report.compare import compare as side_by_side

    comparison = side_by_side(runs)
    if page is not None:
        from carousel.report.html import write_comparison

        write_comparison(comparison, page)
    print_table(*comparison.scores)
    print()
    if comparison.settings.rows:
        print_table(*comparison.settings)
    else:
        print("all settings are the same")
    if page is not None:
        print(f"\npage: {page}")
    for note in comparison.notes:
        print(f"carousel: {printable(note)}", file=sys.stderr)


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.1f} kB"
