"""The commands of ``carousel``; each one's help is its docstring."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

import carousel
from carousel import jobs
from carousel.cli import archive, share, train, use
from carousel.cli.options import show_dashes, whole_numbers
from carousel.cli.tables import print_table
from carousel.errors import InputError
from carousel.jobs.run import Run
from carousel.names import check_model

FAILED = 1


app = App(
    name="carousel",
    help="A workbench for recurrent networks.",
    version=carousel.__version__,
    help_format="markdown",
    config=(show_dashes, whole_numbers),
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), consume_multiple=True),
)


app.command(train.app)
use.add_to(app)
archive.add_to(app)
app.command(share.data)
app.command(share.export, sort_key=2.6)
app.command(share.compare, sort_key=2.5)


@app.command(sort_key=1)
def resume(run: Path, /) -> None:
    """Continue an interrupted training run; the result is the one it would have had without the interruption.

    Parameters
    ----------
    run
        The run folder.
    """
    opened = Run(run)
    settings = opened.settings(jobs.of_run(opened).Settings)
    opened.check_files(settings, "train in a new folder")
    train.train(settings, run, resume=True)


@app.command(sort_key=2)
def report(run: Path, /) -> None:
    """Print the results of a finished run and rewrite its report.html.

    Parameters
    ----------
    run
        The run folder.
    """
    train.show(run)


@app.command(name="list", sort_key=3)
def list_(what: Literal["cells", "models", "tasks", "recipes"] | None = None, /) -> None:
    """List the available cells, models, tasks and recipes.

    Parameters
    ----------
    what
        Cells and tasks are building blocks for Python, models the networks for `train`, recipes the experiments
        for `reproduce`. [default: all]
    """
    kinds = {"cells": _cells, "models": _models, "tasks": _tasks, "recipes": _recipes}
    for n, kind in enumerate(kinds if what is None else [what]):
        if n:
            print()
        print_table((kind, ""), kinds[kind]())


@app.command(sort_key=4)
def reproduce(
    name: str,
    /,
    *,
    out: Path = Path("results"),
    rows: Annotated[tuple[str, ...] | None, Parameter(name=("--rows", "--model"))] = None,
    all_rows: Annotated[bool, Parameter(name="--all")] = False,
    seeds: int | None = None,
    budget: int | None = None,
    processes: int = 2,
    restart: bool = False,
) -> int:
    """Run the experiments of a recipe: a paper's, or the demonstration's.

    Finished runs are kept, so the same command continues after an interruption.

    Parameters
    ----------
    name
        The recipe; see `carousel list recipes`. RECIPE/ROW is a single row of it.
    out
        The folder of results.
    rows
        Only these rows; --model is the same option. [default: all]
    all_rows
        All rows, the default.
    seeds
        Only the first N seeds of each row. [default: all]
    budget
        Train each run on this many sequences, for a quick look without goals; use --out to keep such results separate.
        [default: the recipe's number]
    processes
        Number of runs at a time, each on one core.
    restart
        Repeat the runs that are already done.
    """
    from carousel import recipes
    from carousel.recipes.reproduce import reproduce as measure
    from carousel.report.html import write_recipe_report
    from carousel.report.results import by_measure, claims_table, recipe_table

    if name not in recipes.RECIPES and "/" in name:
        name, row = name.rsplit("/", 1)
        rows = (*(rows or ()), row)
    if all_rows and rows:
        raise InputError(f"reproduce: expected either --all or rows, got both (rows {', '.join(rows)})")
    try:
        done = measure(name, out=out, rows=rows, seeds=seeds, budget=budget, processes=processes, restart=restart)
    except KeyboardInterrupt:
        same = "the same command without --restart" if restart else "the same command"
        raise KeyboardInterrupt(f"interrupted; finished runs are kept, and {same} continues") from None
    if done.rows:
        for group in by_measure(done.rows).values():
            print_table(*recipe_table(group))
        goals = claims_table([row for row in done.rows if row["claims"] or row["goals"]])
        if goals.rows:
            print()
            print_table(*goals)
        page = write_recipe_report(recipes.load(name), done.rows, out / name / "report.html")
        print(f"\nreport: {page}")
    if done.failures:
        print(f"carousel: {len(done.failures)} of the runs failed; the same command tries again", file=sys.stderr)
        return FAILED
    return 0


@app.command(sort_key=5)
def results(
    *, out: Path = Path("results"), as_json: Annotated[bool, Parameter(name="--json")] = False, page: Path | None = None
) -> None:
    """Print all results of `reproduce`: published figures, goals, measurements, met or missed.

    Parameters
    ----------
    out
        The folder of results.
    as_json
        Print the rows as JSON, with all runs.
    page
        Also write them as a Markdown page. [default: docs/reproductions.md, if it exists and the results are
        those in `results`]
    """
    from carousel.recipes.reproduce import collect
    from carousel.report.results import by_recipe, claims_table, write_page

    rows = collect(out)
    if not rows:
        raise InputError(f"{out}: no results there yet; `carousel reproduce NAME --out {out}` makes some")
    usual = Path("docs/reproductions.md")
    if page is None and out == Path("results") and usual.exists():
        page = usual
    if page is not None:
        write_page(rows, page)
        print(f"page: {page}", file=sys.stderr)
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        for n, (recipe, own) in enumerate(by_recipe(rows).items()):
            print(("\n" if n else "") + recipe)
            print_table(*claims_table(own))


@app.command(sort_key=6)
def explain(what: str, /, *, code: bool = False) -> None:
    """Explain how the engine runs a network: what loops in machine code, what runs over all steps at once, what is kept.

    Parameters
    ----------
    what
        The folder of a finished run, or the name of a model; see `carousel list models`.
    code
        Also print the generated code (LLVM).
    """
    of_run = (Path(what) / "config.toml").exists()
    if not of_run:
        check_model(what)

    import torch

    from carousel.models import build

    if of_run:
        run = Run(what)
        cell, inputs = run.network, run.blank_inputs()
    else:
        cell, inputs = build(what, 1, 12), torch.zeros(50, 32, 1)
    print(carousel.explain(cell, inputs, code=code), end="")


@app.command(sort_key=7)
def bench(
    *names: str,
    as_json: Annotated[Path | None, Parameter(name="--json")] = None,
    page: Path | None = None,
    quick: bool = False,
    threads: int = 2,
) -> int:
    """Time carousel against PyTorch, taking turns in one process, and compare with the goals.

    The results are compared first; a case whose results differ is not timed, and the exit status is 1.

    Parameters
    ----------
    names
        Cases, such as lstm-100x32x64x128, or a prefix, such as lstm. [default: all]
    as_json
        Write the timings, with versions, processor and commit, to this file.
    page
        Also write them as a Markdown page.
    quick
        Take a tenth of the time, for a quick look.
    threads
        Threads of PyTorch and of the native code.
    """
    from carousel import bench as benchmarks
    from carousel.files import write_aside

    def finished(case: str) -> None:
        print(f"carousel: {case} done", file=sys.stderr)

    if page is not None:
        benchmarks.check_page(page)
    report = benchmarks.run(benchmarks.select(names), quick, threads, finished)
    print(benchmarks.header(report))
    print_table(benchmarks.COLUMNS, benchmarks.table(report))
    for remark in benchmarks.remarks(report):
        print(remark)
    if as_json is not None:
        write_aside(as_json, json.dumps(report, indent=1) + "\n")
    if page is not None:
        benchmarks.write_page(report, page)
    return FAILED if report["wrong"] else 0


def _cells() -> list[tuple[str, str]]:
    """Each cell and what the first line of its module says of it."""
    from carousel import cells
    from carousel.cell import Cell

    found = [value for name in cells.__all__ if isinstance(value := getattr(cells, name), type) and issubclass(value, Cell)]
    return [
        (cell.__name__, (sys.modules[cell.__module__].__doc__ or "").partition("\n")[0].removeprefix(f"{cell.__name__}: "))
        for cell in found
    ]


def _models() -> list[tuple[str, str]]:
    from carousel.models import MODELS, TREE_MODELS, build, build_tree

    sizes = {
        name: sum(weight.numel() for weight in build(name, input_size=1, output_size=12, hidden=32).parameters()) for name in MODELS
    }
    rows = [(name, f"{size:,} weights with 1 input, 32 units, 12 outputs") for name, size in sizes.items()]
    for name in TREE_MODELS:
        size = sum(weight.numel() for weight in build_tree(name, 1, 12, hidden=32, embedding=32).parameters())
        rows.append((name, f"{size:,} weights over binary trees with 1 word of 32 numbers, 32 units, 12 outputs"))
    return rows


def _tasks() -> list[tuple[str, str]]:
    """Each task and what the first line of its module says of it."""
    from carousel.tasks import TASKS

    first_lines = {name: (sys.modules[task.__module__].__doc__ or "").partition("\n")[0] for name, task in TASKS.items()}
    return [(name, line.partition(": ")[2]) for name, line in first_lines.items()]


def _recipes() -> list[tuple[str, str]]:
    from carousel import recipes

    return [(name, recipes.load(name).about) for name in recipes.RECIPES]
