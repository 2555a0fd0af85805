"""Content: what a job gives to the frame of its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Content:
    """The job's own part of a report.

    Attributes:
        title:      what was learned, in a few words.
        finding:    the result in one sentence.
        monitor:    (name, unit) of the validation figure that the weights were chosen by, as in metrics.jsonl.
        loss_unit:  the unit of the training loss.
        values:     what the template of the job, ``templates/<job>.html.j2``, shows besides.
        shown:      (name, unit) of another validation figure to draw beside the loss; None for the monitor.
    """

    title: str
    finding: str
    monitor: tuple[str, str]
    loss_unit: str
    values: dict[str, Any]
    shown: tuple[str, str] | None = None
