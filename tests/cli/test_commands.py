"""The commands: what they print, what they write, and one clear line where they cannot."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from carousel.cli import main
from carousel.data import example
from carousel.jobs import forecast
from carousel.recipes.reproduce import Reproduction

Capture = pytest.CaptureFixture[str]
QUICK = ["--sequences", "64", "--evaluate-every", "32", "--horizon", "3", "--history", "6"]


@pytest.fixture
def tides(tmp_path: Path) -> Path:
    """200 hours of a tide."""
    path = tmp_path / "tides.csv"
    rows = [f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00,{3 + math.sin(hour / 2):.3f}" for hour in range(200)]
    path.write_text("\n".join(["Hour,Level", *rows]) + "\n")
    return path


def refused(words: list[str | Path], capsys: Capture) -> str:
    """The one line that a command was refused with."""
    assert main(list(map(str, words))) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("carousel: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_train_prints_the_errors_and_writes_the_report(tides: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    assert main(["train", str(tides), "--target", "Level", "--season", "12", "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr().out
    methods = [line.split("  ")[0] for line in printed.splitlines()]
    assert methods[:6] == ["method", "naive", "seasonal naive (12)", "linear (24 lags)", "window-6", "lstm"]
    assert printed.splitlines()[-1] == f"report: {out / 'report.html'}"
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out == printed
    assert "<svg" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--target", "Levle"], "no column 'Levle'; the columns are: 'Level'"),
        (["--target", "Level", "--model", "lsmt"], "unknown model 'lsmt' (did you mean 'lstm'?)"),
        (["--target", "Level", "--horizn", "3"], "Unknown option: --horizn. Did you mean --horizon?"),
        (["--target", "Level", "--horizon", "3.5"], 'Invalid value for --horizon: unable to convert "3.5" into int.'),
        (["--target", "Level", "--horizon", "many"], 'Invalid value for --horizon: unable to convert "many" into int.'),
        (["--target", "Level", "--horizon", "90"], "the series is too short"),
        (["--target", "Level", "--optimizer", "adma"], "adam"),
        ([], "--target is missing; see carousel train forecast --help"),
    ],
)
def test_train_refuses(words: list[str], told: str, tides: Path, tmp_path: Path, capsys: Capture) -> None:
    assert told in refused(["train", tides, *words, "--out", tmp_path / "run"], capsys)
    assert not (tmp_path / "run").exists()


def test_train_names_the_cell_that_is_no_number(tides: Path, tmp_path: Path, capsys: Capture) -> None:
    lines = tides.read_text().splitlines()
    lines[7] = "2024-01-01 06:00,low"
    tides.write_text("\n".join(lines))
    line = refused(["train", tides, "--target", "Level", "--out", tmp_path / "run"], capsys)
    assert "row 8, column 'Level': expected a number, got 'low'" in line


def test_train_leaves_an_existing_run_alone(tides: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert str(out) in refused(["train", tides, "--target", "Level", "--out", out, *QUICK], capsys)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_file_where_a_folder_should_be(tides: Path, tmp_path: Path, capsys: Capture) -> None:
    refused(["train", tides, "--target", "Level", "--out", tides / "run", *QUICK], capsys)
    assert tides.read_text().startswith("Hour,Level")


@pytest.mark.parametrize("command", ["resume", "report"])
def test_a_folder_that_is_no_run(command: str, tmp_path: Path, capsys: Capture) -> None:
    assert "not a run folder" in refused([command, tmp_path], capsys)


def test_a_full_disk_is_one_line(tides: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "run"))

    monkeypatch.setattr(forecast, "train", full)
    line = refused(["train", tides, "--target", "Level", "--out", tmp_path / "run"], capsys)
    assert line == f"carousel: {tmp_path / 'run'}: No space left on device\n"


def test_ctrl_c_in_training_tells_how_to_go_on(tides: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["train", str(tides), "--target", "Level", "--out", str(out), "--sequences", "10000000", "--patience", "1000000"]
    command = [sys.executable, "-m", "carousel", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        began = time.monotonic()
        while not (out / "best").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() - began < 60
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert told.splitlines()[-1].startswith("carousel: interrupted after ")
    assert told.endswith(f"continue with: carousel resume {out}\n")
    assert "Traceback" not in told


@pytest.mark.parametrize(("begun", "told"), [(True, "interrupted; continue with: carousel resume run"), (False, "interrupted")])
def test_ctrl_c_beside_training(begun: bool, told: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(settings: Any, out: Path, *, resume: bool) -> None:
        if begun:
            (out / "last").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forecast, "train", interrupted)
    (tmp_path / "a.csv").touch()
    assert main(["train", "a.csv", "--target", "x", "--out", "run"]) == 130
    assert capsys.readouterr().err == f"carousel: {told}\n"


def test_list_names_what_there_is(capsys: Capture) -> None:
    assert main(["list"]) == 0
    names = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"cells", "models", "tasks", "recipes", "LSTM", "lstm-peephole", "repeat-copy", "sunspots"} <= set(names)


def test_explain_tells_the_plan_of_a_model_or_a_run(tides: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["explain", "gru"]) == 0
    plan = capsys.readouterr().out
    assert "runs on backend native" in plan
    assert "a native loop, from the last step to the first" in plan
    run = str(tmp_path / "run")
    assert main(["train", str(tides), "--target", "Level", "--model", "elman", *QUICK, "--hidden", "5", "--out", run]) == 0
    capsys.readouterr()
    assert main(["explain", run, "--code"]) == 0
    plan = capsys.readouterr().out
    assert "tanh" in plan
    assert "(5,)" in plan
    assert "define" in plan
    assert main(["explain", "grru"]) == 2
    assert "unknown model 'grru'" in capsys.readouterr().err


def test_reproduce_then_results(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "sunspots", "--rows", "naive", "seasonal-naive-132", "--processes", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:4] == ["row", "MAE", "RMSE", "MASE"]
    assert [line.split()[0] for line in printed[1:3]] == ["naive", "seasonal-naive-132"]
    assert printed[-1] == "report: results/sunspots/report.html"
    assert (tmp_path / "results/sunspots/report.html").stat().st_size < 300_000

    assert main(["results"]) == 0
    assert sum("seasonal-naive-132" in line for line in capsys.readouterr().out.splitlines()) == 3
    assert not (tmp_path / "docs").exists()

    assert main(["results", "--json", "--page", "docs/reproductions.md"]) == 0
    assert {row["row"] for row in json.loads(capsys.readouterr().out)} == {"naive", "seasonal-naive-132"}
    page = tmp_path / "docs/reproductions.md"
    written = page.read_text()
    page.write_text(written.splitlines()[0])
    assert main(["results", "--out", str(tmp_path / "results")]) == 0  # other results leave the page alone
    assert page.read_text() != written
    assert main(["results"]) == 0  # a page that is there is brought up to date
    assert page.read_text() == written


def test_a_run_that_fails_shows_in_the_exit_status(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Reproduction(rows=[], failures={("lstm", 1): "ValueError: no"}, seconds=1.0)
    monkeypatch.setattr("carousel.recipes.reproduce.reproduce", lambda *args, **options: done)
    assert main(["reproduce", "sunspots", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr() == ("", "carousel: 1 of the runs failed; the same command tries again\n")


@pytest.mark.parametrize(("words", "same"), [([], "the same command"), (["--restart"], "the same command without --restart")])
def test_ctrl_c_in_reproduce_tells_how_to_go_on(
    words: list[str], same: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("carousel.recipes.reproduce.reproduce", interrupted)
    assert main(["reproduce", "sunspots", *words]) == 130
    assert capsys.readouterr().err == f"carousel: interrupted; finished runs are kept, and {same} continues\n"


def test_results_of_nothing(tmp_path: Path, capsys: Capture) -> None:
    assert "carousel reproduce NAME" in refused(["results", "--out", tmp_path], capsys)


def test_reproduce_all_rows_or_some_by_either_name(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def noted(*_: object, **options: object) -> Reproduction:
        asked.append(options["rows"])
        return Reproduction(rows=[], failures={}, seconds=0.0)

    monkeypatch.setattr("carousel.recipes.reproduce.reproduce", noted)
    for words in (["--model", "gru", "lstm"], ["--rows", "gru"], ["--all"], []):
        assert main(["reproduce", "sunspots", *words]) == 0
    assert asked == [("gru", "lstm"), ("gru",), None, None]
    assert "either --all or rows, got both (rows gru)" in refused(["reproduce", "sunspots/gru", "--all"], capsys)


def test_reproduce_into_a_file(tides: Path, capsys: Capture) -> None:
    assert "Not a directory" in refused(["reproduce", "sunspots", "--out", tides / "results"], capsys)


def test_reproduce_names_the_nearest_recipe(tmp_path: Path, capsys: Capture) -> None:
    assert "unknown recipe 'sunspot', expected one of: sunspots" in refused(["reproduce", "sunspot", "--out", tmp_path], capsys)
    assert "no row 'lsmt'" in refused(["reproduce", "sunspots", "--rows", "lsmt", "--out", tmp_path], capsys)
    assert list(tmp_path.iterdir()) == []


def test_train_takes_its_options_from_a_file(tides: Path, tmp_path: Path, capsys: Capture) -> None:
    asked = ["train", str(tides), "--target", "Level", "--season", "12", *QUICK]
    assert main([*asked, "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert 'job = "forecast"' in printed
    assert "# time =" in printed
    config = tmp_path / "tides.toml"
    config.write_text(printed)
    assert main(["train", "--config", str(config), "--hidden", "3", "--out", str(tmp_path / "a")]) == 0
    assert main(["train", "--config", str(tmp_path / "a/config.toml"), "--out", str(tmp_path / "b")]) == 0
    assert main([*asked, "--hidden", "3", "--out", str(tmp_path / "c")]) == 0
    rows = [forecast.load(tmp_path / run)[1].rows for run in "abc"]
    assert rows[0] == rows[1] == rows[2]
    assert forecast.load(tmp_path / "b")[0].hidden == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("hiden = 3", "unknown option 'hiden' of forecast; did you mean 'hidden'?"),
        ("hidden = 'many'", "a.toml: hidden: expected a whole number, got 'many'"),
        ("hidden = 3.5", "a.toml: hidden: expected a whole number, got '3.5'"),
        ("decay = 1", "a.toml: decay: expected true or false, got '1'"),
        ("quantiles = [0.5, 'high']", "a.toml: quantiles: expected a number, got 'high'"),
        ("job = 'forcast'", "unknown job 'forcast'; did you mean 'forecast'?"),
        ("hidden 3", "not a TOML file"),
        ("[training]\nhidden = 3", "expected a value for 'training', got a table"),
        ("# nothing", "--target is missing"),
    ],
)
def test_train_refuses_a_config(content: str, told: str, tides: Path, tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "a.toml"
    config.write_text(content)
    assert told in refused(["train", tides, "--config", config, "--out", tmp_path / "run"], capsys)


def test_a_file_gives_values_of_every_kind_and_words_win(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "films.jsonl").touch()
    config = _written(
        tmp_path / "a.toml",
        f"file = '{tmp_path / 'films.jsonl'}'\ntest = '-held.jsonl'\nby = 'bytes'\ndecay = true\nrate = 1\nhidden = 3\n"
        "key = '--a b'\n",
    )
    assert main(["train", "--config", str(config), "--hidden", "5", "--print-config"]) == 0
    found = tomllib.loads(capsys.readouterr().out)
    assert found["job"] == "classify"
    assert (found["file"], found["test"]) == (str(tmp_path / "films.jsonl"), "-held.jsonl")
    assert (found["by"], found["decay"], found["rate"], found["hidden"], found["key"]) == ("bytes", True, 1.0, 5, "--a b")
    assert (
        main(
            [
                "train",
                "forecast",
                "--config",
                str(_written(config, "file = 'a.csv'\ntarget = 'x'\ntime = 'day'\n")),
                "--print-config",
            ]
        )
        == 0
    )
    assert tomllib.loads(capsys.readouterr().out)["time"] == ["day"]
    assert "by: expected words or bytes or rows or pixels, got 'letters'" in refused(
        ["train", "classify", "--config", _written(config, "file = 'a.ts'\nby = 'letters'"), "--print-config"], capsys
    )


def test_a_typo_in_a_needed_option_is_named(tides: Path, capsys: Capture) -> None:
    told = refused(["train", tides, "--targt", "Level"], capsys)
    assert told == "carousel: carousel train forecast: no option --targt; did you mean --target?\n"


@pytest.mark.parametrize("option", ["--target", "--config", "--hidden", "--out"])
def test_an_option_without_its_value_is_named(option: str, tides: Path, capsys: Capture) -> None:
    told = refused(["train", "forecast", tides, option], capsys)
    assert told == f"carousel: carousel train forecast: {option} expects a value; see carousel train forecast --help\n"


def test_train_finds_the_job_by_the_file(tides: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "tide.csv: no such file" in refused(["train", "tide.csv", "--target", "Level"], capsys)
    assert "did you mean the job 'forecast'?" in refused(["train", "forcast", tides, "--target", "Level"][:2], capsys)
    assert "--out is missing" in refused(["train", "forecast", tides, "--target", "Level"], capsys)
    assert "FILE is missing" in refused(["train", "--config", _written(tmp_path / "a.toml", "hidden = 3")], capsys)


def _written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.mark.parametrize("job", ["forecast", "classify", "tag", "language"])
def test_the_learning_rate_has_both_names(job, tmp_path, capsys):
    target = ["--target", "Sunspots"] if job == "forecast" else []
    for name in ("--rate", "--learning-rate"):
        assert main(["train", job, str(example("sunspots")), *target, name, "0.125", "--print-config"]) == 0
        assert "\nrate = 0.125\n" in capsys.readouterr().out
    assert main(["train", job, str(example("sunspots")), *target, "--rate", "0.1", "--learning-rate", "0.2", "--print-config"]) == 2
