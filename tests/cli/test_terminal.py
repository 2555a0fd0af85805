"""Labels, names and texts from files that a terminal would obey: tables, messages, answers and what is written."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from carousel.cli import main

Capture = pytest.CaptureFixture[str]
SHORT = ["--sequences", "32", "--evaluate-every", "32", "--hidden", "4", "--batch-size", "8"]
BAD = ("\x1b[31mred", "\x9b2J\u202egreen\x07")


def train(file: Path, content: str, run: Path, *more: str) -> None:
    file.write_text(content)
    assert main(["train", str(file), *SHORT, *more, "--out", str(run)]) == 0


def obeyed(text: str) -> list[str]:
    return [letter for letter in text if letter in "\x1b\x9b\u202e\x07\r"]


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")


@pytest.mark.parametrize("job", ["classify", "tag"])
def test_labels_and_names(job: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    labels = [BAD[n % 3 == 0] for n in range(30)]
    records = [{"words": [label, "b"], "label": label if job == "classify" else [label, "c"]} for label in labels]
    file, run = tmp_path / "a.jsonl", tmp_path / "run"
    train(file, "".join(json.dumps(record) + "\n" for record in records), run, "--baseline", "none")
    assert main(["evaluate", str(run)]) == 0
    assert main(["compare", str(run), str(run)]) in (0, 2)
    assert main(["predict", str(run), str(file)]) == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"b\n")))
    assert main(["stream", str(run)]) == 0
    (tmp_path / "new.jsonl").write_text(json.dumps({"words": ["a"], "label": "\x1bnew" if job == "classify" else ["\x1bnew"]}))
    assert main(["evaluate", str(run), str(tmp_path / "new.jsonl")]) == 2
    told = capsys.readouterr()
    assert obeyed(told.out + told.err) == []
    assert "always \\u001b[31mred" in told.out or "always c" in told.out
    assert "the label '\\x1bnew' is not in the training part (\\u001b[31mred, " in told.err
    answers = [json.loads(line) for line in told.out.splitlines() if line.startswith('{"name"')]
    assert len(answers) == 30
    assert {label for one in answers for label in one.get("labels", [one.get("label")])} <= {*BAD, "c"}


def test_what_a_language_model_writes(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    train(tmp_path / "a.txt", "\x1b[2J\x1b[31m\x9b\r\n" * 60, tmp_path / "run", "--length", "8")
    assert main(["generate", str(tmp_path / "run"), "--length", "200", "--temperature", "2"]) == 0
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "a.txt")]) == 0
    told = capsys.readouterr()
    assert obeyed((told.out + told.err).replace("\r\n", "\n")) == []
    assert "\\u001b" in told.out


def test_a_pipe_gets_what_is_written_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    train(tmp_path / "a.txt", "\x1b[2J\x1b[31m\n" * 60, tmp_path / "run", "--length", "8")
    capsys.readouterr()
    assert main(["generate", str(tmp_path / "run"), "--length", "200", "--temperature", "2"]) == 0
    assert "\x1b" in capsys.readouterr().out


def test_labels_in_letters_that_the_font_of_the_pictures_lacks(tmp_path: Path, capsys: Capture) -> None:
    lines = (json.dumps({"words": ["貓", "$x^2"], "label": ["貓", "\\frac$a$"][n % 3 == 0]}) + "\n" for n in range(30))
    train(tmp_path / "a.jsonl", "".join(lines), tmp_path / "run", "--baseline", "none")
    assert "always 貓" in capsys.readouterr().out
    page = (tmp_path / "run" / "report.html").read_text()
    assert "貓</text>" in page
    assert "\\frac$a$</text>" in page


def test_a_file_name_in_a_message(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "a\x1b[31m.jsonl"
    file.write_text("{\n")
    assert main(["train", str(file), "--out", str(tmp_path / "run")]) == 2
    assert main(["train", str(tmp_path / "b\x9b.csv"), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert obeyed(told) == []
    assert "a\\u001b[31m.jsonl: line 1: not JSON" in told
    assert "b\\u009b.csv" in told
