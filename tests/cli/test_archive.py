"""compress and decompress through the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from carousel.cli import main
from carousel.compressor import decompress

Capture = pytest.CaptureFixture[str]
TEXT = b"the rain in Spain stays mainly in the plain.\n" * 20


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "rain.txt"
    path.write_bytes(TEXT)
    return path


def test_a_file_there_and_back(text: Path, tmp_path: Path, capsys: Capture) -> None:
    archive, back = tmp_path / "rain.car", tmp_path / "back.txt"
    assert main(["compress", str(text), "--out", str(archive), "--hidden", "8"]) == 0
    assert f"{len(TEXT)} bytes to {archive.stat().st_size}" in capsys.readouterr().err
    assert archive.stat().st_size < len(TEXT) / 4
    assert main(["decompress", str(archive), "--out", str(back)]) == 0
    assert back.read_bytes() == TEXT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.txt", "rain.car", "rain.txt"]


def test_through_pipes(text: Path) -> None:
    carousel = [sys.executable, "-m", "carousel"]
    with text.open("rb") as source:
        packed = subprocess.run([*carousel, "compress", "--model", "counts"], stdin=source, capture_output=True, check=True)
    assert decompress(packed.stdout) == TEXT
    back = subprocess.run([*carousel, "decompress", "-"], input=packed.stdout, capture_output=True, check=True)
    assert back.stdout == TEXT


def refused(words: list[str], capsys: Capture) -> str:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_refusals_leave_no_output(text: Path, tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "out")
    assert "not an archive" in refused(["decompress", str(text), "--out", out], capsys)
    assert "nowhere" in refused(["compress", str(tmp_path / "nowhere"), "--out", out], capsys)
    assert "hidden in 1..1024" in refused(["compress", str(text), "--out", out, "--hidden", "0"], capsys)
    assert main(["compress", str(text), "--out", out, "--model", "counts"]) == 0
    capsys.readouterr()
    assert "already exists" in refused(["compress", str(text), "--out", out], capsys)
    archive = Path(out).read_bytes()
    (tmp_path / "short").write_bytes(archive[:-9])
    back = tmp_path / "back"
    assert "truncated" in refused(["decompress", str(tmp_path / "short"), "--out", str(back)], capsys)
    assert not back.exists()
    assert Path(out).read_bytes() == archive
    assert not list(tmp_path.glob(".*"))


def test_a_killed_process_leaves_the_target_absent(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "carousel", "compress", "--out", str(out), "--hidden", "8"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(TEXT)
    process.stdin.flush()
    while not list(tmp_path.glob(".out.*")):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    assert not out.exists()
    (tmp_path / "in").write_bytes(TEXT)
    assert main(["compress", str(tmp_path / "in"), "--out", str(out), "--model", "counts"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
