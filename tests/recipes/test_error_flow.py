"""Error flow: the norms and the weight against closed forms, the goals, the picture."""

import json

import pytest

from carousel.recipes import error_flow as flow
from carousel.recipes import load
from carousel.recipes.reproduce import reproduce
from carousel.report.html import write_recipe_report


@pytest.fixture(scope="module")
def rows():
    """Every row with its runs, as reproduce would merge them."""
    return [{"row": row.name, "runs": [flow.run_unit(row.name, unit) for unit in row.units]} for row in flow.RECIPE.rows]


def test_it_is_offered():
    assert load("error-flow") is flow.RECIPE


@pytest.mark.parametrize("radius", [0.9, 1.0, 1.1])
def test_an_error_grows_by_the_spectral_radius_a_step(radius):
    norms = flow.error_norms(radius, seed=0)
    assert len(norms) == flow.LAGS + 1
    assert norms[0] == pytest.approx(1, abs=1e-3)
    assert (norms[100] / norms[50]) ** (1 / 50) == pytest.approx(radius, rel=0.01)


@pytest.mark.parametrize("row", flow.RATES)
def test_the_weight_moves_as_the_derivative_by_hand_says(row):
    rate, lag = flow.RATES[row], flow.LAG
    weights, losses = flow.train_weight(rate)
    w = flow.START
    for weight, loss in zip(weights, losses, strict=False):
        assert weight == pytest.approx(w, rel=1e-6)
        assert loss == pytest.approx((w**lag - 1) ** 2, rel=1e-6, abs=1e-12)
        w -= rate * 2 * (w**lag - 1) * lag * w ** (lag - 1)
    assert len(losses) == flow.UPDATES
    assert weights[-1] == pytest.approx(w, rel=1e-6)


def test_turns():
    assert flow.turns([0, 1, 2, 3]) == 0
    assert flow.turns([0, 1, 0, 1]) == 2
    assert flow.turns([1, 1, 1]) == 0


def test_the_goals_are_met(rows):
    for row, declared in zip(rows, flow.RECIPE.rows, strict=True):
        for goal in declared.goals:
            values = [run["measures"][goal.measure] for run in row["runs"]]
            mean = sum(values) / len(values)
            assert goal.at_most is None or mean <= goal.at_most
            assert goal.at_least is None or mean >= goal.at_least


def test_runs_are_plain_json_and_repeat(rows):
    for row in rows:
        for run in row["runs"]:
            assert json.loads(json.dumps(run)) == run
            again = flow.run_unit(row["row"], run["seed"])
            assert {**again, "seconds": 0} == {**run, "seconds": 0}


def test_the_report_holds_the_picture(tmp_path):
    done = reproduce(flow.RECIPE, out=tmp_path, rows=["weight-steady", "weight-oscillating"], progress=False)
    assert not done.failures
    html = write_recipe_report(flow.RECIPE, done.rows, tmp_path / "report.html").read_text()
    assert "What it shows" in html
    assert "Left: norm of the error against lag" in html
    assert html.count("<svg") == 3  # the picture, the spread and the learning curves


def test_the_picture_shows_every_run(rows):
    errors, training = flow.draw(rows).axes
    assert len(errors.lines) == len(flow.RADII) * len(flow.SEEDS)
    assert len(training.lines) == len(flow.RATES) + 1  # and the line at 1
    assert [text.get_text() for text in errors.get_legend().get_texts()] == [f"spectral radius {r}" for r in (0.9, 1.0, 1.1)]
    assert errors.get_yscale() == "log"
