"""The reports: whole, safe, light, and true to the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carousel.errors import InputError
from carousel.recipes.recipe import Recipe
from carousel.report.html import write_recipe_report, write_run_report
from pages import check_alone


def test_run_report_stands_alone_and_shows_what_was_measured(finished_run: Path) -> None:
    path = write_run_report(finished_run)
    assert path == finished_run / "report.html"
    page = check_alone(path)
    assert sum(tag == "svg" for tag, _ in page.tags) == 5
    assert (
        "The mean absolute error of gru is 1.200, 40% lower than that of the best baseline, the naive forecast (2.000)."
        in page.text
    )
    assert "Over the 28 origins of the held-out end (1980-01 to 1982-06), 3 steps each" in page.text
    assert "carousel train" in page.text


def test_run_report_lists_the_worst_origins_first(finished_run: Path) -> None:
    text = write_run_report(finished_run).read_text()
    rows = re.findall(r"<td>(\d)\.\s+(\S+ to \S+)</td><td class=\"n\">([\d.]+)</td>", text)
    assert rows[0] == ("1", "1980-11 to 1981-01", "7.00")
    assert len(rows) == 5
    starts = [12 * int(span[:4]) + int(span[5:7]) for _, span, _ in rows]
    assert np.diff(sorted(starts)).min() >= 3


def test_names_are_text_never_markup(finished_run: Path) -> None:
    path = write_run_report(finished_run)
    assert "<b>&" not in path.read_text()
    assert path.read_text().count("Spots &lt;b&gt;&amp;") > 4
    assert 'Spots <b>&"US$_2" | x, 3 steps ahead' in check_alone(path).text


def test_run_report_is_the_same_a_second_time(finished_run: Path) -> None:
    first = write_run_report(finished_run).read_bytes()
    assert write_run_report(finished_run).read_bytes() == first


def test_an_unfinished_run_has_no_report(finished_run: Path) -> None:
    (finished_run / "result.json").unlink()
    with pytest.raises(InputError, match="carousel resume"):
        write_run_report(finished_run)
    assert not (finished_run / "report.html").exists()


def test_damaged_metrics_are_named(finished_run: Path) -> None:
    with (finished_run / "metrics.jsonl").open("a") as file:
        file.write("{half a li")
    with pytest.raises(InputError, match=r"metrics\.jsonl: not the metrics of a run"):
        write_run_report(finished_run)


def test_recipe_report_shows_all_rows(result_row: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    truth = np.arange(30.0)
    ahead = np.lib.stride_tricks.sliding_window_view(truth, 3)
    rows = [result_row("naive", [20.0]), result_row("<lstm>", [9.0, 11.0, 13.0], deviations=["fewer seeds"])]
    rows[0]["runs"][0]["curve"] = []
    for row in rows:
        row["runs"][0]["picture"] = {
            "times": [str(n) for n in range(30)],
            "time_name": "row",
            "unit": "spots",
            "truth": truth.tolist(),
            "forecasts": (ahead + 1).tolist(),
        }
    recipe = Recipe("demo", "no paper", "A & B, compared.", (), lambda row, unit: {})
    page = check_alone(write_recipe_report(recipe, rows, tmp_path / "report.html"))
    assert "A & B, compared." in page.text
    assert "11.00 ± 2.00" in page.text
    assert "<lstm> : fewer seeds" in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 4
    assert "carousel reproduce demo" in page.text


def test_recipe_report_of_one_row_without_pictures(result_row: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    row = result_row("naive", [20.0])
    row["runs"][0]["curve"] = []
    recipe = Recipe("demo", "no paper", "One row.", (), lambda row, unit: {})
    page = check_alone(write_recipe_report(recipe, [row], tmp_path / "report.html"))
    assert not any(tag == "svg" for tag, _ in page.tags)
    assert "20.00" in page.text
