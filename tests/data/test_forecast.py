"""The forecasting task: windows, targets, scaling, held-back parts and errors, against plain NumPy."""

import numpy as np
import pytest
import torch

from carousel.data.forecast import Forecast, metrics
from carousel.errors import InputError

N, HORIZON, HISTORY, SEASON = 120, 3, 5, 7


@pytest.fixture
def values():
    return np.random.default_rng(1).normal(10.0, 4.0, N).cumsum()


@pytest.fixture
def task(values):
    return Forecast(values, horizon=HORIZON, history=HISTORY, season=SEASON, validation=0.2, test=0.25)


def generator():
    return torch.Generator().manual_seed(3)


def test_parts_and_scaling(task, values):
    assert (task.train_end, task.test_start) == (66, 90)
    assert task.mean == pytest.approx(values[:66].mean())
    assert task.deviation == pytest.approx(values[:66].std())
    assert task.scale == pytest.approx(np.mean([abs(values[i] - values[i - 1]) for i in range(1, 66)]))


def test_training_windows_are_pieces_of_the_training_part_in_residual_form(task, values):
    batch = task.sample(400, generator())
    assert batch.inputs.shape == (2 * HISTORY, 400, 1)
    assert batch.targets.shape == (2 * HISTORY, 400, HORIZON)
    assert batch.lengths.tolist() == [2 * HISTORY] * 400
    assert torch.equal(batch.mask, (torch.arange(2 * HISTORY) >= HISTORY)[:, None].expand(-1, 400))
    scaled = (values - values[:66].mean()) / values[:66].std()
    starts = set()
    for b in range(400):
        window = batch.inputs[:, b, 0].numpy()
        start = int(np.abs(scaled - window[0]).argmin())
        starts.add(start)
        np.testing.assert_allclose(window, scaled[start : start + 2 * HISTORY], rtol=1e-5)
        for i in range(2 * HISTORY):
            coming = [scaled[start + i + k] - scaled[start + i] for k in (1, 2, 3)]
            np.testing.assert_allclose(batch.targets[i, b], coming, atol=1e-5)
    assert starts == set(range(66 - 2 * HISTORY - HORIZON + 1))


def test_the_generator_alone_decides_the_windows(task):
    torch.manual_seed(0)
    first = task.sample(8, generator()).inputs
    torch.manual_seed(1)
    assert torch.equal(first, task.sample(8, generator()).inputs)


def test_lengths_are_refused(task):
    with pytest.raises(InputError, match="the windows have one length, set by history; got steps"):
        task.sample(1, generator(), steps=3)


def test_validation_counts_the_origins_of_its_part_only(task):
    batch = task.validation()
    assert batch.size == 1
    assert batch.mask[:, 0].nonzero()[:, 0].tolist() == list(range(65, 87))
    assert batch.steps == 87


def test_the_test_batch_counts_every_origin_of_the_held_back_end(task):
    batch = task.test_batch()
    assert batch.mask[:, 0].nonzero()[:, 0].tolist() == task.origins.tolist() == list(range(89, 117))


def test_changing_the_test_part_changes_nothing_in_training(task, values):
    values = values.copy()
    values[90:] = np.random.default_rng(2).normal(0.0, 1e6, 30)
    other = Forecast(values, horizon=HORIZON, history=HISTORY, season=SEASON, validation=0.2, test=0.25)
    assert (task.mean, task.deviation, task.scale) == (other.mean, other.deviation, other.scale)
    outputs = torch.randn(87, 1, HORIZON, generator=generator())
    assert task.score(outputs, task.validation()) == other.score(outputs, other.validation())
    for batch, same in ((task.sample(64, generator()), other.sample(64, generator())), (task.validation(), other.validation())):
        assert torch.equal(batch.inputs, same.inputs)
        assert torch.equal(batch.targets, same.targets)
    assert not torch.equal(task.test_batch().inputs, other.test_batch().inputs)


