"""reproduce: do a recipe's units of work in parallel processes, and merge them into result rows.

    <out>/<recipe>/units.jsonl    a line a unit, written the moment it is done
    <out>/<recipe>/<row>.json     the row: claims, goals, runs, summary, what was met

A unit that is there is not done again, so an interrupted reproduction goes on where it stopped.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from carousel.errors import InputError
from carousel.files import write_aside
from carousel.provenance import provenance
from carousel.recipes import load
from carousel.recipes.recipe import Goal, Recipe, RunUnit
from carousel.recipes.units import Unit, add_unit, read_units, remove_units


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` did.

    rows:      the merged rows that have at least one unit, in the recipe's order, as in their files.
    failures:  (row name, unit name) -> why it failed, one line.
    seconds:   wall time.
    """

    rows: list[dict[str, Any]]
    failures: dict[Unit, str]
    seconds: float


def reproduce(
    recipe: str | Recipe,
    *,
    out: Path | str = Path("results"),
    rows: Sequence[str] | None = None,
    seeds: int | None = None,
    budget: int | None = None,
    processes: int = 2,
    restart: bool = False,
    progress: bool = True,
) -> Reproduction:
    """Do the units of a recipe that are missing, and merge all that are there into rows.

    Args:
        recipe:     a key of `carousel.recipes.RECIPES`, or a recipe of your own.
        out:        the folder of results.
        rows:       only these rows; None for all.
        seeds:      only the first so many units of each row; None for all.
        budget:     train on so many sequences a unit, in place of the recipe's number, without its goals; keep such
                    results in a folder of their own. None: the recipe's.
        processes:  units done at a time, each in a process with one thread.
        restart:    do the units again that are there already.
        progress:   print a line for each unit done.

    A unit that fails is reported and the others go on. On Ctrl-C the units under way are lost,
    nothing else; KeyboardInterrupt is raised again once the processes have ended.

    Raises:
        OSError: the folder cannot be made.
        InputError: an unknown recipe or row, or a number below 1.
        OSError: the folder of results cannot be made.
    """
    for option, value in (("processes", processes), ("seeds", seeds), ("budget", budget)):
        if value is not None and value < 1:
            raise InputError(f"reproduce: expected {option} of at least 1, got {value}")
    began = time.monotonic()
    recipe = load(recipe) if isinstance(recipe, str) else recipe
    folder = Path(out) / recipe.name
    names = [row.name for row in recipe.rows]
    for row_name in rows or ():
        if row_name not in names:
            raise InputError(f"recipe {recipe.name}: no row {row_name!r}, expected one of: {', '.join(names)}")
    run_unit = recipe.run_unit
    if budget is not None:
        if "budget" not in inspect.signature(run_unit).parameters:
            raise InputError(f"recipe {recipe.name}: its units have no budget to choose; leave it out")
        run_unit = partial(run_unit, budget=budget)
        recipe = replace(recipe, rows=tuple(replace(row, goals=()) for row in recipe.rows))  # they are of the recipe's own budget
    planned = [(row.name, unit) for row in recipe.rows if rows is None or row.name in rows for unit in row.units[:seeds]]
    units = folder / "units.jsonl"
    remove_units(units, planned if restart else ())  # before the work, to learn that the file cannot be written
    done = read_units(units)
    missing = [unit for unit in planned if unit not in done]

    if progress:
        _say(f"{recipe.name}: {len(missing)} of {len(planned)} units to do, {processes} at a time")
    failures: dict[Unit, str] = {}
    try:
        with closing(_work(run_unit, units, missing, processes)) as work:
            for count, (unit, made) in enumerate(work, start=1):
                if isinstance(made, str):
                    failures[unit] = made
                if progress:
                    _say(f"[{count}/{len(missing)}] {unit[0]} {unit[1]}: {made if isinstance(made, str) else _in_short(made)}")
    finally:
        merged = _merge(recipe, folder)
    return Reproduction(merged, failures, time.monotonic() - began)


def collect(out: Path | str = Path("results")) -> list[dict[str, Any]]:
    """All result rows under a folder of results, by recipe and row name.

    Raises:
        InputError: a file there that is no result row.
    """
    found = []
    for path in sorted(Path(out).rglob("*.json")):
        row = _read(path)
        if not {"recipe", "row", "runs", "summary", "goals", "met"} <= row.keys():
            raise InputError(f"{path}: not a result row; `carousel reproduce` writes them")
        found.append(row)
    return found


# --- The processes ---------------------------------------------------------------------------------


def _work(run_unit: RunUnit, file: Path, units: list[Unit], processes: int) -> Generator[tuple[Unit, dict[str, Any] | str]]:
    """Do the units in parallel; give each as it ends, with its run, or with the reason where it failed."""
    spawn = get_context("spawn")
    waiting = units[::-1]
    workers: dict[Connection, Any] = {}
    doing: dict[Connection, Unit] = {}
    try:
        while waiting or doing:
            while waiting and len(workers) < processes:
                ours, theirs = spawn.Pipe()
                worker = spawn.Process(target=_worker, args=(theirs, run_unit, file), daemon=True)
                with _one_thread_unheard():
                    worker.start()
                theirs.close()
                workers[ours], doing[ours] = worker, waiting.pop()
                ours.send(doing[ours])
            for ready in wait(list(doing)):
                assert isinstance(ready, Connection)
                unit = doing.pop(ready)
                made: dict[str, Any] | str
                try:
                    made = ready.recv()
                except EOFError:  # killed, or out of memory: the other units need a new process
                    workers[ready].join()
                    made = f"its process ended with status {workers.pop(ready).exitcode}"
                else:
                    if waiting:
                        doing[ready] = waiting.pop()
                        ready.send(doing[ready])
                yield unit, made
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.join()


