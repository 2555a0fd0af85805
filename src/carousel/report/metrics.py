"""The learning curves of a run, as metrics.jsonl has them."""

from __future__ import annotations

import json
from pathlib import Path

from carousel.errors import InputError

Curves = dict[tuple[str, str], list[tuple[float, float]]]
"""(split, name) -> points (sequences seen, value)."""


def curves(run: Path) -> Curves:
    """All figures that a training wrote down.

    Raises:
        InputError: metrics that are missing or damaged.
    """
    path = run / "metrics.jsonl"
    found: Curves = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            metric = json.loads(line)
            found.setdefault((metric["split"], metric["name"]), []).append((metric["sequences"], metric["value"]))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the run folder is not whole") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the metrics of a run: {error}") from None
    return found
