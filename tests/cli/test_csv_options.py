"""A table as another tool wrote it, through the command line: trained on, predicted and streamed."""

from __future__ import annotations

import csv
import io
import math
import shlex
import tomllib
from datetime import date, timedelta
from pathlib import Path

import pytest

from carousel.cli import main
from carousel.jobs.forecast import Settings

Capture = pytest.CaptureFixture[str]
SHORT = ["--horizon", "3", "--history", "6", "--hidden", "2", "--sequences", "8", "--batch-size", "8", "--evaluate-every", "8"]


def cells(n: int) -> list[str]:
    """Row n as a spreadsheet of a country with decimal commas saves it: a gap is a dash or a point."""
    value = "-" if n == 7 else "." if n == 9 else f"{3 + math.sin(n / 2):.2f}".replace(".", ",")
    return [f"{date(2024, 1, 1) + timedelta(days=n):%d.%m.%Y}", value, f"{n % 2 + 1:03}"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("csv")
    file = folder / "table.csv"
    file.write_text("".join(";".join(cells(n)) + "\n" for n in range(90)))
    options = ["--no-header", "--target", "2", "--covariates", "3", "--missing", "-", ".", "--baseline", "none"]
    assert main(["train", str(file), *options, *SHORT, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_the_words_are_kept(run: Path) -> None:
    settings = tomllib.loads((run / "config.toml").read_text())["settings"]
    assert (settings["missing"], settings["no_header"]) == (["-", "."], True)


def test_the_command_repeats_what_begins_with_a_dash(capsys: Capture) -> None:
    settings = Settings(Path("a.csv"), target="-x", time=("-day", "hour"), missing=("-", "--", "---n/a", "."), decimal=",")
    words = shlex.split(settings.command("run"))[1:]
    assert main([*words, "--print-config"]) == 0
    told = tomllib.loads(capsys.readouterr().out)
    assert (told["target"], told["time"], told["missing"], told["decimal"]) == (
        "-x",
        ["-day", "hour"],
        ["-", "--", "---n/a", "."],
        ",",
    )


def test_it_is_predicted_and_streamed_alike(run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [";".join(cells(n)) + "\n" for n in range(60, 80)]
    (tmp_path / "more.csv").write_text("".join(lines))
    capsys.readouterr()
    assert main(["predict", str(run), str(tmp_path / "more.csv")]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["1"] for row in rows] == [cells(n)[0] for n in (80, 81, 82)]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(lines).encode())))
    assert main(["stream", str(run)]) == 0
    when, *values = capsys.readouterr().out.splitlines()[-1].split(",")
    assert when == cells(79)[0]
    assert list(map(float, values)) == pytest.approx([float(row["2"]) for row in rows], rel=1e-4)


@pytest.mark.parametrize(
    ("first", "words", "message"),
    [
        (
            "",
            ["--target", "2"],
            "row 1 looks like values ('01.01.2024', '3,00', '001'), not like names of columns; say which: --no-header",
        ),
        ("a;b;c\n", ["--target", "b"], "row 9, column 'b': expected a number, got '-'; --missing - takes it for a gap"),
        (
            "a;b;c\n",
            ["--target", "b", "--missing", "-"],
            "row 11, column 'b': expected a number, got '.'; --missing . takes it for a gap",
        ),
        (
            "a;b;c\n",
            ["--target", "b", "--missing=-", "--missing=.", "--categories", "c"],
            "the category 'c' is none of the covariates",
        ),
        ("a;b;c\n", ["--target", "b", "--header", "--no-header"], "expected either --header or --no-header, got both"),
        ("a;b;c\n", ["--target", "b", "--delimiter", ","], "row 2 has 2 cells, the row of names 1"),
        ("a;b;c\n", ["--target", "b", "--missing", "-", ".", "--decimal", "."], "row 2, column 'b': expected a number, got '3,00'"),
        ("a;b;c\n", ["-", "--target", "b"], "Unused Tokens: ['-']"),
    ],
)
def test_what_is_not_said_is_asked(first: str, words: list[str], message: str, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "table.csv"
    file.write_text(first + "".join(";".join(cells(n)) + "\n" for n in range(90)))
    assert main(["train", "forecast", str(file), *words, *SHORT, "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()


ODD = ("=1+2", "-x", "@a", "-7", "\x1b[31mred")


def test_ids_that_a_spreadsheet_or_a_terminal_would_obey(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file, run, out = tmp_path / "shops.csv", tmp_path / "run", tmp_path / "coming.csv"
    rows = [(date(2024, 1, 1) + timedelta(days=n), id, f"{-50 + math.sin(n / 2):.2f}") for n in range(90) for id in ODD]
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("day", "+shop", "=sales"), *rows, ("2024-01-01", "\x1bshort", "1")])
    options = ["--target", "=sales", "--id", "+shop", "--skip", "--baseline", "none"]
    assert main(["train", str(file), *options, *SHORT, "--out", str(run)]) == 0
    assert main(["predict", str(run), str(file), "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "\x1b" not in told.err + told.out
    assert "\\u001bshort" in told.err or "\\x1bshort" in told.err
    with out.open(newline="") as opened:
        names, *cells = csv.reader(opened)
    assert names == ["'+shop", "day", "ahead", "'=sales"]
    assert list(dict.fromkeys(row[0] for row in cells)) == ["'=1+2", "'-x", "'@a", "-7", "\x1b[31mred"]
    assert all(float(row[3]) < 0 for row in cells)
    lines = ["day,+shop,=sales", "2024-01-01,=1+2,-50", "2024-01-01,'-x,-50"]  # as they were, or as predict writes them
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    assert main(["stream", str(run)]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["'+shop", "'=1+2", "'-x"]
    again = tmp_path / "again.csv"  # what predict wrote is read with the ids as they were
    again.write_text("".join(",".join(row[:2] + row[3:]) + "\n" for row in [names, *cells]))
    assert main(["predict", str(run), str(again)]) == 0
    predicted = csv.reader(io.StringIO(capsys.readouterr().out))
    assert list(dict.fromkeys(row[0] for row in predicted))[1:] == ["'=1+2", "'-x", "'@a", "-7", "\x1b[31mred"]
