"""The learning curves of a run, as metrics.jsonl has them."""

from __future__ import annotations

import json

from carousel.errors import InputError
from carousel.jobs.run import Run

Curves = dict[tuple[str, str], list[tuple[float, float]]]
"""(split, name) -> points (sequences seen, value)."""


def curves(run: Run) -> Curves:
    """All figures that a training run wrote down.

    Raises:
        InputError: metrics that are missing or damaged.
    """
    path = run.folder / "metrics.jsonl"
    found: Curves = {}
    try:
        for line in run.read("metrics.jsonl").decode().splitlines():
            metric = json.loads(line)
            point = float(metric["sequences"]), float(metric["value"])
            found.setdefault((metric["split"], metric["name"]), []).append(point)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the run folder is not whole") from None
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not the metrics of a run: {error}") from None
    return found
