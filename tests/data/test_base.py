"""What a network's forecast is added to: which base is chosen, on what, and how outputs become forecasts."""

import numpy as np
import pytest
import torch

from carousel.data.forecast import Forecast, baseline_forecasts
from carousel.errors import InputError

AUTO = {"horizon": 6, "history": 12, "season": "auto", "base": "auto", "log": None, "non_negative": None, "squared": False}


def noise(seed, n=400):
    return np.random.default_rng(seed).normal(size=n)


def chosen(values, **options):
    return Forecast(values, **{**AUTO, **options}).prepared.base


def test_of_a_random_walk_no_base_is_much_worse_than_the_last_value():
    ratios = []
    for seed in range(10):
        task = Forecast(noise(seed).cumsum(), **AUTO)
        (track,), (origins,) = task.tracks, task.origins
        truth = track.truth(origins, 6)
        error = np.abs(track.base_forecasts(task.prepared.base, origins, 6) - truth).mean()
        ratios.append(error / np.abs(track.latest[origins, None] - truth).mean())
    assert np.median(ratios) < 1.03


def test_a_season_and_an_autoregression_are_linear():
    season = np.tile([0.0, 4.0, 9.0, 2.0, -6.0], 80) + 0.5 * noise(2)
    assert (chosen(season).kind, chosen(season).season) == ("linear", 5)
    wave = np.zeros(400)
    for i in range(2, 400):
        wave[i] = 1.6 * wave[i - 1] - 0.8 * wave[i - 2] + noise(3)[i]
    assert chosen(wave).kind == "linear"


def test_growth_by_a_rate_is_learned_on_logarithms_and_stays_positive():
    values = np.exp(0.03 * np.arange(200) + 0.4 * np.tile(np.sin(np.arange(12) * np.pi / 6), 17)[:200] + 0.05 * noise(4, 200))
    task = Forecast(values, **AUTO)
    assert task.prepared.base.log
    (track,), (origins,) = task.tracks, task.origins
    assert (track.forecasts(torch.full((200, 6), -1e3), origins, 6) >= 0).all()
    values[190] = 0.0
    assert not chosen(values).log
    with pytest.raises(InputError, match="log needs positive values"):
        chosen(values, log=True)


def test_what_is_never_below_zero_is_not_forecast_below_zero():
    counts = np.random.default_rng(5).poisson(0.3, 400).astype(float)
    for values, lowest in ((counts, True), (counts - 1, False)):
        task = Forecast(values, **AUTO)
        assert task.prepared.base.non_negative is lowest
        forecast = task.tracks[0].forecasts(torch.full((400, 6), -50.0), task.origins[0], 6)
        assert ((forecast >= 0).all(), (forecast < 0).any()) == (lowest, not lowest)


def test_zeros_are_the_base_in_forecasts_and_in_the_score():
    values = 50 + np.tile([0.0, 4.0, 9.0, 2.0, -6.0], 80) + noise(6)
    task = Forecast(values, **AUTO)
    (track,), (origins,) = task.tracks, task.origins
    made = baseline_forecasts(track, origins, 6, 5)
    forecast = track.forecasts(torch.zeros(400, 6), origins, 6)[..., 0]
    np.testing.assert_allclose(forecast, next(made[name] for name in made if name.startswith("linear")))
    batch = task.validation()
    at = np.flatnonzero(batch.mask[:, 0])
    expected = np.abs(track.base_forecasts(task.prepared.base, at, 6) - track.truth(at, 6)).mean()
    assert task.score(torch.zeros(len(batch.mask), 1, 6), batch)["MAE"] == pytest.approx(expected, rel=1e-5)
    assert task.score(batch.targets, batch)["MAE"] == pytest.approx(0.0, abs=1e-5)


def test_the_test_part_decides_nothing():
    values = 50 + np.tile([0.0, 4.0, 9.0, 2.0, -6.0], 80) + noise(7)
    task = Forecast(values, **AUTO)
    changed = values.copy()
    changed[task.test_starts[0] :] = 1e4 + 1e3 * noise(8, 400 - task.test_starts[0])
    other = Forecast(changed, **AUTO)
    assert task.prepared.table()["base"].keys() == other.prepared.table()["base"].keys()
    np.testing.assert_array_equal(task.prepared.base.linear.weights, other.prepared.base.linear.weights)
    generator = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    assert torch.equal(task.sample(8, generator[0]).inputs, other.sample(8, generator[1]).inputs)
