"""Result rows as text: the printed tables and the page of all reproductions.

A result row is one JSON file of ``carousel reproduce`` (task, model, variant); its fields are
described in docs/architecture.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from carousel.errors import InputError
from carousel.files import write_aside

Row = dict[str, Any]
"""One result row as JSON has it."""

HIGHER_IS_BETTER = ("accuracy", "macro-F1", "accuracy of nodes")
"""Measures of a job's table; every other one is an error."""


class ResultTable(NamedTuple):
    """Text by rows and columns; `best` are the numbers of the rows to show in bold."""

    columns: list[str]
    rows: list[list[str]]
    best: tuple[int, ...] = ()


PAGE = 90
"""Characters, those between columns included, that a table has room for on a page of a report, and in print."""

LONG = 30
"""Characters from which on a word in a table may be broken anywhere."""


def parts(table: tuple[Sequence[str], Sequence[Sequence[str]]], numbers: bool = True) -> list[tuple[list[str], list[list[str]]]]:
    """(columns, rows) as one or more of these that fit on a page, each with the first column, which names the rows.

    Column names wrap between words. So does text, and anywhere within a word of more than LONG characters; numbers and the
    names of rows, unless they are long, do not.
    """
    columns, rows = table
    widths = []
    for n, name in enumerate(columns):
        cells = [row[n] for row in rows]
        whole = cells if numbers and n else [cell[:LONG] for cell in cells] if n == 0 else []
        words = [word[:LONG] for text in (name, *cells) for word in text.split()]
        widths.append(2 + max(map(len, [*whole, *words]), default=0))
    groups, room = [[0]], PAGE - widths[0]
    for n in range(1, len(columns)):
        if widths[n] > room and len(groups[-1]) > 1:
            groups.append([0])
            room = PAGE - widths[0]
        groups[-1].append(n)
        room -= widths[n]
    return [([columns[n] for n in group], [[row[n] for n in group] for row in rows]) for group in groups]


def number(value: float, like: Iterable[float] = ()) -> str:
    """A number with as many decimals as give the largest of `like` (or itself) four significant digits."""
    if not math.isfinite(value):
        return str(value)
    largest = max((abs(other) for other in (value, *like) if math.isfinite(other)), default=0.0)
    digits = 3 - math.floor(math.log10(largest)) if largest > 0 else 0
    return f"{value:.3e}" if digits > 6 else f"{value:,.{max(digits, 0)}f}"


def setting_text(value: object) -> str:
    """The value of a setting, as the command line would have it; "" where it is not set."""
    if value is None or isinstance(value, bool):
        return "yes" if value else ""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def errors_table(methods: Sequence[Row]) -> ResultTable:
    """The errors (or scores) of one run's methods, as `Result.rows` of a job has them; the first measure tells the best."""
    measures = [name for name in methods[0] if name != "method"]
    columns = {name: [method[name] for method in methods] for name in measures}
    rows = [[method["method"], *(number(method[name], like=columns[name]) for name in measures)] for method in methods]
    better = max if measures[0] in HIGHER_IS_BETTER else min
    return ResultTable(["method", *measures], rows, (better(range(len(methods)), key=lambda n: methods[n][measures[0]]),))


def recipe_table(rows: Sequence[Row]) -> ResultTable:
    """One recipe's rows: each measure's mean and sample standard deviation over the runs, and their time.

    The best row is that with the best mean of the first measure.
    """
    measures = list(dict.fromkeys(name for row in rows for name in row["summary"]))
    values = {name: [_values(row, name) for row in rows] for name in measures}
    means = {name: [mean(runs) for runs in values[name] if runs] for name in measures}
    table = []
    for n, row in enumerate(rows):
        cells = [_mean_and_deviation(values[name][n], means[name]) for name in measures]
        seconds = [run["seconds"] for run in row["runs"]]
        table.append([row["row"], *cells, str(len(row["runs"])), f"{mean(seconds):.1f}" if any(seconds) else ""])
    sign = -1 if higher_is_better(rows, measures[0]) else 1
    best = min(range(len(rows)), key=lambda n: sign * mean(values[measures[0]][n]) if values[measures[0]][n] else math.inf)
    return ResultTable(["row", *measures, "runs", "seconds a run"], table, (best,))


