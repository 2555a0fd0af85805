"""The forecasting task: windows, targets, scaling, held-back parts and errors, against plain NumPy."""

import json

import numpy as np
import pytest
import torch

from carousel.data import Series
from carousel.data.forecast import Forecast, ForecastPreprocessing, baseline_forecasts, intervals, metrics
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


def scaling(task):
    return task.tracks[0].scaling


def naive(task):
    """method -> (origins, horizon)"""
    return baseline_forecasts(task.tracks[0], task.origins[0], task.horizon, task.prepared.season)


def truth(task):
    return task.tracks[0].truth(task.origins[0], task.horizon)


def test_parts_and_scaling(task, values):
    assert (task.train_ends, task.test_starts) == ([66], [90])
    assert scaling(task).mean == pytest.approx(values[:66].mean())
    assert scaling(task).deviation == pytest.approx(values[:66].std())
    assert scaling(task).scale == pytest.approx(np.mean([abs(values[i] - values[i - 1]) for i in range(1, 66)]))


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


def test_every_origin_of_the_held_back_end_is_forecast(task):
    assert task.origins[0].tolist() == list(range(89, 117))


def test_changing_the_test_part_changes_nothing_in_training(task, values):
    values = values.copy()
    values[90:] = np.random.default_rng(2).normal(0.0, 1e6, 30)
    other = Forecast(values, horizon=HORIZON, history=HISTORY, season=SEASON, validation=0.2, test=0.25)
    assert scaling(task) == scaling(other)
    outputs = torch.randn(87, 1, HORIZON, generator=generator())
    assert task.score(outputs, task.validation()) == other.score(outputs, other.validation())
    for batch, same in ((task.sample(64, generator()), other.sample(64, generator())), (task.validation(), other.validation())):
        assert torch.equal(batch.inputs, same.inputs)
        assert torch.equal(batch.targets, same.targets)
    assert not torch.equal(task.tracks[0].inputs, other.tracks[0].inputs)


def test_changing_validation_changes_neither_windows_nor_scaling(task, values):
    values = values.copy()
    values[66:] += 1e6
    other = Forecast(values, horizon=HORIZON, history=HISTORY, season=SEASON, validation=0.2, test=0.25)
    assert scaling(task) == scaling(other)
    assert torch.equal(task.sample(64, generator()).targets, other.sample(64, generator()).targets)


def test_baseline_forecasts_and_truth_by_hand(task, values):
    for row, i in enumerate(range(89, 117)):
        for k in (1, 2, 3):
            assert truth(task)[row, k - 1] == values[i + k]
            assert naive(task)["naive"][row, k - 1] == values[i]
            assert naive(task)["seasonal naive (7)"][row, k - 1] == values[i + k - SEASON]


def test_a_season_shorter_than_the_horizon_never_reads_the_future(values):
    task = Forecast(values, horizon=5, history=HISTORY, season=2)
    i = task.origins[0][0]
    assert naive(task)["seasonal naive (2)"][0].tolist() == [values[i - 1], values[i], values[i - 1], values[i], values[i - 1]]


def test_without_a_season_there_is_no_seasonal_forecast(values):
    assert list(naive(Forecast(values, horizon=HORIZON, history=HISTORY))) == ["naive"]


def test_an_answer_of_zero_is_the_naive_forecast(task):
    (track,), (origins,) = task.tracks, task.origins
    forecast = track.forecasts(torch.zeros(117, HORIZON), origins, HORIZON)
    np.testing.assert_allclose(forecast[..., 0], naive(task)["naive"])
    batch = task.validation()
    at = np.flatnonzero(batch.mask[:, 0])
    expected = metrics(
        baseline_forecasts(track, at, HORIZON, None)["naive"][..., None], track.truth(at, HORIZON), track.scaling.scale
    )
    assert task.score(torch.zeros(87, 1, HORIZON), batch) == pytest.approx(expected, rel=1e-5)


