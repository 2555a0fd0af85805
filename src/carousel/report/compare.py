"""Finished runs of one job side by side: their figures, what they were told otherwise, their learning curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from carousel import jobs
from carousel.errors import InputError
from carousel.jobs.run import Run
from carousel.jobs.settings import TrainSettings
from carousel.report.metrics import curves
from carousel.report.results import HIGHER_IS_BETTER, ResultTable, Row, number, setting_text

_JUDGED_ON = (
    *("file", "target", "time", "id", "horizon", "unit", "test", "test_share", "test_pattern", "labels", "label_pattern"),
    *("key", "label_key", "max_length"),
)
"""Settings that tell what a network is judged on; of the labelled jobs the seed too, where it draws the test part."""


@dataclass(frozen=True)
class Comparison:
    """N finished runs of one job.

    Attributes:
        job:       its name.
        runs:      a name each.
        scores:    a row a run, and one for each baseline that has the same figures in all of them.
        settings:  a row for each setting that differs, a column a run.
        notes:     what makes the figures hard to compare, a sentence each.
        panels:    validation figures by (quantity, unit), name of the run: a curve each.
        commands:  (name, the command line that repeats the run).
    """

    job: str
    runs: list[str]
    scores: ResultTable
    settings: ResultTable
    notes: list[str]
    panels: dict[tuple[str, str], dict[str, list[list[tuple[float, float]]]]]
    commands: list[tuple[str, str]]


def compare(runs: Sequence[Path]) -> Comparison:
    """Lay finished runs side by side.

    Raises:
        InputError: fewer than two, one given twice, a folder that is no finished run, or runs of different jobs.
    """
    if len(runs) < 2:
        raise InputError(f"compare: expected two runs or more, got {len(runs)}")
    for run, times in Counter(run.resolve() for run in runs).items():
        if times > 1:
            raise InputError(f"compare: {run} is given {times} times")
    opened = [Run(run) for run in runs]
    if len({run.job for run in opened}) > 1:
        kinds = ", ".join(f"{run.folder} is of {run.job}" for run in opened)
        raise InputError(f"compare: expected runs of one job: {kinds}")
    loaded = [jobs.of_run(run).load(run) for run in opened]
    all_settings = [settings for settings, _ in loaded]
    names = [run.name for run in runs]
    if len(set(names)) < len(names) or "" in names:
        names = [str(run) for run in runs]
    tables = [{name: setting_text(value) for name, value in asdict(settings).items()} for settings in all_settings]
    differing = [name for name in tables[0] if len({table[name] for table in tables}) > 1]
    results = [result for _, result in loaded]
    return Comparison(
        job=all_settings[0].job,
        runs=names,
        scores=_scores(names, results, [_weights(run) for run in runs]),
        settings=ResultTable(
            ["setting", *names], [[name.replace("_", " "), *(table[name] for table in tables)] for name in differing]
        ),
        notes=_notes(all_settings, differing),
        panels=_panels(opened, names, results[0].rows, all_settings[0]),
        commands=[(name, result.command) for name, result in zip(names, results, strict=True)],
    )


def _scores(names: Sequence[str], results: Sequence[Any], weights: Sequence[int]) -> ResultTable:
    """The network of each run, and under them the baselines that all runs share."""
    shared = [row for row in results[0].rows[:-1] if all(row in result.rows for result in results[1:])]
    own = [result.rows[-1] for result in results]  # a job's own network stands last
    rows: list[Row] = [*own, *shared]
    measures = list(dict.fromkeys(name for row in rows for name in row if name != "method"))
    columns = {name: [row[name] for row in rows if name in row] for name in measures}
    figures = [[number(row[name], columns[name]) if name in row else "" for name in measures] for row in rows]
    lines = [
        [name, *figure, f"{result.seconds:.1f}", f"{result.sequences:,}", f"{count:,}"]
        for name, figure, result, count in zip(names, figures, results, weights, strict=False)
    ]
    lines += [[f"baseline {row['method']}", *figure, "", "", ""] for row, figure in zip(shared, figures[len(own) :], strict=True)]
    first = measures[0]
    better = max if first in HIGHER_IS_BETTER else min
    best = better((row[first] for row in rows if first in row), default=None)
    leading = tuple(n for n, row in enumerate(rows) if row.get(first) == best)
    return ResultTable(["run", *measures, "seconds", "sequences", "weights"], lines, leading)


def _weights(run: Path) -> int:
    """Numbers in the weights of a run."""
    path = run / "best" / "weights.safetensors"
    total = 0
    try:
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118
                size = 1
                for length in file.get_slice(name).get_shape():
                    size *= length
                total += size
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot read the weights: {str(error).splitlines()[0]}") from None
    return total


def _notes(settings: Sequence[TrainSettings], differing: Sequence[str]) -> list[str]:
    """Why figures may not be of the same thing."""
    apart = [name for name in differing if name in _JUDGED_ON]
    if settings[0].job in ("classify", "tag", "trees") and "seed" in differing and not all(_test_is_given(one) for one in settings):
        apart.append("seed")
    if not apart:
        return []
    return [
        f"the runs differ in {', '.join(name.replace('_', ' ') for name in apart)}: they are judged on different data or by "
        "different questions, so that a figure may be better for being easier"
    ]


def _test_is_given(settings: Any) -> bool:
    """Whether the test part is the same for every seed: a file of its own, or told by the names of recordings."""
    return settings.test is not None or getattr(settings, "test_pattern", None) is not None


def _panels(
    runs: Sequence[Run], names: Sequence[str], rows: Sequence[Row], settings: Any
) -> dict[tuple[str, str], dict[str, list[list[tuple[float, float]]]]]:
    """Validation loss, and the table's first measure where training watched it too, of all runs that have them."""
    found = {name: curves(run) for name, run in zip(names, runs, strict=True)}
    measure = next(name for name in rows[-1] if name != "method")
    forecast = settings.job == "forecast"
    units = {"loss": "scaled" if forecast else "nats", measure: settings.target if forecast else ""}
    panels = {}
    for quantity in units:
        of_runs = {name: [own["validation", quantity]] for name, own in found.items() if ("validation", quantity) in own}
        if of_runs:
            unit = "%" if quantity in HIGHER_IS_BETTER else units[quantity]
            panels[f"validation {quantity}", unit] = of_runs
    if not panels:
        raise InputError(f"{runs[0].folder / 'metrics.jsonl'}: not the metrics of a run: no validation loss")
    return panels
