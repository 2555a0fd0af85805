"""Runs side by side: what is shown of small finished runs, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from carousel import jobs
from carousel.checkpoint import write
from carousel.cli import main
from carousel.errors import InputError
from carousel.report.compare import compare
from carousel.report.html import write_comparison
from pages import check_alone

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(finished_run: Path) -> Path:
    """A finished run with 5 x 4 + 5 weights."""
    write(finished_run / "best" / "weights.safetensors", {"W": torch.zeros(5, 4), "b": torch.zeros(5)}, {})
    return finished_run


def another(run: Path, name: str, own_mae: float, **changed: Any) -> Path:
    """A copy of a run with other settings and another error of its network."""
    copy = run.parent / name
    shutil.copytree(run, copy)
    (copy / "SHA256SUMS").unlink()
    settings, _ = jobs.of_run(run).load(run)
    (copy / "config.toml").write_text(tomli_w.dumps({"settings": {**settings.table(), **changed}}))
    result = json.loads((copy / "result.json").read_text())
    result["rows"][-1]["MAE"] = own_mae
    (copy / "result.json").write_text(json.dumps(result))
    return copy


def test_scores_settings_and_shared_baselines(run: Path) -> None:
    other = another(run, "wide", 0.9, hidden=64, seed=3)
    settings, _ = jobs.of_run(run).load(run)
    told = compare([run, other])
    assert told.scores.columns == ["run", "MAE", "RMSE", "MASE", "seconds", "sequences", "weights"]
    assert [row[:2] for row in told.scores.rows] == [["run", "1.200"], ["wide", "0.900"], ["baseline naive", "2.000"]]
    assert [row[4:] for row in told.scores.rows] == [["4.2", "640", "25"], ["4.2", "640", "25"], ["", "", ""]]
    assert told.scores.best == (1,)
    assert told.settings == (["setting", "run", "wide"], [["hidden", "32", "64"], ["seed", "0", "3"]], ())
    assert told.notes == []
    assert list(told.panels) == [("validation loss", "scaled"), ("validation MAE", settings.target)]
    assert told.panels["validation MAE", settings.target]["wide"] == [[(0, 3.0), (32, 1.5), (64, 1.0)]]


def test_a_baseline_with_other_figures_is_no_shared_one(run: Path) -> None:
    other = another(run, "b", 0.9)
    result = json.loads((other / "result.json").read_text())
    result["rows"][0]["MAE"] = 2.5
    (other / "result.json").write_text(json.dumps(result))
    assert [row[0] for row in compare([run, other]).scores.rows] == ["run", "b"]


def test_different_data_is_told(run: Path, capsys: Capture) -> None:
    other = another(run, "b", 0.9, target="Moon", horizon=6)
    assert main(["compare", str(run), str(other)]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("carousel: the runs differ in target, horizon: they are judged on different data")
    assert printed.err.count("\n") == 1
    assert "horizon  3" in printed.out


def test_runs_of_the_same_folder_name_go_by_their_path(run: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    other = another(run, "more/run", 0.9)
    assert compare([run, other]).runs == [str(run), str(other)]


def test_the_page_stands_alone(run: Path, tmp_path: Path, capsys: Capture) -> None:
    other = another(run, "b", 0.9, hidden=64, horizon=6)
    path = tmp_path / "new" / "compare.html"
    assert main(["compare", str(run), str(other), "--page", str(path)]) == 0
    assert capsys.readouterr().out.endswith(f"page: {path}\n")
    page = check_alone(path)
    assert sum(tag == "svg" for tag, _ in page.tags) == 1
    assert "Note: the runs differ in horizon" in page.text
    assert "setting run b" in page.text
    assert page.text.count("carousel train") == 2
    assert main(["compare", str(run), str(other), "--page", str(path)]) == 0  # in place of an earlier page


def test_a_file_that_is_no_such_page_is_left_alone(run: Path, tmp_path: Path, capsys: Capture) -> None:
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    assert main(["compare", str(run), str(another(run, "b", 0.9)), "--page", str(notes)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "is not a page of `carousel compare`" in printed.err
    assert notes.read_text() == "mine"


def test_what_cannot_be_compared_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected two runs or more, got 1"):
        compare([run])
    with pytest.raises(InputError, match="is given 2 times"):
        compare([run, run / ".." / "run"])
    with pytest.raises(InputError, match="not a run folder"):
        compare([run, tmp_path])
    unfinished = another(run, "b", 0.9)
    (unfinished / "result.json").unlink()
    with pytest.raises(InputError, match="carousel resume"):
        compare([run, unfinished])


def test_runs_of_different_jobs_are_refused(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "sounds"
    other.mkdir()
    (other / "config.toml").write_text(tomli_w.dumps({"settings": {"job": "classify", "file": "a.jsonl"}}))
    with pytest.raises(InputError, match=r"expected runs of one job: .*run is of forecast, .*sounds is of classify"):
        compare([run, other])


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_weights_are_named(damage: str, run: Path) -> None:
    other = another(run, "b", 0.9)
    weights = other / "best" / "weights.safetensors"
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:20])
    with pytest.raises(InputError, match="cannot read the weights"):
        compare([run, other])


def test_metrics_without_validation_are_named(run: Path) -> None:
    other = another(run, "b", 0.9)
    for folder in (run, other):
        (folder / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match=r"metrics\.jsonl: not the metrics of a run"):
        write_comparison(compare([run, other]), run / "page.html")
