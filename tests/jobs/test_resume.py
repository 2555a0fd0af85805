"""What happens to a run folder between two processes: other data, damage, two at once, a kill, a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import carousel.train
from carousel import jobs
from carousel.cli import main
from carousel.errors import InputError
from carousel.jobs.run import Run

SAVED = Path(__file__).parent / "saved"
FILES = {"forecast": "tide.csv", "classify": "films.jsonl", "tag": "tags.jsonl", "language": "rhyme.txt"}
OPTIONS = {
    "forecast": ["--target", "Level", "--time", "Hour", "--horizon", "2", "--history", "4", "--baseline", "none"],
    "classify": ["--embedding", "2", "--baseline", "none"],
    "tag": ["--embedding", "2", "--baseline", "none"],
    "language": ["--embedding", "2", "--length", "10"],
}
TINY = ["--hidden", "2", "--sequences", "24", "--evaluate-every", "8", "--batch-size", "4"]
Capture = pytest.CaptureFixture[str]


def words(job: str, folder: Path) -> list[str]:
    """The command that trains a tiny network of the job, on a file in the folder."""
    shutil.copyfile(SAVED / FILES[job], folder / FILES[job])
    return ["train", job, str(folder / FILES[job]), *OPTIONS[job], *TINY, "--out", str(folder / "run")]


def interrupted(job: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped after its first evaluation."""
    real = carousel.train._Training._update

    def stop(self: carousel.train._Training, batch: carousel.Batch) -> None:
        if self.at.step == 3:
            raise KeyboardInterrupt
        real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(carousel.train._Training, "_update", stop)
        assert main(words(job, folder)) == 130
    return folder / "run"