def test_the_right_answer_is_the_truth(task):
    batch = task.validation()
    at = np.flatnonzero(batch.mask[:, 0])
    forecast = task.tracks[0].forecasts(batch.targets[:, 0], at, HORIZON)
    np.testing.assert_allclose(np.sort(task.tracks[0].truth(at, HORIZON)), np.sort(forecast[..., 0]), rtol=1e-5)
    assert task.score(batch.targets, batch) == {"MAE": 0.0, "RMSE": 0.0, "MASE": 0.0}


def test_loss_is_the_mean_square_over_the_horizon(task):
    assert task.loss(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 2.0, 2.0])) == pytest.approx(5 / 3)


def test_metrics_by_hand():
    found = metrics(np.array([[[1.0], [2.0]]]), np.array([[2.0, 5.0]]), 0.5)
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


# --- Gaps, columns, several series, quantiles ------------------------------------------------------


def series(values, id="", **columns):
    """Values an hour apart from 2001-01-01 on."""
    n = len(values)
    hours = 978307200.0 + 3600.0 * np.arange(n)
    return Series("x", np.asarray(values, dtype=float), [f"{hour:.0f}" for hour in hours], "time", hours, "epoch s", id, columns)


def test_a_gap_is_read_as_the_last_value_and_a_flag(values):
    gappy = values.copy()
    gappy[[0, 10, 11, 80]] = np.nan
    task = Forecast(gappy, horizon=HORIZON, history=HISTORY)
    mean = np.nanmean(gappy[:84])
    assert scaling(task).mean == pytest.approx(mean)
    track = task.tracks[0]
    assert task.input_size == 2
    np.testing.assert_allclose(track.latest[[0, 1, 10, 11, 12]], [mean, values[1], values[9], values[9], values[12]])
    assert track.inputs[[0, 1, 10, 11, 12], 1].tolist() == [0, 1, 0, 0, 1]
    changes = task.validation().targets
    assert torch.isnan(changes[79, 0]).tolist() == [True, False, False]
    assert scaling(task).scale == pytest.approx(np.nanmean(np.abs(np.diff(gappy[:84]))))


def test_a_missing_value_counts_neither_in_the_loss_nor_in_the_errors(task):
    nan = float("nan")
    y = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    loss = task.loss(y, torch.tensor([0.0, nan, 2.0]))
    loss.backward()
    assert (loss.item(), y.grad.tolist()) == (pytest.approx(5 / 3), pytest.approx([2 / 3, 0, 4 / 3]))
    found = metrics(np.array([[1.0], [2.0], [7.0]]), np.array([2.0, nan, 5.0]), np.array([0.5, 0.5, 4.0]))
    assert found == pytest.approx({"MAE": 1.5, "RMSE": 2.5**0.5, "MASE": (1 / 0.5 + 2 / 4) / 2})
    with pytest.raises(InputError, match="all are missing"):
        metrics(np.zeros((2, 1)), np.full(2, np.nan), 1.0)


def test_columns_beside_the_value(values):
    wind = ["N", "N", "S", ""] * 30
    rain = np.tile([1.0, np.nan, 3.0], 40)
    task = Forecast(series(values, wind=wind, rain=rain), horizon=HORIZON, history=HISTORY, known=["rain"])
    (track,) = task.tracks
    texts, deviation = [["N", "S"], 1.0]  # rain is 1 or 3 in training: mean 2, deviation 1
    assert task.input_size == 1 + len(texts) + (1 + HORIZON) + 1
    assert track.inputs[:4, 1:3].tolist() == [[1, 0], [1, 0], [0, 1], [0, 0]]
    latest = [1.0, 1, 3] * 40
    for i in (0, 1, 50):
        np.testing.assert_allclose(track.inputs[i, 3:7], [(value - 2) / deviation for value in latest[i : i + 4]], atol=1e-6)
    assert track.inputs[:3, 7].tolist() == [1, 0, 1]


