"""The tables of results: figures, spread, goals, and the Markdown page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carousel.errors import InputError
from carousel.report.results import PAGE, claims_table, errors_table, number, page, parts, recipe_table, write_page

MakeRow = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (21.3456, (), "21.35"),
        (0.98765, (), "0.9877"),
        (9.5, (123.4,), "9.5"),
        (12345.6, (), "12,346"),
        (0.0, (), "0"),
        (-3.14159, (), "-3.142"),
        (2.5e-7, (), "2.500e-07"),
        (float("nan"), (), "nan"),
        (1.0, (float("inf"),), "1.000"),
    ],
)
def test_number_has_four_digits_of_the_largest(value: float, like: tuple[float, ...], text: str) -> None:
    assert number(value, like) == text


def test_errors_table_marks_the_lowest_error() -> None:
    methods = [{"method": "naive", "MAE": 12.5, "MASE": 1.0}, {"method": "lstm", "MAE": 8.25, "MASE": 0.66}]
    table = errors_table(methods)
    assert table.columns == ["method", "MAE", "MASE"]
    assert table.rows == [["naive", "12.50", "1.000"], ["lstm", "8.25", "0.660"]]
    assert table.best == (1,)


def test_recipe_table_gives_mean_and_sample_deviation(result_row: MakeRow) -> None:
    table = recipe_table([result_row("naive", [20.0]), result_row("lstm", [9.0, 11.0, 13.0])])
    assert table.rows == [["naive", "20.00", "1", "2.0"], ["lstm", "11.00 ± 2.00", "3", "2.0"]]
    assert table.best == (1,)


def test_recipe_table_knows_when_more_is_better(result_row: MakeRow) -> None:
    goal = {"measure": "MAE", "unit": "", "at_least": 0.5}
    assert recipe_table([result_row("a", [0.9], goals=[goal]), result_row("b", [0.2])]).best == (0,)


def test_claims_table_tells_met_from_missed_and_from_not_measured(result_row: MakeRow) -> None:
    claims = [{"measure": "MAE", "figure": 10.5, "unit": "spots", "source": "table 1"}]
    goals = [{"measure": "MAE", "unit": "spots", "at_most": 12.0}, {"measure": "RMSE", "unit": "spots", "at_least": 1.0}]
    row = result_row("lstm", [11.0, 13.0], claims=claims, goals=goals, met={"MAE": True, "RMSE": False})
    assert claims_table([row]).rows == [
        ["lstm", "MAE", "10.5 spots", "at most 12 spots", "12.00 (11.00 to 13.00; 2 runs)", "met"],
        ["lstm", "RMSE", "", "at least 1 spots", "not measured", "missed"],
    ]


def test_claims_table_names_a_statistic_that_is_not_the_mean(result_row: MakeRow) -> None:
    goal = {"measure": "MAE", "unit": "spots", "at_most": 12.0, "statistic": "median"}
    (line,) = claims_table([result_row("lstm", [11.0, 12.0, 16.0], goals=[goal], met={"MAE": True})]).rows
    assert line == ["lstm", "MAE", "median at most 12 spots", "median 12.00 (11.00 to 16.00; 3 runs)", "met"]


def test_claims_table_names_the_rivals(result_row: MakeRow) -> None:
    goal = {"measure": "MAE", "unit": "spots", "rivals": ["naive", "window-2"], "at_most": 20.0}
    (line,) = claims_table([result_row("gru", [19.0], goals=[goal], met={"MAE": True})]).rows
    assert line == ["gru", "MAE", "below naive, window-2 (20.00 spots)", "19.00", "met"]
    goal["at_most"] = None
    (line,) = claims_table([result_row("gru", [19.0], goals=[goal], met={"MAE": False})]).rows
    assert line[2:] == ["below naive, window-2", "19.00", "missed"]


def test_a_row_without_goals_shows_what_it_measured(result_row: MakeRow) -> None:
    table = claims_table([result_row("naive", [20.0])])
    assert (table.columns, table.rows) == (["row", "measure", "ours"], [["naive", "MAE", "20.00"]])


def test_the_page_keeps_misses_with_their_reasons(result_row: MakeRow, tmp_path: Path) -> None:
    goal = {"measure": "MAE", "unit": "", "at_most": 5.0}
    row = result_row("a|b", [9.0], goals=[goal], met={"MAE": False}, deviations=["half the budget"])
    path = tmp_path / "docs" / "reproductions.md"
    write_page([row], path)
    write_page([row], path)  # its own page it may replace
    text = path.read_text()
    assert "| a\\|b | MAE | at most 5 | 9.000 | missed |" in text
    assert "`carousel reproduce demo --rows a|b` (1 run of 2.000 s in all, backend eager, 2026-01-31)" in text
    assert "- Deviation: half the budget" in text
    assert text == page([row])


def test_a_page_of_somebody_else_is_left_alone(result_row: MakeRow, tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("# My notes\n")
    with pytest.raises(InputError, match=r"notes\.md is not a page of `carousel results`"):
        write_page([result_row("naive", [20.0])], path)
    assert path.read_text() == "# My notes\n"


def needed(columns: list[str], rows: list[list[str]]) -> int:
    """Characters of a table whose column names wrap, but not its numbers, with two between columns."""
    return sum(2 + max(map(len, [*cells, *name.split()])) for name, *cells in zip(columns, *rows, strict=True))


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 13, 40])
def test_a_wide_table_becomes_several_that_fit_on_a_page(count: int) -> None:
    columns = ["row", *(f"wrong bits by {n}k" for n in range(count))]
    rows = [[name, *(f"{n % 10}.123 ± 5.932" for n in range(count))] for name in ("ntm-lstm-best", "lstm")]
    made = parts((columns, rows))
    assert [name for names, _ in made for name in names[1:]] == columns[1:]
    for row in range(2):
        assert [cell for _, part in made for cell in part[row][1:]] == rows[row][1:]
    for names, part in made:
        assert (names[0], [row[0] for row in part]) == ("row", ["ntm-lstm-best", "lstm"])
        assert needed(names, part) <= PAGE
    assert len(made) == -(-count // 5)  # 15 for the row's name, 15 for each number


def test_text_wraps_so_that_its_table_stays_one() -> None:
    columns, rows = ["row", "paper", "goal", "ours", "verdict"], [["1-4x1-0.1", *["a few words that go on and on " * 5] * 3, "met"]]
    assert parts((columns, rows), numbers=False) == [(columns, rows)]


def test_a_column_too_wide_for_a_page_is_still_shown() -> None:
    columns, rows = ["row", "a", "b"], [["x" * 200, "y" * 200, "z"]]
    assert [name for names, _ in parts((columns, rows), numbers=False) for name in names[1:]] == ["a", "b"]
    assert parts((["row"], [])) == [(["row"], [])]
