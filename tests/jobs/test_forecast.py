"""A forecast from a CSV file: the run folder, the table of errors, rolling evaluation and no leakage."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from carousel import Stepper
from carousel.data import read_table, series_of
from carousel.data.forecast import Forecast, ForecastPreprocessing, metrics
from carousel.errors import InputError
from carousel.jobs.forecast import Settings, evaluate, load, predict, rolling, stream, train
from carousel.jobs.run import Run
from carousel.models import build
from carousel.report.html import write_run_report

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
    assert [row["method"] for row in result.rows] == ["naive", "seasonal naive (19)", "linear (27 lags)", "window-10", "lstm"]
    assert (result.name, result.time_name) == ("load", "day")
    (held,) = result.held
    np.testing.assert_array_equal(held.truth, series()[136:])
    assert held.times == [str(t) for t in range(136, 160)]
    truth = np.stack([held.truth[j : j + HORIZON] for j in range(22)])
    scale = np.abs(np.diff(series()[:112])).mean()
    for row in result.rows:
        assert held.forecasts[row["method"]].shape == (22, HORIZON, 1)
        assert row == {"method": row["method"], **metrics(held.forecasts[row["method"]], truth, scale)}
    assert result.sequences == 96
    assert {"config.toml", "metrics.jsonl", "result.json", "best", "last"} <= {path.name for path in (tmp_path / "run").iterdir()}

    loaded_settings, loaded = load(tmp_path / "run")
    assert loaded_settings == settings
    assert (loaded.rows, loaded.held[0].times, loaded.command) == (result.rows, held.times, result.command)
    np.testing.assert_array_equal(loaded.held[0].truth, held.truth)
    for method, forecast in held.forecasts.items():
        np.testing.assert_array_equal(loaded.held[0].forecasts[method], forecast.astype(np.float32))


def test_the_same_seed_gives_the_same_result_and_another_does_not(settings, tmp_path):
    settings = replace(settings, base="naive")  # 96 sequences are too few to better the linear forecast
    first, same = (train(settings, tmp_path / name, progress=False) for name in ("first", "same"))
    other = train(replace(settings, seed=1), tmp_path / "other", progress=False)
    assert first.rows == same.rows
    assert first.rows[:2] == other.rows[:2]
    assert first.rows[2] != other.rows[2]
    assert first.rows[3] != other.rows[3]


def test_the_test_part_changes_no_weight_and_no_forecast_made_before_it(settings, tmp_path):
    values = series()
    values[136:] = 1e4
    changed = replace(settings, file=write_csv(tmp_path / "changed.csv", values))
    first, second = train(settings, tmp_path / "first", progress=False), train(changed, tmp_path / "second", progress=False)
    for run in ("", "baseline"):
        weights = [(tmp_path / name / run / "best/weights.safetensors").read_bytes() for name in ("first", "second")]
        assert weights[0] == weights[1]
    for model in ("lstm", "window-10"):
        forecasts = [result.held[0].forecasts[model] for result in (first, second)]
        np.testing.assert_array_equal(forecasts[0][0], forecasts[1][0])
        assert not np.array_equal(forecasts[0][1], forecasts[1][1])


def test_rolling_is_what_a_stream_of_values_would_give():
    task = Forecast(series(), horizon=HORIZON, history=10)
    (track,), (origins,) = task.tracks, task.origins
    cell = build("gru", 1, HORIZON, hidden=4)
    stepper, streamed = Stepper(cell.eval()), []
    mean, deviation = track.scaling.mean, track.scaling.deviation
    for i, value in enumerate((series() - mean) / deviation):
        changes = stepper(torch.tensor([value], dtype=torch.float32)).numpy() * deviation
        if i in origins:
            streamed.append(series()[i] + changes)
    np.testing.assert_allclose(rolling(cell, track, origins, HORIZON)[..., 0], streamed, rtol=1e-5)


def test_rolling_leaves_the_network_in_its_mode():
    task = Forecast(series(), horizon=HORIZON, history=10)
    for mode in (True, False):
        cell = build("lstm", 1, HORIZON, hidden=2).train(mode)
        rolling(cell, task.tracks[0], task.origins[0], HORIZON)
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
    result.write_text(whole.replace("0", "1"))
    with pytest.raises(InputError, match=r"result\.json: changed since the run was finished"):
        load(tmp_path / "run")
    (tmp_path / "run/SHA256SUMS").unlink()
    for damaged in (whole[:100], "[]", json.dumps({"rows": []})):
        result.write_text(damaged)
        with pytest.raises(InputError, match=r"result\.json: (damaged|not the result of forecast)"):
            load(tmp_path / "run")
    result.unlink()
    with pytest.raises(InputError, match="no result yet; continue with: carousel resume "):
        load(tmp_path / "run")
    (tmp_path / "run/config.toml").write_text("[settings]\nfile = 3\n")
    with pytest.raises(InputError, match=r"config\.toml: not the settings of a run: it has no 'job'"):
        load(tmp_path / "run")


def test_the_settings_load_without_torch():
    code = "import sys, carousel.jobs.forecast; sys.exit(any(name in sys.modules for name in ('torch', 'polars', 'matplotlib')))"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


# --- Use: evaluate, predict, stream ----------------------------------------------------------------

NAMES = ["time", "shop", "level", "rain", "wind"]


def rows(n, shop):
    """Rows of an hourly table with gaps: an id, the target, a number and a text beside it."""
    drawn = np.random.default_rng(len(shop))
    for t in range(n):
        level = "NA" if t % 17 == 3 else f"{10 + 5 * np.sin(t / 4) + drawn.normal():.4f}"
        rain = "" if t % 19 == 5 else f"{drawn.normal():.4f}"
        wind = "NS"[int(drawn.integers(2))] if t % 23 else ""
        yield [f"2024-01-{1 + t // 24:02} {t % 24:02}:00", shop, level, rain, wind]


def write_rows(path, table):
    path.write_text("".join(",".join(cells) + "\n" for cells in [NAMES, *table]))
    return path


TABLE = [*rows(200, "a"), *rows(150, "bb")]


def hourly(tmp_path, **options):
    """The settings of a small run on two series with gaps, covariates and quantiles."""
    small = {"horizon": HORIZON, "season": 24, "history": 10, "hidden": 4, "sequences": 16, "batch_size": 8, "evaluate_every": 16}
    asked = {
        "target": "level",
        "id": "shop",
        "covariates": ("rain", "wind"),
        "calendar": True,
        "quantiles": (0.1, 0.5, 0.9),
        "log": False,
    }
    return Settings(write_rows(tmp_path / "shops.csv", TABLE), **(small | asked | options))


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """The folder and the result of a run, that tests only read."""
    folder = tmp_path_factory.mktemp("used")
    return folder / "run", train(hourly(folder), folder / "run", progress=False)


def test_what_is_missing_is_noted(used):
    _, result = used
    assert result.notes == [
        "the column 'time' tells the time, read as ISO dates: 2 series, hourly, from 2024-01-01 00:00 to 2024-01-09 07:00, 0 gaps",
        "level: 21 of 350 values are missing; the longest gap has 1 (in 'a')",
        "rain: 19 of 350 values are missing; the longest gap has 1 (in 'a')",
        "a season of 24 steps, calendar inputs hour of day, day of week, day of year; the network corrects the linear forecast, "
        "not below zero",
    ]
    assert [held.id for held in result.held] == ["a", "bb"]


def test_the_table_holds_the_intervals_of_all_methods(used):
    _, result = used
    assert [row["method"] for row in result.rows] == ["naive", "seasonal naive (24)", "linear (25 lags)", "window-10", "lstm"]
    assert list(result.rows[0]) == ["method", "MAE", "RMSE", "MASE", "pinball", "80% coverage", "80% width"]
    error = []
    for held in result.held:
        forecast = held.forecasts["lstm"]
        error += [abs(forecast[j, k, 1] - held.truth[j + k]) for j in range(len(forecast)) for k in range(HORIZON)]
    assert result.rows[4]["MAE"] == pytest.approx(np.nanmean(error), rel=1e-6)


def test_evaluate_gives_the_table_again_or_that_of_another_file(used, tmp_path):
    run, result = used
    assert evaluate(run) == result.rows
    again = evaluate(run, write_rows(tmp_path / "again.csv", TABLE))  # every origin after a season, not the held-out end alone
    assert [row["method"] for row in again] == [row["method"] for row in result.rows]
    assert again != result.rows
    learned = ForecastPreprocessing.from_table(Run(run).prepared)
    error = []
    for one in series_of(read_table(tmp_path / "again.csv"), "level", id="shop", columns=["rain", "wind"]):
        track = learned.track(one)
        origins = np.arange(24 - 1, len(one) - HORIZON)
        error.append((rolling(Run(run).network, track, origins, HORIZON)[..., 1] - track.truth(origins, HORIZON)).ravel())
    assert again[4]["MAE"] == pytest.approx(np.nanmean(np.abs(np.concatenate(error))))


def test_evaluate_refuses_what_it_cannot_judge(used, tmp_path):
    run, _ = used
    with pytest.raises(InputError, match="the series 'a' has 26 values, at least 27 are needed"):
        evaluate(run, write_rows(tmp_path / "short.csv", TABLE[:26]))
    with pytest.raises(InputError, match="no series 'c' was in training; expected one of: 'a', 'bb'"):
        evaluate(run, write_rows(tmp_path / "other.csv", rows(100, "c")))
    with pytest.raises(InputError, match="row 3, column 'rain': expected a number, got 'N'"):
        evaluate(run, write_rows(tmp_path / "kinds.csv", [TABLE[0], [*TABLE[1][:3], "N", "N"]]))


def test_predict_forecasts_after_the_end_of_each_series(used, tmp_path):
    run, result = used
    cut = TABLE[: 200 - HORIZON] + TABLE[200 : 350 - HORIZON]  # so that the last origin of the held-out end is the last row
    records = list(predict(run, write_rows(tmp_path / "cut.csv", cut)))
    assert list(records[0]) == ["shop", "time", "ahead", "level", "level q0.1", "level q0.9"]
    assert [(record["shop"], record["ahead"]) for record in records] == [(shop, k) for shop in ("a", "bb") for k in (1, 2, 3)]
    assert [record["time"] for record in records] == [cells[0] for cells in [*TABLE[197:200], *TABLE[347:350]]]
    for record, expected in zip(records, np.concatenate([held.forecasts["lstm"][-1] for held in result.held]), strict=True):
        assert [record["level q0.1"], record["level"], record["level q0.9"]] == pytest.approx(expected.tolist(), rel=1e-5)


def dated(tmp_path, times, **options):
    """A small run on a series at these times, but the last 6, and the records that predict gives of a file of its last 4 rows."""
    values = [f"{50 + 20 * np.sin(n / 3):.3f}" for n in range(len(times))]
    cells = [f'"{time}",{value}\n' for time, value in zip(times, values, strict=True)]
    (tmp_path / "whole.csv").write_text("when,y\n" + "".join(cells[:-6]))
    (tmp_path / "short.csv").write_text("when,y\n" + "".join(cells[-10:-6]))
    small = {"horizon": 6, "history": 10, "hidden": 2, "sequences": 8, "batch_size": 8, "evaluate_every": 8, "baseline": "none"}
    small["base"] = "naive"
    result = train(Settings(tmp_path / "whole.csv", target="y", **(small | options)), tmp_path / "run", progress=False)
    return result.notes, [next(iter(record.values())) for record in predict(tmp_path / "run", tmp_path / "short.csv")]


BUSINESS = np.busday_offset("2023-01-02", np.arange(110))
ENDS = (np.datetime64("2000-02", "M") + np.arange(110)).astype("datetime64[D]") - 1


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (ENDS.astype(str), "ISO dates: monthly, on the last day, from 2000-01-31 to 2008-08-31, 0 gaps"),
        (BUSINESS.astype(str), "ISO dates: on business days, from 2023-01-02 to 2023-05-25, 0 gaps"),
        ([f"{day:%d/%m/%Y}" for day in BUSINESS.tolist()], "%d/%m/%Y: on business days, from 02/01/2023 to 25/05/2023, 0 gaps"),
        (
            [f"{day:%b %d, %Y}" for day in ENDS.tolist()],
            "%b %d, %Y: monthly, on the last day, from Jan 31, 2000 to Aug 31, 2008, 0 gaps",
        ),
        ([f"{day:%Y%m}" for day in ENDS.tolist()], "%Y%m: monthly, from 200001 to 200808, 0 gaps"),
        ([str(1577836800123 + 3600000 * n) for n in range(110)], "epoch ms: hourly, from 1577836800123 to 1578207600123, 0 gaps"),
    ],
)
def test_a_short_file_is_continued_by_the_calendar_of_the_training(tmp_path, times, told):
    notes, coming = dated(tmp_path, times)
    assert notes == [f"the column 'when' tells the time, read as {told}"]
    assert coming == list(times[-6:])


def test_a_file_that_contradicts_the_calendar_of_the_training_is_refused(tmp_path):
    dated(tmp_path, BUSINESS.astype(str))
    for times, told in (
        (ENDS[:5], "monthly, on the last day (2000-01-31, 2000-02-29, ...)"),
        (np.datetime64("2023-01-02") + np.arange(10), "daily"),
    ):
        rows = "".join(f"{time},{n}\n" for n, time in enumerate(times.astype("datetime64[D]").astype(str)))
        (tmp_path / "other.csv").write_text("when,y\n" + rows)
        for use in (predict, evaluate):
            with pytest.raises(InputError, match=re.escape(f"other.csv: when: the rows are {told}")) as error:
                list(use(tmp_path / "run", tmp_path / "other.csv"))
            assert "those of the training on business days" in str(error.value)


def test_the_times_to_come_of_irregular_rows_are_not_given(tmp_path, capsys):
    times = (np.datetime64("2020-01-01", "m") + np.random.default_rng(0).integers(1, 600, 110).cumsum()).astype(str)
    notes, coming = dated(tmp_path, [time.replace("T", " ") for time in times])
    assert "at irregular steps (" in notes[0]
    assert coming == [""] * 6
    assert capsys.readouterr().err.startswith("when: the rows of the training are at irregular steps (")


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%Y%m%d"])
def test_the_report_has_an_axis_of_dates(tmp_path, form):
    dated(tmp_path, [f"{day:{form}}" for day in BUSINESS.tolist()])
    page = write_run_report(tmp_path / "run").read_text()
    assert ">2023-May<" in page


def test_a_column_that_is_not_read_is_named(tmp_path):
    notes, _ = dated(tmp_path, [f"{n}. Tag" for n in range(110)])
    told = (
        "no column tells the time ('when' holds no dates that can be read): the rows stand oldest first, a step apart; --time names"
    )
    assert notes[0].startswith(told)


def test_a_column_may_be_called_row(tmp_path):
    (tmp_path / "a.csv").write_text("row,y\n" + "".join(f"{5 * n},{50 + 20 * np.sin(n / 3):.3f}\n" for n in range(110)))
    small = {"horizon": 2, "history": 10, "hidden": 2, "sequences": 8, "batch_size": 8, "evaluate_every": 8, "baseline": "none"}
    small["base"] = "naive"
    result = train(Settings(tmp_path / "a.csv", target="y", time=("row",), **small), tmp_path / "run", progress=False)
    assert result.notes == ["the column 'row' tells the time, read as numbers: every 5, from 0 to 545, 0 gaps"]
    assert [record["row"] for record in predict(tmp_path / "run", tmp_path / "a.csv")] == ["550", "555"]


def test_rows_may_be_sorted_and_day_and_month_told(tmp_path):
    newest_first = [f"{day:%d/%m/%Y}" for day in ENDS.tolist()][::-1]
    with pytest.raises(InputError, match="row 3, column 'when': '31/01/2009' is before the row above"):
        dated(tmp_path, newest_first)
    firsts = [f"01/{1 + n % 12:02}/{2000 + n // 12}" for n in range(110)]
    with pytest.raises(InputError, match="say which: --date-format %d/%m/%Y or --date-format %m/%d/%Y"):
        dated(tmp_path, firsts)
    notes, coming = dated(tmp_path, firsts, date_format="%d/%m/%Y")
    assert "%d/%m/%Y: monthly, from 01/01/2000" in notes[0]
    assert coming == firsts[-6:]
    shutil.rmtree(tmp_path / "run")
    notes, coming = dated(tmp_path, newest_first, sort=True)
    assert "monthly, on the last day, from 31/07/2000 to 28/02/2009" in notes[0]
    assert coming[0] == "30/11/2000"  # after the newest of the file's rows


ODD = [*rows(200, "a"), *rows(12, "short"), *rows(150, "bb")]
ODD += [[time, "flat", "7", rain, wind] for time, _, _, rain, wind in rows(150, "flat")]
ODD += [[time, "gone", "", rain, wind] for time, _, _, rain, wind in rows(150, "gone")]


def test_series_that_cannot_be_learned_from_are_skipped_with_a_line_each(tmp_path, capsys):
    settings = replace(hourly(tmp_path), file=write_rows(tmp_path / "odd.csv", ODD))
    with pytest.raises(InputError, match=r"the series 'short' is too short: .*; --skip leaves such series out$"):
        train(settings, tmp_path / "run", progress=False)
    result = train(replace(settings, skip=True), tmp_path / "run", progress=False)
    assert [held.id for held in result.held] == ["a", "bb"]
    assert [note.removeprefix("skipped: ") for note in result.notes if note.startswith("skipped")] == [
        "the series 'short' is too short: of its 12 values the training part has 8, at least 23 are needed "
        "(2 * history + horizon = 2 * 10 + 3)",
        "the training part of 'flat' (the first 106 values) does not vary",
        "the training part of 'gone' (the first 106 values) has no value",
    ]
    alone = train(replace(settings, file=write_rows(tmp_path / "alone.csv", TABLE)), tmp_path / "alone", progress=False)
    assert result.rows == alone.rows

    capsys.readouterr()
    records = list(predict(tmp_path / "run", tmp_path / "odd.csv"))
    assert list(dict.fromkeys(record["shop"] for record in records)) == ["a", "short", "bb"]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "'short' was not in training; it is scaled by its own 12 values"
    assert told[1].startswith("skipped: forecast: no series 'flat' was in training, and its 150 values do not vary")
    assert told[2].endswith("no value of 'level' of 'gone' to begin with")
    assert evaluate(tmp_path / "run", tmp_path / "odd.csv") == evaluate(tmp_path / "run", tmp_path / "alone.csv")
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in told] == ["skipped"] * 3
    assert "the series 'short' has 12 values, at least 27 are needed" in told[0]
    with pytest.raises(InputError, match="has 12 values, at least 27 are needed"):
        evaluate(tmp_path / "run", write_rows(tmp_path / "short.csv", ODD[200:212]), progress=False)


def test_none_of_the_series_can_be_used(tmp_path):
    odd = write_rows(tmp_path / "odd.csv", [*rows(12, "short"), *rows(9, "b")])
    with pytest.raises(InputError, match=r"the series 'short' is too short: .*; and so none of the 2 series can be used"):
        train(replace(hourly(tmp_path), file=odd, skip=True), tmp_path / "run", progress=False)


def test_a_series_that_was_not_in_training_is_forecast_by_the_shared_network(used, tmp_path, capsys):
    run, _ = used
    new = [[*cells[:1], "c", *cells[2:]] for cells in TABLE[:100]]
    records = list(predict(run, write_rows(tmp_path / "new.csv", [*TABLE[:100], *new])))
    assert [record["shop"] for record in records] == ["a"] * 3 + ["c"] * 3
    assert [record["time"] for record in records[3:]] == [cells[0] for cells in TABLE[100:103]]
    assert capsys.readouterr().err == "'c' was not in training; it is scaled by its own 100 values\n"
    shifted = [[*cells[:2], cells[2] and repr(1000 + 3 * float(cells[2])) if cells[2] != "NA" else "", *cells[3:]] for cells in new]
    moved = list(predict(run, write_rows(tmp_path / "moved.csv", shifted), progress=False))
    assert [record["level"] for record in moved] == pytest.approx([1000 + 3 * record["level"] for record in records[3:]])
    for cells, told in ((new[:1], "its 1 values do not vary"), ([[*new[0][:2], "", *new[0][3:]]], "no value of 'level' of 'c'")):
        with pytest.raises(InputError, match=told):
            list(predict(run, write_rows(tmp_path / "new.csv", cells)))


def test_a_column_known_ahead_is_read_from_the_rows_to_come(tmp_path):
    known = hourly(tmp_path, known=("rain",), covariates=())
    result = train(known, tmp_path / "run", progress=False)
    coming = [[*cells[:2], "", *cells[3:]] for cells in TABLE[198:200]]
    with pytest.raises(InputError, match="expected 3 rows after the last value of 'level', for rain, got 2"):
        list(predict(tmp_path / "run", write_rows(tmp_path / "short.csv", [*TABLE[:198], *coming])))
    coming = [[*cells[:2], "", *cells[3:]] for cells in TABLE[197:200]]
    records = list(predict(tmp_path / "run", write_rows(tmp_path / "coming.csv", [*TABLE[:197], *coming])))
    assert [record["time"] for record in records] == [cells[0] for cells in coming]
    assert [record["level"] for record in records] == pytest.approx(result.held[0].forecasts["lstm"][-1, :, 1].tolist(), rel=1e-5)
    with pytest.raises(InputError, match="its network reads rain ahead; use predict"):
        stream(tmp_path / "run")


def test_a_stream_answers_each_row_as_predict_would(used, tmp_path):
    run, _ = used
    answer = stream(run)
    names = answer(",".join(NAMES))
    assert names == "shop,time,+1 q0.1,+1,+1 q0.9,+2 q0.1,+2,+2 q0.9,+3 q0.1,+3,+3 q0.9"
    alternating = [cells for pair in zip(TABLE[:60], TABLE[200:260], strict=True) for cells in pair]
    for n, cells in enumerate(alternating):
        shop, time, *values = answer(",".join(cells) + "\n").split(",")
        assert (time, shop) == tuple(cells[:2])
        if n in (0, 1, 7, 118, 119):
            so_far = [row for row in alternating[: n + 1] if row[1] == shop]
            records = list(predict(run, write_rows(tmp_path / "so_far.csv", so_far)))
            expected = [record[name] for record in records for name in ("level q0.1", "level", "level q0.9")]
            assert list(map(float, values)) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_row_that_a_stream_refuses_leaves_it_as_it_was(used):
    run, _ = used
    one, other = stream(run), stream(run)
    lines = [",".join(cells) for cells in TABLE[:6]]
    for line in lines[:5]:
        assert one(line) == other(line)
    for bad, told in [
        ("", "row 6: expected 5 cells (time, shop, level, rain, wind), got 0"),
        (lines[5][:12], "row 6: expected 5 cells (time, shop, level, rain, wind), got 1"),
        (lines[5] + ",7", "row 6: expected 5 cells (time, shop, level, rain, wind), got 6"),
        (lines[4], "row 6: the time '2024-01-01 04:00' is not after '2024-01-01 04:00'"),
        (lines[5].replace(",a,", ",c,"), "no series 'c' was in training"),
        (lines[5].replace(",a,", ",a,x"), "row 6, column 'level': expected a number, got 'x"),
        (",".join(NAMES), "row 6, column 'level': expected a number, got 'level'"),
    ]:
        with pytest.raises(InputError) as error:
            one(bad)
        assert told in str(error.value)
    assert one(lines[5]) == other(lines[5])


def test_a_run_stands_alone(used, tmp_path):
    run, _ = used
    alone = shutil.copytree(run, tmp_path / "alone")
    (tmp_path / "alone/config.toml").write_text((run / "config.toml").read_text().replace("shops.csv", "gone.csv"))
    path = write_rows(tmp_path / "more.csv", TABLE[:50])
    with pytest.raises(InputError, match=r"config\.toml: changed since the run was finished; .* take its line out of SHA256SUMS"):
        list(predict(alone, path))
    sums = alone / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(keepends=True) if "config.toml" not in line))
    assert list(predict(alone, path)) == list(predict(run, path))


def test_a_damaged_run_is_named(used, tmp_path):
    run = shutil.copytree(used[0], tmp_path / "run")
    (run / "SHA256SUMS").unlink()
    (run / "prepared.json").write_text('{"input_size": 3, "output_size": 9}')
    with pytest.raises(InputError, match=r"prepared\.json: damaged"):
        list(predict(run, tmp_path / "shops.csv"))
    (run / "forecasts.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"forecasts\.npz: missing or damaged"):
        load(run)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariates": ("level",)}, "'level' is the target, which the network reads anyway"),
        ({"known": ("rain",)}, "the covariate 'rain' is named twice"),
        ({"covariates": ("rian",)}, "no column 'rian'; the columns are: 'rain'"),
        ({"id": "shops"}, "no column 'shops'; the columns are: 'shop'"),
        ({"id": None}, "row 202, column 'time': '2024-01-01 00:00' is before the row above; sort the rows by time"),
        ({"quantiles": (0.1, 0.9)}, "expected quantiles"),
        ({"baseline": "windw"}, "unknown model 'windw'"),
    ],
)
def test_bad_columns_and_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train(hourly(tmp_path, **options), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


_LINE = st.one_of(st.sampled_from([",".join(cells) for cells in TABLE[:3]]), st.text(max_size=30), st.just(",".join(NAMES)))


@hypothesis_settings(max_examples=40, deadline=None)
@given(lines=st.lists(_LINE, max_size=6))
def test_whatever_a_stream_is_given_it_answers_or_refuses(used, lines):
    answer = stream(used[0])
    for line in lines:
        with suppress(InputError):
            assert answer(line)


ODD_BYTES = [b"", b",", b"\n", b'"', b"\xff", b"-9", b"e9", b"e99", b"\0"]


def mutated(data, content):
    """The bytes of a file cut off, or with some of them replaced, taken out or put in."""
    content = bytearray(content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content)))  # at its end too, where it is empty already
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(ODD_BYTES))
    return bytes(content)


@hypothesis_settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_a_file_holds_predict_answers_or_refuses(used, data, tmp_path_factory):
    run, _ = used
    path = tmp_path_factory.getbasetemp() / "mutated.csv"
    path.write_bytes(mutated(data, "".join(",".join(cells) + "\n" for cells in [NAMES, *TABLE[:12], *TABLE[200:208]]).encode()))
    with suppress(InputError):
        assert len(list(predict(run, path))) % HORIZON == 0
