"""The demonstration's units: what they measure, and what is in them for the pictures."""

import json

import numpy as np
import pytest

from carousel.data import example, read_series
from carousel.recipes import load, sunspots

VALUES = read_series(example("sunspots"), "Sunspots").values
FIRST = 2397  # of the held-back end: October 1948


def errors(forecast):
    """MAE, RMSE and MASE of forecast(i, k) for the value k months after month i."""
    error = np.array(
        [[VALUES[i + k] - forecast(i, k) for k in range(1, 13)] for i in range(FIRST - 1, len(VALUES) - 12)],
    )
    mae = np.abs(error).mean()
    return {"MAE": mae, "RMSE": (error**2).mean() ** 0.5, "MASE": mae / np.abs(np.diff(VALUES[:1974])).mean()}


def test_naive_units_against_a_plain_loop():
    assert sunspots.run_unit("naive", 0)["measures"] == pytest.approx(errors(lambda i, k: VALUES[i]), abs=1e-4)
    seasonal = sunspots.run_unit("seasonal-naive-132", 0)["measures"]
    assert seasonal == pytest.approx(errors(lambda i, k: VALUES[i + k - 132]), abs=1e-4)


def test_a_network_s_unit(monkeypatch):
    monkeypatch.setattr(sunspots, "TRAINING", {"batch_size": 2, "sequences": 4, "evaluate_every": 2})
    unit = sunspots.run_unit("window-2", 0)
    assert json.loads(json.dumps(unit)) == unit
    assert {"seed": 0, "solved": None, "sequences": 4}.items() <= unit.items()
    assert [sequences for sequences, _ in unit["curve"]] == [0, 2, 4]
    picture = unit["picture"]
    assert picture["times"][0] == "1948-10"
    assert picture["truth"] == VALUES[FIRST:].tolist()
    found = errors(lambda i, k: picture["forecasts"][i - FIRST + 1][k - 1])
    assert unit["measures"] == pytest.approx(found, abs=0.01)
    assert "picture" not in sunspots.run_unit("window-2", 1)


def test_the_recurrent_networks_must_beat_all_others():
    goals = {row.name: row.goals for row in load("sunspots").rows}
    for name in ("lstm", "gru"):
        (goal,) = goals[name]
        assert (goal.measure, goal.rivals) == ("MAE", ("naive", "seasonal-naive-132", "linear-66", "window-2", "window-66"))
    assert len(goals) == 7
