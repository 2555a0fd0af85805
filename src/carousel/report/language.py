"""What the report of a language model shows besides the frame that every report has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import style

from carousel.jobs.language import Result, Settings
from carousel.report import plots
from carousel.report.content import Content
from carousel.report.results import number

_DARKEST = 8.0  # bits of a symbol from which on the colour is full


def content(run: Path, settings: Settings, result: Result) -> Content:
    """Passages coloured by the bits that their symbols took, and what the network writes."""
    measure = f"bits/{settings.unit}"
    bits = {row["method"]: row[measure] for row in result.rows}
    own = bits.pop(settings.model)
    rival = min(bits, key=lambda name: bits[name])
    gates = None
    if result.gates:
        # The passages begin where the gates do.
        read = [text if text.isprintable() else "¶" for text, _ in result.passages[0]["pieces"]]
        found = {name: np.array(values) for name, values in result.gates.items()}
        with style.context(plots.STYLE):
            gates = plots.svg(plots.gates(found, read[: len(next(iter(found.values())))], settings.unit))
    return Content(
        title=f"{settings.file.name}, the next {settings.unit}",
        finding=(
            f"{settings.model} takes {number(own, bits.values())} bits a {settings.unit} of the held-out end; "
            f"the best baseline, {rival}, {number(bits[rival], [own])}."
        ),
        monitor=("loss", "nats"),
        loss_unit="nats",
        values={"passages": [(one["title"], _coloured(one["pieces"])) for one in result.passages], "gates": gates},
    )


def _coloured(pieces: list[tuple[str, float]]) -> list[tuple[str, float, str]]:
    """(text, bits, opacity of the colour behind it)."""
    return [(text, bits, f"{min(bits / _DARKEST, 1.0):.2f}") for text, bits in pieces]
