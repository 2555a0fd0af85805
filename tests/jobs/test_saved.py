"""Runs that an earlier version saved: they load, report, evaluate, predict and resume as they did.

`saved/` holds a data file for each job, a finished run, an interrupted one, and what the version that made
them evaluated and predicted.
"""

import json
import shutil
from pathlib import Path

import pytest

from carousel import jobs
from carousel.cli import main
from carousel.jobs.run import Run
from carousel.report.html import write_run_report

SAVED = Path(__file__).parent / "saved"
FILES = {"forecast": "tide.csv", "classify": "films.jsonl", "tag": "tags.jsonl", "language": "rhyme.txt"}
everywhere = pytest.mark.parametrize("job", list(FILES))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The saved files in a folder that their settings name."""
    for path in SAVED.rglob("*"):
        new = tmp_path / path.relative_to(SAVED)
        if path.is_dir():
            new.mkdir()
        elif path.suffix in (".toml", ".json"):
            new.write_text(path.read_text().replace("/home/ann", str(tmp_path)))
        else:
            shutil.copyfile(path, new)
    return tmp_path


def near(found: list[dict], expected: list[dict]) -> None:
    """The same records; numbers may differ in their last digits, by another processor."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            assert one[name] == (pytest.approx(value, rel=1e-4, abs=1e-4) if isinstance(value, float) else value)


@everywhere
def test_it_evaluates_and_predicts_as_it_did(job: str, home: Path) -> None:
    expected = json.loads((home / f"{job}.json").read_text())
    run = Run(home / job)
    module = jobs.of_run(run)
    assert module is jobs.load(job)
    near(module.evaluate(run), expected["evaluate"])
    near(module.evaluate(home / job, home / FILES[job]), expected["evaluate_file"])
    near(list(module.predict(run, home / FILES[job])), expected["predict"])


@everywhere
def test_its_report_is_written(job: str, home: Path) -> None:
    _, result = jobs.load(job).load(home / job)
    page = write_run_report(home / job).read_text()
    assert f"{result.rows[-1]['method']}" in page
    if job in ("classify", "tag"):
        saved = json.loads((home / job / "result.json").read_text())
        assert saved["mistakes"]
        assert [one["predicted"] for one in result.mistakes] == [one["told"] for one in saved["mistakes"]]
        assert all("told" not in one for one in result.mistakes)


@everywhere
def test_it_resumes_to_the_result_that_it_had(job: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, expected = jobs.load(job).load(home / job)
    for name in (f"{job}-interrupted", job):
        assert main(["resume", str(home / name)]) == 0
        _, found = jobs.load(job).load(home / name)
        near(found.rows, expected.rows)
        assert found.sequences == expected.sequences == 32
        if job in ("classify", "tag"):
            assert found.mistakes == expected.mistakes
            assert '"told"' not in (home / name / "result.json").read_text()


def test_each_file_of_a_run_is_read_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Path.open

    def noted(path: Path, *args: object, **options: object) -> object:
        read.append(path.name)
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", noted)  # which read_text and read_bytes call
    for job in ("classify", "forecast"):
        read.clear()
        run = Run(home / job)
        module = jobs.of_run(run)
        module.load(run)
        module.evaluate(run)
        list(module.predict(run, home / FILES[job]))
        assert sorted(name for name in read if name in ("config.toml", "prepared.json", "result.json")) == [
            "config.toml",
            "prepared.json",
            "result.json",
        ]
