"""What the report of a tagging shows besides the frame that every report has."""

from __future__ import annotations

from pathlib import Path

from carousel.jobs.tag import Result, Settings
from carousel.report.content import Content
from carousel.report.labelled import labelled_content, mistakes_table


def content(run: Path, settings: Settings, result: Result) -> Content:
    """The confusion matrix and the steps that were misclassified with the most confidence."""
    title = f"{settings.file.name}, {len(result.labels)} labels"
    worst = mistakes_table(result.mistakes, ["name", "step", *(["word"] if any("word" in one for one in result.mistakes) else [])])
    return labelled_content(title, settings.model, result, worst)