def test_changing_validation_changes_neither_windows_nor_scaling(task, values):
    values = values.copy()
    values[66:] += 1e6
    other = Forecast(values, horizon=HORIZON, history=HISTORY, season=SEASON, validation=0.2, test=0.25)
    assert (task.mean, task.deviation, task.scale) == (other.mean, other.deviation, other.scale)
    assert torch.equal(task.sample(64, generator()).targets, other.sample(64, generator()).targets)


def test_naive_forecasts_and_truth_by_hand(task, values):
    for row, i in enumerate(range(89, 117)):
        for k in (1, 2, 3):
            assert task.truth[row, k - 1] == values[i + k]
            assert task.naive[row, k - 1] == values[i]
            assert task.seasonal_naive[row, k - 1] == values[i + k - SEASON]


def test_a_season_shorter_than_the_horizon_never_reads_the_future(values):
    task = Forecast(values, horizon=5, history=HISTORY, season=2)
    i = task.origins[0]
    assert task.seasonal_naive[0].tolist() == [values[i - 1], values[i], values[i - 1], values[i], values[i - 1]]


def test_without_a_season_there_is_no_seasonal_forecast(values):
    assert Forecast(values, horizon=HORIZON, history=HISTORY).seasonal_naive is None


def test_an_answer_of_zero_is_the_naive_forecast(task):
    outputs = torch.zeros(117, 1, HORIZON)
    np.testing.assert_allclose(task.forecasts(outputs), task.naive)
    ours, naive = task.score(outputs, task.test_batch()), metrics(task.naive, task.truth, task.scale)
    assert ours == pytest.approx(naive, rel=1e-5)


def test_the_right_answer_is_the_truth(task):
    batch = task.test_batch()
    np.testing.assert_allclose(task.forecasts(batch.targets), task.truth, rtol=1e-5)
    assert task.score(batch.targets, batch) == {"MAE": 0.0, "RMSE": 0.0, "MASE": 0.0}


def test_loss_is_the_mean_square_over_the_horizon(task):
    assert task.loss(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 2.0, 2.0])) == pytest.approx(5 / 3)


def test_metrics_by_hand():
    found = metrics(np.array([[1.0, 2.0]]), np.array([[2.0, 5.0]]), 0.5)
    assert found == pytest.approx({"MAE": 2.0, "RMSE": 5**0.5, "MASE": 4.0})


def test_it_draws_the_series_and_a_path_from_every_third_origin(task, values):
    batch = task.validation()
    axes = task.draw(batch, batch.targets).axes[0]
    series, *paths = [line.get_ydata() for line in axes.get_lines()]
    np.testing.assert_allclose(series, values[:87], rtol=1e-5)
    np.testing.assert_allclose(paths[1], values[68:72], rtol=1e-5)
    assert len(paths) == 8
    assert len(task.draw(batch).axes[0].get_lines()) == 1


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [
        (20, {}, "of its 20 values the training part has 14, at least 60 are needed (2 * history + horizon = 2 * 24 + 12)"),
        (100, {"history": 5, "validation": 0.1}, "the validation part has 10, at least 12 are needed (the horizon, 12)"),
        (100, {"history": 5, "test": 0.05}, "the test part has 5, at least 12 are needed"),
        (100, {"validation": 0.6, "test": 0.6}, "the training part has 0, at least 60"),
        (1000, {"season": 900}, "season 900 is longer than the 850 values before the test part"),
        (1000, {"horizon": 0}, "expected horizon of at least 1, got 0"),
        (1000, {"history": 0}, "expected history of at least 1, got 0"),
        (1000, {"season": 0}, "expected season of at least 1, got 0"),
        (1000, {"test": 1.0}, "expected test between 0 and 1 (a share of the series), got 1.0"),
        (1000, {"validation": 0.0}, "expected validation between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_figures(n, options, message):
    with pytest.raises(InputError) as error:
        Forecast(np.arange(float(n)), **options)
    assert message in str(error.value)


def test_a_series_that_does_not_vary_is_refused():
    with pytest.raises(InputError, match=r"the first 700 values\) does not vary"):
        Forecast(np.ones(1000))