def test_a_column_that_does_not_vary_in_training_is_not_scaled_by_its_rounding(values):
    price = np.full(N, 0.1)
    price[-3:] = 0.3
    task = Forecast(series(values, price=price), horizon=HORIZON, history=HISTORY)
    np.testing.assert_allclose(task.tracks[0].inputs[[0, -1], 1], [0, 0.2], atol=1e-6)


def test_rare_texts_are_as_one_without_any(values):
    texts = [f"t{n % 15:02}" for n in range(N)]
    task = Forecast(series(values, kind=texts), horizon=HORIZON, history=HISTORY)
    assert task.input_size == 13
    assert task.tracks[0].inputs[:15, 1:].sum(1).tolist() == [1] * 12 + [0] * 3


def test_the_calendar(values):
    task = Forecast(series(values), horizon=HORIZON, history=HISTORY, calendar=True)
    assert task.prepared.features.calendar == ("hour of day", "day of week", "day of year")
    inputs = task.tracks[0].inputs[:, 1:]
    np.testing.assert_allclose(inputs[6, :2], [1, 0], atol=1e-6)  # six in the morning
    friday = 2 * np.pi / 7  # four days after a Monday; 1970 began on a Thursday
    np.testing.assert_allclose(inputs[96, 2:4], [np.sin(friday), np.cos(friday)], atol=1e-6)
    with pytest.raises(InputError, match="calendar needs dates"):
        Forecast(values, horizon=HORIZON, history=HISTORY, calendar=True)


def test_features_are_learned_from_the_training_part_alone(values):
    def made(rain, wind, end):
        changed = values.copy()
        changed[84:] = end
        return Forecast(
            series(changed, rain=rain, wind=wind), horizon=HORIZON, history=HISTORY, calendar=True, quantiles=(0.1, 0.5, 0.9)
        )

    rain, wind = np.random.default_rng(3).normal(size=N), ["N", "S"] * 60
    other_rain, other_wind = rain.copy(), [*wind[:84], *["E"] * 36]
    other_rain[84:] = np.nan
    one, other = made(rain, wind, 5.0), made(other_rain, other_wind, np.nan)
    assert str(one.prepared) == str(other.prepared)
    assert torch.equal(one.sample(64, generator()).inputs, other.sample(64, generator()).inputs)


def test_several_series_are_scaled_and_cut_each_for_itself(values):
    both = [series(values, "a"), series(1000 + 10 * values[:90], "b")]
    task = Forecast(both, horizon=HORIZON, history=HISTORY, season=SEASON)
    assert (task.train_ends, task.test_starts) == ([84, 62], [102, 76])
    alone = [Forecast(one, horizon=HORIZON, history=HISTORY, season=SEASON) for one in both]
    for track, single in zip(task.tracks, alone, strict=True):
        assert track.scaling == single.tracks[0].scaling
    validation = task.validation()
    assert validation.lengths.tolist() == [99, 73]
    for b, single in enumerate(alone):
        own = single.validation()
        steps = own.steps
        assert torch.equal(validation.inputs[:steps, b], own.inputs[:, 0])
        assert torch.equal(validation.mask[:steps, b], own.mask[:, 0])
        counted = own.mask[:, 0]
        assert torch.equal(validation.targets[:steps, b][counted], own.targets[:, 0][counted])
        assert not validation.mask[steps:, b].any()
    batch = task.sample(500, generator())
    means = batch.scaling[:, 0]
    assert set(means.tolist()) == {track.scaling.mean for track in task.tracks}
    for b, track in ((0, task.tracks[0]), (1, task.tracks[1])):
        mine = batch.inputs[:, means == track.scaling.mean, 0]
        windows = {tuple(row) for row in track.scaled[: task.train_ends[b]].unfold(0, 2 * HISTORY, 1)[:-HORIZON].tolist()}
        assert {tuple(row) for row in mine.T.tolist()} == windows


