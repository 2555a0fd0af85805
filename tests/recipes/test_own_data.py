"""The rows of own-data: that each case is a training that can be asked for, and what a unit measures."""

import json
from pathlib import Path

import pytest

from carousel import jobs
from carousel.errors import InputError
from carousel.recipes import load, own_data
from carousel.recipes.own_data import CASES, FileTrial, run_unit


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_settings_that_there_are(name, monkeypatch):
    monkeypatch.setenv("CAROUSEL_DATA", "/data")
    case = CASES[name]
    settings = jobs.load(case.job).Settings(file=own_data.data_file(case.file), **case.options)
    assert settings.command("runs/a").startswith(f"carousel train {case.job} /data/{case.file} ")
    (row,) = [row for row in load("own-data").rows if row.name == name]
    assert (row.units, row.goals) == (case.units, case.goals)


def test_without_the_data_folder_it_says_what_to_set(monkeypatch):
    monkeypatch.delenv("CAROUSEL_DATA", raising=False)
    with pytest.raises(InputError, match="own-data: set CAROUSEL_DATA to the folder of the public data sets"):
        own_data.data_file("x")


def test_a_unit_is_one_training_with_its_scores(tmp_path, monkeypatch):
    lines = [json.dumps({"values": [n % 2, 1, 0], "label": n % 2}) + "\n" for n in range(40)]
    (tmp_path / "train.jsonl").write_text("".join(lines))
    (tmp_path / "test.jsonl").write_text("".join(lines[:10]))
    monkeypatch.setenv("CAROUSEL_DATA", str(tmp_path))
    options = {"test": Path("test.jsonl"), "hidden": 4, "sequences": 320, "evaluate_every": 160, "rate": 0.03, "baseline": "none"}
    monkeypatch.setitem(CASES, "small", FileTrial("classify", "train.jsonl", options))
    unit = run_unit("small", 1)
    assert json.loads(json.dumps(unit)) == unit
    assert (unit["seed"], unit["sequences"]) == (1, 320)
    assert unit["measures"] == {"accuracy": 100.0, "macro-F1": 100.0, "accuracy / best baseline": 2.0}
