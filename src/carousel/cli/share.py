"""Commands that share: public data to learn from, networks for other machines, runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from carousel.cli.tables import print_table
from carousel.errors import InputError
from carousel.jobs.run import Run
from carousel.printable import printable

DataDir = Annotated[Path | None, Parameter(show_default=False)]

data = App(name="data", help="Public data sets: list them, download them, print where they are.", sort_key=8)


@data.command(name="list")
def list_(*, data_dir: DataDir = None) -> None:
    """List the public data sets and whether they are present.

    Parameters
    ----------
    data_dir
        The data folder. [default: $CAROUSEL_DATA, or else a folder in the user's cache]
    """
    from carousel.data import public

    rows = [(name, own.about, _size(public.size(name)), public.state(name, data_dir)) for name, own in public.SETS.items()]
    print_table(("name", "what", "size", "state"), rows)
    print(f"\ndata folder: {public.data_folder(data_dir)}")


@data.command
def get(name: str, /, *, data_dir: DataDir = None) -> None:
    """Download a public data set, verify it, and print its path.

    For a set that cannot be downloaded in the form used here, print its files, their folder,
    where it is published and its license.

    Parameters
    ----------
    name
        The data set; see `carousel data list`.
    data_dir
        The data folder. [default: $CAROUSEL_DATA, or else a folder in the user's cache]
    """
    from carousel.data import public

    def progress(line: str) -> None:
        print(f"carousel: {line}", file=sys.stderr)

    if to_do := public.how_to_place(name, data_dir):
        print("\n".join(to_do))
        raise InputError(f"{name}: not present and cannot be downloaded; place its files by hand as described above")
    print(public.get(name, data_dir, progress))


@data.command
def path(name: str, /, *, data_dir: DataDir = None) -> None:
    """Print the path of a public data set, a file or a folder, for scripts.

    Parameters
    ----------
    name
        The data set; see `carousel data list`.
    data_dir
        The data folder. [default: $CAROUSEL_DATA, or else a folder in the user's cache]
    """
    from carousel.data import public

    print(public.path(name, data_dir))


def export(run: Path, /, *, out: Path, onnx: Annotated[bool, Parameter(negative="--no-onnx")] = True) -> None:
    """Export a trained network to other machines: weights, configuration, and its step as an ONNX model.

    Python loads it without the run: `carousel.export.load(OUT)`. The ONNX model maps x and the state to
    y and the next state, for any batch size; it is written only if onnxruntime gives the same results.
    A network over trees has two such models, of its leaves and of the nodes above them.

    Parameters
    ----------
    run
        The run folder.
    out
        The folder to create.
    onnx
        Also write step.onnx; requires `pip install 'carousel-rnn[onnx]'`. [--no-onnx: leave it out]
    """
    if Run(run).config and out.exists():
        raise InputError(f"{out} already exists; choose another folder")

    from carousel import export as exporting

    reason = exporting.export(run, out, onnx=onnx)
    if reason is not None:
        print(f"carousel: no ONNX model: {reason}", file=sys.stderr)
    for file in sorted(out.iterdir()):
        print(f"{_size(file.stat().st_size):>8}  {file}")


def compare(*runs: Path, page: Path | None = None) -> None:
    """Compare finished runs of one job: scores, time, weights, and the settings that differ.

    Parameters
    ----------
    runs
        The run folders, two or more.
    page
        Also write an HTML page, with the learning curves of all runs in one plot.
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