def refused(command: list[object], capsys: Capture) -> str:
    """The one line of a refusal; nothing is written."""
    capsys.readouterr()
    folder = Path(str(command[1]))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(list(map(str, command))) == 2
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("job", list(FILES))
def test_resume_refuses_data_that_changed(job: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    run, file = interrupted(job, tmp_path, monkeypatch), tmp_path / FILES[job]
    whole = file.read_bytes()
    file.write_bytes(whole + whole.splitlines(keepends=True)[-1])
    assert f"{FILES[job]}: changed since the run began; restore it" in refused(["resume", run], capsys)
    module = jobs.load(job)
    with pytest.raises(InputError, match=r"changed since the run began|stands in the row above already"):  # also from Python
        module.train(Run(run).settings(module.Settings), run, resume=True, progress=False)
    file.write_bytes(whole)
    assert main(["resume", str(run)]) == 0


def test_resume_reads_the_same_data_in_another_place(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    run, config = interrupted("classify", tmp_path, monkeypatch), tmp_path / "run" / "config.toml"
    (tmp_path / "films.jsonl").rename(tmp_path / "new.jsonl")
    assert "films.jsonl" in refused(["resume", run], capsys)
    config.write_text(
        config.read_text().replace('file = "' + str(tmp_path / "films.jsonl"), 'file = "' + str(tmp_path / "new.jsonl"))
    )
    assert main(["resume", str(run)]) == 0


@pytest.mark.parametrize("job", ["classify", "tag"])
def test_evaluate_refuses_data_that_changed(job: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(words(job, tmp_path)) == 0
    file = tmp_path / FILES[job]
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    assert "changed since the run began; restore it, or evaluate another file" in refused(["evaluate", tmp_path / "run"], capsys)
    assert main(["evaluate", str(tmp_path / "run"), str(file)]) == 0


def test_the_labels_of_images_and_recordings_in_a_folder_count_too(tmp_path: Path) -> None:
    settings = jobs.load("classify").Settings
    for name in ("a-images-idx3-ubyte", "a-labels-idx1-ubyte"):
        (tmp_path / name).touch()
    assert settings(tmp_path / "a-images-idx3-ubyte").files() == [
        tmp_path / "a-images-idx3-ubyte",
        tmp_path / "a-labels-idx1-ubyte",
    ]
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    (sounds / "a.wav").write_bytes(b"1")
    before = carousel.files.digest(sounds)
    (sounds / "a.wav").rename(sounds / "b.wav")
    renamed = carousel.files.digest(sounds)
    (sounds / "b.wav").write_bytes(b"2")
    assert len({before, renamed, carousel.files.digest(sounds)}) == 3


@pytest.mark.parametrize("name", ["last/checkpoint.safetensors", "best/weights.safetensors"])
def test_zeroed_bytes_of_weights_are_refused(name: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    path = interrupted("tag", tmp_path, monkeypatch) / name
    whole = path.read_bytes()
    for start in range(len(whole) - 64, len(whole) // 2, -len(whole) // 20):
        path.write_bytes(whole[:start] + bytes(32) + whole[start + 32 :])
        if path.read_bytes() != whole:
            assert "checkpoint" in (line := refused(["resume", path.parents[1]], capsys)) or "weights" in line
    path.write_bytes(whole)
    assert main(["resume", str(path.parents[1])]) == 0


@pytest.mark.parametrize("change", [("seed = 0", "seed = 1"), ("test_share = 0.2", "test_share = 0.3"), ("key", "[[[" * 999)])
def test_edited_settings_are_refused(
    change: tuple[str, str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted("tag", tmp_path, monkeypatch)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace(*change) if change[0] in text else f"key = {change[1]}\n{text}")
    assert "config.toml" in refused(["resume", run], capsys)


def test_damaged_metrics_are_refused_and_a_line_cut_off_is_made_again(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted("tag", tmp_path, monkeypatch)
    path = run / "metrics.jsonl"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-5], b"\xff" + whole, b"[]\n" + whole, whole.replace(b"loss", b"lost", 1), b"[" * 99999):
        path.write_bytes(damaged)
        assert "metrics.jsonl: damaged" in refused(["resume", run], capsys)
    path.write_bytes(whole + b'{"step": 9, "sequ')
    assert main(["resume", str(run)]) == 0
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == sorted(steps)


def test_two_at_once_are_refused_and_a_killed_one_does_not_block(tmp_path: Path, capsys: Capture) -> None:
    command = words("tag", tmp_path)
    command[command.index("24")] = "100000000"
    command += ["--patience", "100000000"]
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-m", "carousel", *command], stderr=subprocess.DEVNULL) as process:
        began = time.monotonic()
        while not (run / "best").exists():
            assert process.poll() is None
            assert time.monotonic() - began < 120
            time.sleep(0.05)
        assert main(["resume", str(run)]) == 2
        assert "another process is training in this folder" in capsys.readouterr().err
        process.send_signal(signal.SIGKILL)
    (run / "last" / f".checkpoint.safetensors.{process.pid}").write_bytes(b"half")
    (run / f".result.json.{process.pid}").write_bytes(b"half")
    (run / f".mine.{os.getpid()}").touch()  # this process is alive
    text = (run / "config.toml").read_text().replace("patience = 100000000", "patience = 1")
    (run / "config.toml").write_text(text)
    assert main(["resume", str(run)]) == 2
    assert "config.toml: damaged" in capsys.readouterr().err  # which is found after the folder was swept
    assert [path.name for path in run.rglob(".*")] == [f".mine.{os.getpid()}"]


def test_a_killed_start_leaves_nothing_for_the_next(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".run.{dead.pid}"
    left.mkdir()
    (left / "metrics.jsonl").write_text("{}\n")
    (tmp_path / f".other.{dead.pid}").mkdir()
    assert main(words("tag", tmp_path)) == 0
    assert not left.exists()
    assert (tmp_path / f".other.{dead.pid}").exists()


def test_a_full_disk_names_the_file_and_how_to_go_on(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(words("tag", tmp_path)) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    run = tmp_path / "run"
    assert line.startswith(f"carousel: {run}/")
    assert line.endswith(f"No space left on device; the last checkpoint is intact: continue with: carousel resume {run}")
    assert main(["resume", str(run)]) == 0