def by_measure(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows with the same first measure, in their order: what can stand in one table."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(next(iter(row["summary"])), []).append(row)
    return groups


def higher_is_better(rows: Sequence[Row], measure: str) -> bool:
    """Whether some row has a goal that this measure be at least so much; an error is better lower."""
    return any("at_least" in goal for row in rows for goal in row["goals"] if goal["measure"] == measure)


def claims_table(rows: Sequence[Row]) -> ResultTable:
    """Every claim and goal of every row beside what was measured here, and whether the goal was met.

    A row with neither shows all that it measured; a column that would be empty is left out.
    """
    lines = []
    for row in rows:
        claims = {claim["measure"]: claim for claim in row["claims"]}
        goals = {goal["measure"]: goal for goal in row["goals"]}
        for measure in dict.fromkeys([*claims, *goals]) or row["summary"]:
            claim = _claimed(claims[measure]) if measure in claims else ""
            goal = _wanted(goals[measure]) if measure in goals else ""
            met = row["met"].get(measure)
            verdict = "" if met is None else "met" if met else "missed"
            statistic = goals.get(measure, {}).get("statistic", "mean")
            ours = _ours(row["summary"].get(measure), statistic, _trials(row, measure))
            lines.append([row["row"], measure, claim, goal, ours, verdict])
    columns = ["row", "measure", "paper", "goal", "ours", "verdict"]
    used = [n for n in range(len(columns)) if any(line[n] for line in lines)]
    return ResultTable([columns[n] for n in used], [[line[n] for n in used] for line in lines])


def by_recipe(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each recipe, in their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["recipe"], []).append(row)
    return groups


def page(rows: Sequence[Row]) -> str:
    """docs/reproductions.md: for each recipe the table of claims and goals, then each row's command and deviations."""
    lines = [
        _MARK,
        "# Reproductions",
        "",
        "Every row that `carousel reproduce` has measured, met or missed; `carousel results` prints the same.",
        "*Ours* is the mean over the runs, with their smallest and largest value; of trials, over those that met their criterion.",
    ]
    for recipe, own in by_recipe(rows).items():
        lines += ["", f"## {recipe}", "", *_markdown(claims_table(own))]
        for row in own:
            runs = f"{len(row['runs'])} run{'s' if len(row['runs']) != 1 else ''}"
            seconds = sum(run["seconds"] for run in row["runs"])
            runs += f" of {number(seconds)} s in all" if seconds else ""
            lines += ["", f"### {row['row']}", "", f"`{row['command']}` ({runs}, backend {row['backend']}, {row['date'][:10]})"]
            notes = [f"- Source of {claim['measure']}: {claim['source']}" for claim in row["claims"]]
            notes += [f"- Deviation: {text}" for text in row["deviations"]]
            lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


_MARK = "<!-- Written by `carousel results`; do not edit. -->"


def write_page(rows: Sequence[Row], path: Path) -> None:
    """Write the page, in place of an earlier one only.

    Raises:
        InputError: the file is there and was not written by this command.
    """
    if path.exists() and not path.read_text(encoding="utf-8").startswith(_MARK):
        raise InputError(f"{path} is not a page of `carousel results`; expected a new file or an earlier such page")
    write_aside(path, page(rows))


def _values(row: Row, measure: str) -> list[float]:
    return [run["measures"][measure] for run in row["runs"] if measure in run["measures"]]


def _mean_and_deviation(values: Sequence[float], like: Iterable[float]) -> str:
    if not values:
        return ""
    like = list(like)
    text = number(mean(values), like)
    return f"{text} ± {number(stdev(values), [*like, mean(values)])}" if len(values) > 1 else text


def _claimed(claim: Row) -> str:
    return _with_unit(claim["figure"], claim["unit"])


def _wanted(goal: Row) -> str:
    if goal.get("rivals"):
        rivals = f"below {', '.join(goal['rivals'])}"
        return rivals if goal["at_most"] is None else f"{rivals} ({_with_unit(number(goal['at_most']), goal['unit'])})"
    of = f"{goal['statistic']} " if "statistic" in goal else ""
    bounds = [f"{of}{name.replace('_', ' ')} {goal[name]:g}" for name in ("at_most", "at_least") if goal.get(name) is not None]
    return _with_unit(", ".join(bounds), goal["unit"])


def _with_unit(figure: object, unit: str) -> str:
    return f"{figure:g} {unit}".rstrip() if isinstance(figure, int | float) else f"{figure} {unit}".rstrip()


def _trials(row: Row, measure: str) -> int:
    """How many trials the row has, where the measure is one of each that met a criterion; else 0."""
    trials = [trial for run in row["runs"] for trial in run.get("trials", ())]
    name = measure.partition(" (")[0]
    return len(trials) if any(name in figures for trial in trials for figures in trial["met"].values()) else 0


def _ours(summary: Row | None, statistic: str, trials: int) -> str:
    """The statistic that a goal asks for, named unless it is the mean, and the range; of trials the median too."""
    if not summary or not summary["n"]:
        return "not measured"
    middle, low, high = (number(summary[name], [summary["max"]]) for name in (statistic, "min", "max"))
    named = middle if statistic == "mean" else f"{statistic} {middle}"
    if trials and summary["n"] > 1 and statistic == "mean":
        median = number(summary["median"], [summary["max"]])
        return f"{named} (median {median}, {low} to {high}; {summary['n']} of {trials} trials)"
    return middle if summary["n"] == 1 else f"{named} ({low} to {high}; {summary['n']} runs)"


def _markdown(table: ResultTable) -> list[str]:
    rows = [table.columns, ["---"] * len(table.columns), *([cell.replace("|", "\\|") for cell in row] for row in table.rows)]
    return [f"| {' | '.join(row)} |" for row in rows]
