"""A forecast from a CSV file: the run folder, the table of errors, rolling evaluation and no leakage."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from carousel import Stepper
from carousel.data.forecast import Forecast, metrics
from carousel.errors import InputError
from carousel.jobs.forecast import Settings, load, rolling, train
from carousel.models import build

N, HORIZON = 160, 3


def series():
    t = np.arange(N)
    return 50 + 20 * np.sin(t / 3) + np.random.default_rng(0).normal(0, 2, N)


def write_csv(path, values):
    path.write_text("day,load\n" + "".join(f"{t},{value!r}\n" for t, value in enumerate(map(float, values))))
    return path


@pytest.fixture
def settings(tmp_path):
    return Settings(
        write_csv(tmp_path / "load.csv", series()),
        target="load",
        time="day",
        horizon=HORIZON,
        season=19,
        history=10,
        hidden=4,
        sequences=96,
        batch_size=8,
        evaluate_every=32,
    )


def test_a_run_folder_with_its_result(settings, tmp_path):
    result = train(settings, tmp_path / "run", progress=False)
    assert [row["method"] for row in result.rows] == ["naive", "seasonal naive (19)", "lstm"]
    assert (result.name, result.time_name) == ("load", "day")
    np.testing.assert_array_equal(result.truth, series()[136:])
    assert result.times == [str(t) for t in range(136, 160)]
    truth = np.stack([result.truth[j : j + HORIZON] for j in range(22)])
    scale = np.abs(np.diff(series()[:112])).mean()
    for row in result.rows:
        assert result.forecasts[row["method"]].shape == (22, HORIZON)
        assert row == {"method": row["method"], **metrics(result.forecasts[row["method"]], truth, scale)}
    assert result.sequences == 96
    assert {"config.toml", "metrics.jsonl", "result.json", "best", "last"} <= {path.name for path in (tmp_path / "run").iterdir()}

    loaded_settings, loaded = load(tmp_path / "run")
    assert loaded_settings == settings
    assert (loaded.rows, loaded.times, loaded.command) == (result.rows, result.times, result.command)
    np.testing.assert_array_equal(loaded.truth, result.truth)
    for method, forecast in result.forecasts.items():
        np.testing.assert_array_equal(loaded.forecasts[method], forecast)


def test_the_same_seed_gives_the_same_result_and_another_does_not(settings, tmp_path):
    first, same = (train(settings, tmp_path / name, progress=False) for name in ("first", "same"))
    other = train(replace(settings, seed=1), tmp_path / "other", progress=False)
    assert first.rows == same.rows
    assert first.rows[:2] == other.rows[:2]
    assert first.rows[2] != other.rows[2]


def test_the_test_part_changes_no_weight_and_no_forecast_made_before_it(settings, tmp_path):
    values = series()
    values[136:] = 1e4
    changed = replace(settings, file=write_csv(tmp_path / "changed.csv", values))
    first, second = train(settings, tmp_path / "first", progress=False), train(changed, tmp_path / "second", progress=False)
    weights = [(tmp_path / name / "best/weights.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]
    np.testing.assert_array_equal(first.forecasts["lstm"][0], second.forecasts["lstm"][0])
    assert not np.array_equal(first.forecasts["lstm"][1], second.forecasts["lstm"][1])


def test_rolling_is_what_a_stream_of_values_would_give():
    task = Forecast(series(), horizon=HORIZON, history=10)
    cell = build("gru", 1, HORIZON, hidden=4)
    stepper, streamed = Stepper(cell.eval()), []
    scaled = (task.values - task.mean) / task.deviation
    for i, value in enumerate(scaled):
        changes = stepper(torch.tensor([value], dtype=torch.float32)).numpy() * task.deviation
        if i in task.origins:
            streamed.append(task.values[i] + changes)
    np.testing.assert_allclose(rolling(cell, task), streamed, rtol=1e-5)


def test_rolling_leaves_the_network_in_its_mode():
    task = Forecast(series(), horizon=HORIZON, history=10)
    for mode in (True, False):
        cell = build("lstm", 1, HORIZON, hidden=2).train(mode)
        rolling(cell, task)
        assert cell.training is mode


def test_resuming_a_finished_run_gives_its_result_again(settings, tmp_path):
    result = train(settings, tmp_path / "run", progress=False)
    assert train(load(tmp_path / "run")[0], tmp_path / "run", resume=True, progress=False).rows == result.rows


def test_the_command_repeats_the_run(tmp_path):
    settings = Settings(Path("my file.csv"), target="a b", batch_size=8, rate=0.02)
    told = "carousel train forecast 'my file.csv' --batch-size 8 --rate 0.02 --target 'a b' --out runs/one"
    assert settings.command("runs/one") == told


def test_an_existing_folder_is_refused_and_left_as_it_is(settings, tmp_path):
    train(settings, tmp_path / "run", progress=False)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError):
        train(settings, tmp_path / "run", progress=False)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "lode"}, "no column 'lode'; the columns are: 'load', 'day'"),
        ({"history": 60}, "too short"),
        ({"model": "lstn"}, "unknown model 'lstn'"),
        ({"file": Path("nothing.csv")}, "cannot read the file"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(settings, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train(replace(settings, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_what_is_no_finished_run_is_refused(settings, tmp_path):
    with pytest.raises(InputError, match=r"not a run folder: there is no config\.toml"):
        load(tmp_path)
    train(settings, tmp_path / "run", progress=False)
    result = tmp_path / "run/result.json"
    whole = result.read_text()
    for damaged in (whole[:100], "[]", json.dumps({"rows": []})):
        result.write_text(damaged)
        with pytest.raises(InputError, match=r"result\.json: (damaged|not the result of a forecast)"):
            load(tmp_path / "run")
    result.unlink()
    with pytest.raises(InputError, match="no result yet; go on with: carousel resume "):
        load(tmp_path / "run")
    (tmp_path / "run/config.toml").write_text("[settings]\nfile = 3\n")
    with pytest.raises(InputError, match=r"config\.toml: not the settings of a run: it has no 'job'"):
        load(tmp_path / "run")


def test_the_settings_load_without_torch():
    code = "import sys, carousel.jobs.forecast; sys.exit(any(name in sys.modules for name in ('torch', 'polars', 'matplotlib')))"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