def _worker(connection: Connection, run_unit: RunUnit, file: Path) -> None:
    """Do units until the other end is gone; send the run or the reason of failure for each."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            unit = connection.recv()
            try:
                run = run_unit(*unit)
                add_unit(file, unit, {**run, **provenance()})
                connection.send(run)
            except Exception as error:
                traceback.print_exc()
                connection.send(f"{type(error).__name__}: {' '.join(str(error).split())}")
    except (EOFError, BrokenPipeError):
        return


def _end_with_parent() -> None:
    """End this process once its parent has ended, however it did: a unit under way would go on for hours, unheard."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _one_thread_unheard() -> Iterator[None]:
    """What a worker is started in: an environment for one thread that keeps its memory and has its products summed in one
    order, and SIGINT blocked.

    The C library would give large blocks back at every update and have them zeroed again for the next, which takes a tenth
    of the time of a training in batches, or more. MKL would make sums in an order that depends on the processor.

    Libraries read the environment when they are loaded, and the blocked signal is inherited:
    Ctrl-C reaches every process, but the first one ends the others. The resource tracker of
    multiprocessing runs already by then: starting it would unblock the signal (before Python 3.12).
    """
    resource_tracker.ensure_running()
    own = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
    own |= {"MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
    own["MKL_CBWR"] = "AVX2"
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# --- The files -------------------------------------------------------------------------------------


def _json(table: dict[str, Any]) -> str:
    """One line a key, so that a change shows where it is."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()) + "\n}\n"


def _merge(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """Write and give the rows that have units."""
    done = read_units(folder / "units.jsonl")
    runs = {row.name: [done[row.name, unit] for unit in row.units if (row.name, unit) in done] for row in recipe.rows}
    summaries = {name: _summary(of_row) for name, of_row in runs.items()}
    merged = []
    for row in recipe.rows:
        if not runs[row.name]:
            continue
        goals = [_goal(goal, summaries) for goal in row.goals]
        met = {goal["measure"]: _met(goal, summaries[row.name]) for goal in goals}
        latest = max(runs[row.name], key=lambda run: run["date"])
        result = {
            "recipe": recipe.name,
            "row": row.name,
            "command": f"carousel reproduce {recipe.name} --rows {row.name}",
            **{key: latest[key] for key in ("commit", "date", "backend", "cores")},
            "claims": [asdict(claim) for claim in row.claims],
            "goals": goals,
            "runs": runs[row.name],
            "missing": [unit for unit in row.units if (row.name, unit) not in done],
            "summary": summaries[row.name],
            "met": met,
            "all_met": all(met.values()),
            "deviations": list(row.deviations),
        }
        write_aside(folder / f"{row.name}.json", _json(result))
        merged.append(result)
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text())
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise InputError(f"{path}: damaged, expected a JSON object; remove it and run again")
    return table


def _summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    summary = {}
    for measure in dict.fromkeys(measure for run in runs for measure in run["measures"]):
        values = _of_trials(runs, measure) or [run["measures"][measure] for run in runs if measure in run["measures"]]
        summary[measure] = {
            "n": len(values),
            "mean": statistics.fmean(values),
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
        }
    return summary


def _of_trials(runs: list[dict[str, Any]], measure: str) -> list[float]:
    """A measure of every trial that met a criterion, where a unit is a group of trials; "sequences (ST1)" is of criterion ST1."""
    name, _, criterion = measure.removesuffix(")").partition(" (")
    met = [trial["met"].get(criterion, {}) for run in runs for trial in run.get("trials", ())]
    return [figures[name] for figures in met if name in figures]


def _goal(goal: Goal, summaries: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """The goal as a result row has it; a goal against rivals is a figure once all of them are there."""
    entry: dict[str, Any] = {"measure": goal.measure, "unit": goal.unit}
    if goal.rivals:
        means = [summaries[rival][goal.measure]["mean"] for rival in goal.rivals if summaries[rival]]
        return {**entry, "rivals": list(goal.rivals), "at_most": min(means) if len(means) == len(goal.rivals) else None}
    if goal.statistic != "mean":
        entry["statistic"] = goal.statistic
    if goal.at_least is not None:
        return {**entry, "at_least": goal.at_least}
    return {**entry, "at_most": goal.at_most}


def _met(goal: dict[str, Any], summary: dict[str, dict[str, float]]) -> bool:
    """Whether the mean, or the goal's own statistic, reaches it; never, as long as there is none or no figure."""
    if goal["measure"] not in summary:
        return False
    value = summary[goal["measure"]][goal.get("statistic", "mean")]
    if "at_least" in goal:
        return value >= goal["at_least"]
    return goal["at_most"] is not None and value <= goal["at_most"]


# --- What is printed -------------------------------------------------------------------------------


def _in_short(run: dict[str, Any]) -> str:
    measures = ", ".join(f"{measure} {value:.4g}" for measure, value in run["measures"].items())
    return f"{measures} ({run['seconds']:.1f} s)"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