def test_pinball_loss_by_hand(values):
    task = Forecast(values, horizon=2, history=HISTORY, quantiles=(0.1, 0.5, 0.9))
    assert task.output_size == 6
    y = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.0, 1.0])
    expected = (0.1 * 1.0 + 0.5 * 0.0 + 0.1 * 1.0) + (0.1 * 3.0 + 0.5 * 2.0 + 0.9 * 1.0)
    assert task.loss(y, torch.tensor([1.0, 2.0])).item() == pytest.approx(expected / 6)
    assert task.loss(y, torch.tensor([1.0, float("nan")])).item() == pytest.approx(0.2 / 6)


def test_quantiles_that_cross_are_put_in_order(values):
    task = Forecast(values, horizon=1, history=HISTORY, quantiles=(0.1, 0.5, 0.9))
    (track,), (origins,) = task.tracks, task.origins
    forecast = track.forecasts(torch.tensor([[3.0, 1.0, 2.0]]).expand(N, -1), origins, 1)
    steps = (forecast[:, 0] - values[origins, None]) / track.scaling.deviation
    np.testing.assert_allclose(steps, np.tile([1.0, 2.0, 3.0], (len(origins), 1)))


def test_coverage_and_width_of_each_interval():
    forecast = np.array([[0.0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 2, 4, 6, 8]])
    found = metrics(forecast, np.array([2.5, 3.5, 5.0, 4.0]), 1.0, (0.05, 0.25, 0.5, 0.75, 0.95))
    assert found["90% coverage"] == 0.75
    assert found["90% width"] == 5.0
    assert found["50% coverage"] == 0.5
    assert found["50% width"] == 2.5
    assert list(intervals((0.05, 0.25, 0.5, 0.75, 0.95)).values()) == [(0, 4), (1, 3)]


def test_naive_intervals_hold_their_share_of_the_training_errors(values):
    task = Forecast(values, horizon=HORIZON, history=HISTORY, season=SEASON, quantiles=(0.1, 0.5, 0.9))
    (track,) = task.tracks
    origins = np.arange(SEASON - 1, task.train_ends[0] - HORIZON)
    for forecast in task.prepared.baselines(track, origins).values():
        assert metrics(forecast, track.truth(origins, HORIZON), 1.0, task.quantiles)["80% coverage"] == pytest.approx(0.8, abs=0.03)


def test_what_was_prepared_goes_through_json(values):
    wind = ["N", "S"] * 60
    task = Forecast(series(values, "a", wind=wind), horizon=HORIZON, history=HISTORY, quantiles=(0.1, 0.5, 0.9), known=["wind"])
    table = json.loads(json.dumps(task.prepared.table(), default=lambda array: array.tolist()))
    again = ForecastPreprocessing.from_table(table)
    assert str(again) == str(task.prepared)
    assert torch.equal(again.track(task.tracks[0].series).inputs, task.tracks[0].inputs)
    with pytest.raises(InputError, match="no series 'b' was in training; expected one of: 'a'"):
        again.track(series(values, "b", wind=wind))


BAD_QUANTILES = [(0.1, 0.9), (0.9, 0.5, 0.1), (0.5, 0.5, 0.9), (0.0, 0.5, 1.0), (0.1, 0.2, 0.5), (0.2, 0.4, 0.9)]


@pytest.mark.parametrize("quantiles", BAD_QUANTILES)
def test_quantiles_must_stand_around_the_median(values, quantiles):
    with pytest.raises(InputError, match="expected quantiles between 0 and 1, ascending, as many below"):
        Forecast(values, quantiles=quantiles)


def test_a_column_without_a_value_in_training_is_refused(values):
    empty = np.full(N, np.nan)
    empty[100] = 1.0
    for cells in (empty, [*[""] * 100, *["N"] * 20]):
        with pytest.raises(InputError, match="the column 'rain' has no value in the training part"):
            Forecast(series(values, rain=cells), horizon=HORIZON, history=HISTORY)
