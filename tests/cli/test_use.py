"""evaluate, predict, stream and generate through the command line, for a run of each job."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from carousel.cli import main

Capture = pytest.CaptureFixture[str]
SHORT = ["--sequences", "64", "--evaluate-every", "32", "--hidden", "6"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small file for each job."""
    folder = tmp_path_factory.mktemp("files")
    tide = "".join(f"{hour},{3 + math.sin(hour / 2):.3f}\n" for hour in range(200))
    films = "".join(json.dumps({"text": f"a {word} film", "label": word}) + "\n" for word in ("good", "bad") * 20)
    tags = "".join(json.dumps({"words": ["a", word], "label": ["DET", "NOUN"]}) + "\n" for word in ("cat", "dog") * 20)
    contents = {
        "forecast": ("tide.csv", "Hour,Level\n" + tide),
        "classify": ("films.jsonl", films),
        "tag": ("tags.jsonl", tags),
        "language": ("rhyme.txt", "the cat sat on the mat.\n" * 60),
    }
    for name, content in contents.values():
        (folder / name).write_text(content)
    return {job: folder / name for job, (name, _) in contents.items()}


@pytest.fixture(scope="module")
def runs(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each job."""
    folder = tmp_path_factory.mktemp("runs")
    more = {"forecast": ["--target", "Level", "--time", "Hour", "--horizon", "3", "--history", "6"], "language": ["--length", "20"]}
    for job, file in files.items():
        assert main(["train", str(file), *more.get(job, []), *SHORT, "--out", str(folder / job)]) == 0
    return {job: folder / job for job in files}


def printed(words: list[object], capsys: Capture) -> str:
    assert main(list(map(str, words))) == 0
    return capsys.readouterr().out


def refused(words: list[object], capsys: Capture) -> str:
    """The one line that a command was refused with."""
    assert main(list(map(str, words))) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize("job", ["forecast", "classify", "tag", "language"])
def test_evaluate_prints_the_table_of_the_run_and_of_another_file(
    job: str, runs: dict[str, Path], files: dict[str, Path], capsys: Capture
) -> None:
    reported = printed(["report", runs[job]], capsys).partition("\n\n")[0].splitlines()[-1].split()
    for words in (["evaluate", runs[job]], ["evaluate", runs[job], files[job]]):
        lines = printed(words, capsys).strip().splitlines()
        assert lines[0].split()[0] == "method"
        assert lines[-1].split()[0] == reported[0]
        if len(words) == 2:
            assert float(lines[-1].split()[1]) == pytest.approx(float(reported[1]), rel=1e-2)


def test_predict_answers_a_table_by_a_table(runs: dict[str, Path], files: dict[str, Path], tmp_path: Path, capsys: Capture) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(["predict", runs["forecast"], files["forecast"]], capsys))))
    assert [(row["Hour"], row["ahead"]) for row in rows] == [("200", "1"), ("201", "2"), ("202", "3")]
    assert all(1 < float(row["Level"]) < 5 for row in rows)
    out = tmp_path / "ahead.jsonl"
    assert printed(["predict", runs["forecast"], files["forecast"], "--out", out], capsys) == ""
    assert [json.loads(line)["ahead"] for line in out.read_text().splitlines()] == [1, 2, 3]
    assert "already exists" in refused(["predict", runs["forecast"], files["forecast"], "--out", out], capsys)


@pytest.mark.parametrize(("job", "records"), [("classify", 40), ("tag", 40), ("language", 60)])
def test_predict_answers_by_json_lines(
    job: str, records: int, runs: dict[str, Path], files: dict[str, Path], capsys: Capture
) -> None:
    lines = printed(["predict", runs[job], files[job]], capsys).splitlines()
    assert len([json.loads(line) for line in lines]) == records


def piped(words: list[object], given: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "carousel", *map(str, words)]
    return subprocess.run(command, input=given, capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("job", "given", "first"),
    [
        ("forecast", b"Hour,Level\n200,3.1\n201,3.2", b"Hour,+1,+2,+3"),
        ("language", b"the cat\nsat", b'{"bits": '),
    ],
)
def test_stream_answers_line_by_line_also_the_last_without_an_end(
    job: str, given: bytes, first: bytes, runs: dict[str, Path]
) -> None:
    done = piped(["stream", runs[job]], given)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == len(given.splitlines())
    assert done.stdout.startswith(first)


def test_stream_answers_before_the_next_line_comes(runs: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "carousel", "stream", str(runs["language"])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"the cat\n", b"sat on\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert b"next" in process.stdout.readline()
        process.stdout.close()  # the reader has gone
        process.stdin.write(b"the mat\n" * 3)
        _, told = process.communicate(timeout=60)
    assert b"Traceback" not in told


@pytest.mark.parametrize(
    ("job", "given", "told"),
    [
        ("forecast", b"200,3.1\n201,high\n", b"line 2: "),
        ("forecast", b"200,3.1\n201", b"line 2: "),
        ("language", b"the\n\xff\n", b"line 2: byte 1 is not UTF-8"),
    ],
)
def test_stream_refuses_a_bad_line_by_its_number(job: str, given: bytes, told: bytes, runs: dict[str, Path]) -> None:
    done = piped(["stream", runs[job]], given)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert len(done.stdout.splitlines()) == 1


@pytest.fixture(scope="module", params=["character", "byte"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a text with the line ends of Windows."""
    folder = tmp_path_factory.mktemp("windows")
    (folder / "t.txt").write_bytes("\ufeffthe cat sat on the mat, and the café ran.\r\n".encode() * 40)
    words = ["train", folder / "t.txt", "--unit", request.param, "--length", "16", *SHORT, "--out", folder / "run"]
    assert main(list(map(str, words))) == 0
    return folder / "run"


@pytest.mark.parametrize(
    "given",
    [
        b"the cat sat\r\nthe rat\r\n",
        b"the cat sat\nthe rat\n",
        b"the cat sat\r\nthe rat",
        b"the cat\rsat\n\r\n\n on the\r\r\nmat\r",
        b"\xef\xbb\xbfthe cat\r\n\xef\xbb\xbfthe mat\r\n",
        b"caf\xc3\xa9\x0c\xc2\x85\xe2\x80\xa8the\r\ncat\r\n",
        b"\r\n\nthe\r\n",
        b"\nthe\r\n",
    ],
)
def test_stream_has_the_bits_of_predict_whatever_ends_the_lines(
    given: bytes, reader: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "q.txt").write_bytes(given)
    whole = [json.loads(line)["bits"] for line in printed(["predict", reader, tmp_path / "q.txt"], capsys).splitlines()]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    told = [json.loads(line)["bits"] for line in printed(["stream", reader], capsys).splitlines()]
    assert len(told) == given.count(b"\n") + (not given.endswith(b"\n"))
    assert told == pytest.approx(whole, abs=2e-4)


@pytest.mark.parametrize(
    ("job", "given"), [("forecast", "Hour,Level\n200,3.1\n"), ("classify", "a good\nfilm\n\na\n"), ("tag", "a\ncat\n\na\n")]
)
def test_other_streams_do_not_look_at_how_lines_end(
    job: str, given: str, runs: dict[str, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for content in (given, "\ufeff" + given.replace("\n", "\r\n")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        answers.append(printed(["stream", runs[job]], capsys))
    assert answers[0] == answers[1]
    assert answers[0].count("\n") == given.count("\n")


def test_a_network_of_bytes_reads_bytes_that_are_not_utf_8(
    reader: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = b"the caf\xe9 ran\r\n\xff\r\n"
    (tmp_path / "q.txt").write_bytes(given)
    by_byte = 'unit = "byte"' in (reader / "config.toml").read_text()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    if by_byte:
        whole = [json.loads(line)["bits"] for line in printed(["predict", reader, tmp_path / "q.txt"], capsys).splitlines()]
        told = [json.loads(line)["bits"] for line in printed(["stream", reader], capsys).splitlines()]
        assert told == pytest.approx(whole, abs=2e-4)
    else:
        assert "line 1: byte 8 is not UTF-8" in refused(["stream", reader], capsys)


def test_generate_writes_after_its_prompt_the_same_for_a_seed(runs: dict[str, Path], capsys: Capture) -> None:
    asked: list[object] = ["generate", runs["language"], "--prompt", "the", "--length", "20", "--temperature", "0.5"]
    text = printed(asked, capsys)
    assert text.startswith("the")
    assert len(text) == 3 + 20 + 1
    assert printed(asked, capsys) == text
    assert "a run of tag; only a language model writes" in refused(["generate", runs["tag"]], capsys)


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: Capture) -> None:
    for words in (["evaluate", tmp_path], ["predict", tmp_path, tmp_path], ["stream", tmp_path], ["generate", tmp_path]):
        assert "not a run folder" in refused(words, capsys)
