"""Own data: what `carousel train` reaches on public files and on made ones, with the settings of one command each.

A row's unit is a seed: the job is run as the command line runs it, and its table is what is measured.
Forecasts have the default settings; those of the other rows were chosen on the validation part, and the held-back part was looked
at afterwards.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from carousel import jobs
from carousel.errors import InputError
from carousel.recipes.made_series import MADE
from carousel.recipes.recipe import Goal, Recipe, Row


@dataclass(frozen=True)
class FileTrial:
    """One command: a job, a file in the data folder, its options, and what must come out.

    A path among the options is of another file in the data folder; file may also be of MADE, written for the occasion.
    goals are for the network's row of the job's table; "<measure> / best baseline" is the network's
    first measure divided by the best of the other rows.
    """

    job: str
    file: str
    options: dict[str, Any]
    goals: tuple[Goal, ...] = ()
    units: tuple[int, ...] = (0,)
    deviations: tuple[str, ...] = ()


def _forecast(file: str, why: str = "", **options: Any) -> FileTrial:
    """A forecast with the default settings: what is to be forecast of a file, and no more; `why` it misses the goal."""
    goals = (Goal("MAE / best baseline", "", at_most=1.02),)
    return FileTrial("forecast", file, options, goals, units=(0, 1, 2), deviations=(why,) if why else ())


CASES: dict[str, FileTrial] = {
    "sunspots": _forecast("timeseries/monthly-sunspots.csv", target="Sunspots"),
    "temperatures": _forecast("timeseries/daily-min-temperatures.csv", target="Temp", horizon=7, quantiles=(0.1, 0.5, 0.9)),
    "airline-passengers": _forecast("timeseries/airline-passengers.csv", target="Passengers"),
    "pm25": _forecast(
        "timeseries/pollution.csv.gz",
        target="pm2.5",
        time=("year", "month", "day", "hour"),
        covariates=("DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir"),
        quantiles=(0.1, 0.5, 0.9),
        horizon=24,
    ),
    "tree-rings": _forecast("long_memory/tree7.csv", target="x"),
    "traffic": _forecast("long_memory/traffic.csv", target="x", covariates=("temp",)),
    "week-and-year": _forecast(
        "week-and-year",
        "Validation and test part are different halves of a year, and the training part has not three years: by the validation "
        "error the LSTM is the best.",
        target="demand",
        horizon=14,
    ),
    "intermittent-sales": _forecast(
        "intermittent-sales", "Of three seeds one stops early.", target="sold", horizon=14, known=("offer",)
    ),
    "many-short-series": _forecast("many-short-series", target="sales", id="shop", horizon=6, history=12),
    "drifting-level": _forecast("drifting-level", target="value", horizon=24),
    "spoken-digits": FileTrial(
        job="classify",
        file="spoken_digits/fsdd_recordings.tar.gz",
        options={"label_pattern": r"^(\d)_", "test_pattern": r"_[0-4]\.wav$"},
        goals=(Goal("accuracy", "%", at_least=96.0),),
        units=(0, 1, 2),
    ),
    "japanese-vowels": FileTrial(
        job="classify",
        file="japanese_vowels/JapaneseVowels_TRAIN.ts.gz",
        options={
            "test": Path("japanese_vowels/JapaneseVowels_TEST.ts.gz"),
            "hidden": 100,
            "layers": 2,
            "answer": "last",
            "noise": 1.0,
            "sequences": 10_000,
            "evaluate_every": 500,
        },
        goals=(Goal("accuracy", "%", at_least=97.0),),
        units=(0, 1, 2),
        deviations=(
            "Settings chosen by the loss over five splits of the training file; that a first choice (one layer, the mean of all "
            "answers, noise 0.6) reaches 94.9 % of the test file was known by then.",
        ),
    ),
    "imdb": FileTrial(
        job="classify",
        file="imdb/train.jsonl.gz",
        options={
            "test": Path("imdb/test.jsonl.gz"),
            "max_length": 1_000,
            "hidden": 32,
            "embedding": 32,
            "rate": 0.005,
            "sequences": 30_000,
            "evaluate_every": 2_000,
        },
    ),
    "shakespeare": FileTrial(
        job="language",
        file="tinyshakespeare/input.txt.gz",
        options={
            "hidden": 384,
            "length": 128,
            "dropout": 0.3,
            "rate": 0.004,
            "decay": True,
            "sequences": 100_000,
            "evaluate_every": 4_000,
        },
        goals=(Goal("bits/character", "bits", at_most=2.3),),
        deviations=(
            "A seed is trained on one thread here; the command line takes both cores. Chosen when two other settings were known: "
            "without dropout and decay, 64,000 sequences of 100: 2.465 bits; with dropout 0.2 and decay, 80,000 of 128: 2.394.",
        ),
    ),
}


def data_file(name: str) -> Path:
    """The place of a public file in the folder that CAROUSEL_DATA names."""
    folder = os.environ.get("CAROUSEL_DATA")
    if not folder:
        raise InputError("own-data: set CAROUSEL_DATA to the folder of the public data sets")
    return Path(folder) / name


def _written(name: str, folder: Path) -> Path:
    """A CSV file of made series."""
    path = folder / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(MADE[name]())
    return path


def run_unit(row: str, unit: int | str) -> dict[str, Any]:
    """Train with one seed, in a folder that is thrown away, and keep the network's row of the table."""
    case = CASES[row]
    job = jobs.load(case.job)
    options = {name: data_file(str(value)) if isinstance(value, Path) else value for name, value in case.options.items()}
    with TemporaryDirectory() as folder:
        file = _written(case.file, Path(folder)) if case.file in MADE else data_file(case.file)
        settings = job.Settings.from_table({"file": file, **options, "seed": int(unit)}, f"own-data/{row}")
        result = job.train(settings, Path(folder) / "run", progress=False)
    own = next(line for line in result.rows if line["method"] == settings.model)
    measures = {name: value for name, value in own.items() if isinstance(value, int | float)}
    first = next(iter(measures))
    others = [line[first] for line in result.rows if line is not own and first in line]
    if others:
        lower = any(goal.at_most is not None for goal in case.goals)
        measures[f"{first} / best baseline"] = own[first] / (min if lower else max)(others)
    return {
        "seed": unit,
        "solved": None,
        "sequences": result.sequences,
        "seconds": round(result.seconds, 1),
        "backend": "auto",
        "measures": {name: round(value, 4) for name, value in measures.items()},
        "curve": [],
    }


RECIPE = Recipe(
    name="own-data",
    paper="Public files, each learned by one command",
    about="Forecasts, classes and texts from public files, with the settings of docs/data.md.",
    rows=tuple(Row(name, units=case.units, goals=case.goals, deviations=case.deviations) for name, case in CASES.items()),
    run_unit=run_unit,
)
