"""The season of a series: found where there is one, and not where there is none."""

import numpy as np
import pytest

from carousel.data.season import find_season


def noise(seed, n):
    return np.random.default_rng(seed).normal(size=n)


@pytest.mark.parametrize("season", [4, 7, 12, 24, 168])
def test_a_season_is_found_in_noise_and_trend(season):
    n = 8 * season + 60
    shape = 3 * noise(1, season)
    values = np.tile(shape, n // season + 1)[:n] + 0.3 * noise(2, n) + 0.01 * np.arange(n)
    assert find_season([values], 12) == season


def test_the_shorter_of_two_that_are_as_good():
    values = np.tile([0.0, 5.0, 1.0, -3.0], 60) + 0.1 * noise(3, 240)
    assert find_season([values], 6) == 4


def test_series_are_looked_at_together():
    shape = np.sin(2 * np.pi * np.arange(36) / 12)
    series = [scale * (shape + 0.4 * noise(seed, 36)) for seed, scale in enumerate((1, 100, 10_000, 10))]
    assert find_season(series, 6) == 12


@pytest.mark.parametrize(
    "values", [*(noise(seed, 400) for seed in range(10)), noise(5, 400).cumsum(), np.arange(400.0), np.ones(400), np.zeros(3)]
)
def test_none_is_found_where_there_is_none(values):
    assert find_season([values], 12) is None
