"""Own data: what `carousel train` reaches on public files, with the settings of one command each.

A row's unit is a seed: the job is run as the command line runs it, and its table is what is measured.
The settings were chosen on the validation part; the held-back part was looked at afterwards.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from carousel import jobs
from carousel.errors import InputError
from carousel.recipes.recipe import Goal, Recipe, Row


@dataclass(frozen=True)
class FileTrial:
    """One command: a job, a file in the data folder, its options, and what must come out.

    A path among the options is of another file in the data folder.
    goals are for the network's row of the job's table; "<measure> / best baseline" is the network's
    first measure divided by the best of the other rows.
    """

    job: str
    file: str
    options: dict[str, Any]
    goals: tuple[Goal, ...] = ()
    units: tuple[int, ...] = (0,)
    deviations: tuple[str, ...] = ()


CASES: dict[str, FileTrial] = {
    "temperatures": FileTrial(
        job="forecast",
        file="timeseries/daily-min-temperatures.csv",
        options={
            "target": "Temp",
            "calendar": True,
            "quantiles": (0.1, 0.5, 0.9),
            "horizon": 7,
            "season": 365,
            "history": 30,
            "hidden": 16,
            "rate": 0.003,
        },
        goals=(Goal("MAE / best baseline", "", at_most=1.0),),
        units=(0, 1, 2),
        deviations=("Chosen among four settings by validation, when their held-back errors were known.",),
    ),
    "pm25": FileTrial(
        job="forecast",
        file="timeseries/pollution.csv.gz",
        options={
            "target": "pm2.5",
            "time": ("year", "month", "day", "hour"),
            "covariates": ("DEWP", "TEMP", "PRES", "cbwd", "Iws", "Is", "Ir"),
            "calendar": True,
            "quantiles": (0.1, 0.5, 0.9),
            "horizon": 24,
            "season": 24,
            "history": 48,
            "rate": 0.003,
            "sequences": 25_600,
            "evaluate_every": 1_600,
        },
        goals=(Goal("MAE / best baseline", "", at_most=1.0),),
        units=(0, 1, 2),
        deviations=("Chosen among four settings by validation, when the held-back errors of a first short training were known.",),
    ),
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


def run_unit(row: str, unit: int | str) -> dict[str, Any]:
    """Train with one seed, in a folder that is thrown away, and keep the network's row of the table."""
    case = CASES[row]
    job = jobs.load(case.job)
    options = {name: data_file(str(value)) if isinstance(value, Path) else value for name, value in case.options.items()}
    settings = job.Settings.from_table({"file": data_file(case.file), **options, "seed": int(unit)}, f"own-data/{row}")
    with TemporaryDirectory() as folder:
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
