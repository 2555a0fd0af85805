"""The reports of classify and tag: the numbers that they show, on small finished runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import tomli_w

from carousel.jobs import classify, tag
from carousel.report.html import write_run_report
from pages import check_alone

ROWS = [
    {"method": "always up", "accuracy": 60.0, "macro-F1": 37.5},
    {"method": "window-5", "accuracy": 70.0, "macro-F1": 69.0},
    {"method": "gru", "accuracy": 80.0, "macro-F1": 79.2},
]
MISTAKE = {"name": "line 7 <b>", "truth": "up", "predicted": "down & out", "probability": 0.9876}


def finished(run: Path, settings: classify.Settings | tag.Settings, result: classify.Result | tag.Result) -> Path:
    run.mkdir()
    (run / "config.toml").write_text(tomli_w.dumps({"settings": settings.table()}))
    (run / "result.json").write_text(json.dumps(asdict(result)))
    lines = [
        {"step": n, "sequences": 32 * n, "seconds": 0.1, "split": split, "name": name, "value": value + n}
        for n in range(3)
        for split, name, value in [("train", "loss", 0.9), ("validation", "loss", 1.0), ("validation", "accuracy", 50.0)]
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@pytest.mark.parametrize("job", [classify, tag])
def test_a_report_has_the_scores_the_confusion_and_the_mistakes(job, tmp_path: Path) -> None:
    settings = job.Settings(tmp_path / "waves.jsonl")
    more = {"text": "a fine film"} if job is classify else {"step": 3, "word": "fine"}
    result = job.Result(
        rows=ROWS,
        labels=["down & out", "up"],
        confusion=[[3, 1], [1, 5]],
        mistakes=[{**MISTAKE, **more}],
        example={
            "name": "line 9",
            "kind": "words",
            "steps": ["a", "fine", "film"],
            "series": None,
            "gates": {"0.r": [[0.1, 0.9], [0.5, 0.5], [0.2, 0.3]], "0.z": [[0.4, 0.9], [0.5, 0.1], [0.2, 0.3]]},
        },
        counts={"training": 4321, "validation": 50, "test": 10},
        seconds=4.2,
        sequences=640,
        stopped="patience",
        command=settings.command("runs/a"),
    )
    page = check_alone(write_run_report(finished(tmp_path / "run", settings, result)))
    what = "sequences" if job is classify else "steps"
    assert "waves.jsonl, 2 labels" in page.text
    assert "gru classifies 8 of 10 correctly, 80.0 %; the best baseline, window-5, 70.0 %." in page.text
    assert f"Percentages of its 10 {what}; higher is better." in page.text
    assert "4,321 sequences are the training part, 50 the validation part" in page.text
    assert "and 10 the test part." in page.text
    assert "Most often confused: “down & out” was predicted as “up” in 1 of 4." in page.text
    for word in ("line 7 <b>", "0.988", *map(str, more.values())):
        assert word in page.text
    assert "accuracy on validation" in page.text
    assert "In a sequence of the held-out part, line 9: its last 3 steps." in page.text
    assert "reset gate" in page.text
    assert "down & out" in page.text


def test_a_report_without_mistakes_says_so(tmp_path: Path) -> None:
    settings = classify.Settings(tmp_path / "waves.ts")
    result = classify.Result(
        rows=ROWS,
        labels=["down", "up"],
        confusion=[[4, 0], [0, 6]],
        mistakes=[],
        example=None,
        counts={"training": 4, "validation": 5, "test": 10},
        seconds=4.2,
        sequences=640,
        stopped="budget",
        command=settings.command("runs/a"),
    )
    page = check_alone(write_run_report(finished(tmp_path / "run", settings, result)))
    assert "No label was taken for another." in page.text
    assert "What the gates did" not in page.text
    assert "None: every one of the sequences was classified correctly." in page.text
