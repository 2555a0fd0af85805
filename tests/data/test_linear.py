"""Ridge regression on the lags of a series, against the equations solved by NumPy."""

import json

import numpy as np
import pytest

from carousel.data.linear import PENALTIES, LinearForecast, Regressors, fit_linear


def test_the_regressors_of_a_step_by_hand():
    x, beside = np.arange(10.0) ** 2, np.arange(20.0).reshape(10, 2)
    (row,) = Regressors(lags=2, season=3, level=True, horizon=4).at(np.array([6]), x, beside)
    seasonal = [x[4] - 36, x[5] - 36, x[6] - 36, x[4] - 36]  # of steps 7, 8, 9, 10: 4, 5, 6, and two seasons before 10
    assert row.tolist() == [25 - 36, 16 - 36, *seasonal, 36.0, 12.0, 13.0]
    (first,) = Regressors(lags=2, season=None, level=False, horizon=4).at(np.array([0]), x + 1, beside)
    assert first.tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("level", [True, False])
def test_the_weights_solve_the_normal_equations(level):
    rng = np.random.default_rng(0)
    x, beside = rng.normal(size=200).cumsum() / 5, rng.normal(size=(200, 1))
    coming = x.copy()
    coming[50] = np.nan
    regressors, steps = Regressors(4, None, level, 2), np.arange(4, 180)
    fitted = fit_linear(regressors, [(x, beside)], [coming], [steps])
    for penalty, linear in zip(PENALTIES, fitted, strict=True):
        for k in (1, 2):
            known = steps[steps + k != 50]
            A, Y = regressors.at(known, x, beside), x[known + k] - x[known]
            mean, deviation = A.mean(0), A.std(0)
            Z = (A - mean) / deviation
            weights = np.linalg.solve(Z.T @ Z + penalty * np.eye(Z.shape[1]), Z.T @ (Y - Y.mean()))
            expected = ((regressors.at(steps, x, beside) - mean) / deviation) @ weights + Y.mean()
            np.testing.assert_allclose(linear.changes(steps, x, beside)[:, k - 1], expected, atol=1e-8)
        again = LinearForecast.from_table(json.loads(json.dumps(linear.table(), default=lambda array: array.tolist())))
        np.testing.assert_array_equal(again.changes(steps, x, beside), linear.changes(steps, x, beside))


def test_too_few_steps_give_no_forecast():
    x = np.arange(30.0)
    assert fit_linear(Regressors(2, None, True, 12), [(x, np.empty((30, 0)))], [x], [np.arange(10)]) == []


def test_a_value_between_gaps_each_is_fitted_too():
    x = np.sin(np.arange(300.0))
    coming = np.where(np.arange(300) % 5 == 0, x, np.nan)
    fitted = fit_linear(Regressors(8, None, True, 3), [(x, np.empty((300, 0)))], [coming], [np.arange(8, 250)])
    made = fitted[0].changes(np.arange(250, 290), x, np.empty((300, 0)))
    truth = np.stack([x[np.arange(250, 290) + k] - x[250:290] for k in (1, 2, 3)], 1)
    np.testing.assert_allclose(made, truth, atol=0.02)
