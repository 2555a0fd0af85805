"""The report of a language model: passages by their bits, what the network writes, the gates."""

from __future__ import annotations

from pathlib import Path

import pytest

from carousel.jobs.language import Settings, train
from carousel.report.html import write_run_report
from pages import check_alone


@pytest.mark.parametrize("model", ["gru", "window-2"])
def test_a_report_shows_passages_and_a_sample(model: str, tmp_path: Path) -> None:
    file = tmp_path / "rhyme.txt"
    file.write_text("the <b>cat</b> sat & ran.\n" * 80)
    settings = Settings(file, model=model, hidden=8, embedding=4, length=20, sequences=64, evaluate_every=32)
    result = train(settings, tmp_path / "run", progress=False)
    path = write_run_report(tmp_path / "run")
    check_alone(path)
    page = path.read_text()
    assert page.count(' bits">') == 2 * min(300, result.counts["test"])
    assert "&lt;" in page
    assert "<b>cat" not in page
    assert ("What the gates did" in page) == (model == "gru")
    assert f"{result.rows[-1]['bits/character']:.3f}" in page
