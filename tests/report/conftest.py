"""A finished run and a recipe's rows, small and with known errors, as the jobs and recipes write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from carousel.jobs.forecast import Held, Result, Settings, keep

NAME = 'Spots <b>&"US$_2" | x'
"""A column name with what HTML, Markdown and mathematical text would trip over."""


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    """The folder of a finished run: 30 months held out, 3 steps ahead, "gru" off by 1 but by 7 from origin 10."""
    months = [f"{year}-{month:02}" for year in (1980, 1981, 1982) for month in range(1, 13)][:30]
    truth = np.arange(30.0) + 50.0
    ahead = np.lib.stride_tricks.sliding_window_view(truth, 3)
    own = ahead + 1.0
    own[10] += 6.0
    forecasts = {"naive": ahead + 2.0, "gru": own}
    settings = Settings(tmp_path / "sun & moon.csv", target=NAME, model="gru", horizon=3, baseline="none")
    result = Result(
        rows=[{"method": "naive", "MAE": 2.0, "RMSE": 2.0, "MASE": 1.0}, {"method": "gru", "MAE": 1.2, "RMSE": 1.6, "MASE": 0.6}],
        name=NAME,
        time_name="Month",
        notes=[],
        held=[Held("", months, truth, {name: forecast[..., None] for name, forecast in forecasts.items()})],
        gates={"0.r": np.linspace(0, 1, 60).reshape(20, 3), "0.z": np.full((20, 3), 0.5)},
        seconds=4.2,
        sequences=640,
        stopped="the budget was used",
        command=settings.command("runs/a"),
    )
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text(tomli_w.dumps({"settings": settings.table()}))
    keep(run, {"input_size": 1, "output_size": 3}, result)
    metrics = [("train", "loss", 0.9), ("validation", "loss", 1.0), ("validation", "MAE", 3.0)]
    lines = [
        {"step": step, "sequences": 32 * step, "seconds": 0.1 * step, "split": split, "name": name, "value": value / (1 + step)}
        for step in range(3)
        for split, name, value in metrics
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


@pytest.fixture
def result_row() -> Callable[..., dict[str, Any]]:
    """Make one result row from its measured values, one a run."""

    def make(name: str, values: list[float], **fields: Any) -> dict[str, Any]:
        runs = [
            {
                "seed": seed,
                "solved": None,
                "sequences": 64,
                "seconds": 2.0,
                "measures": {"MAE": value},
                "curve": [[0, 9.0], [64, value]],
            }
            for seed, value in enumerate(values)
        ]
        middle = {"n": len(values), "mean": np.mean(values).item(), "median": np.median(values).item()}
        return {
            "recipe": "demo",
            "row": name,
            "command": f"carousel reproduce demo --rows {name}",
            "commit": "abc",
            "date": "2026-01-31T12:00:00+00:00",
            "backend": "eager",
            "cores": 2,
            "claims": [],
            "goals": [],
            "runs": runs,
            "summary": {"MAE": {**middle, "min": min(values), "max": max(values)}},
            "met": {},
            "all_met": True,
            "deviations": [],
            **fields,
        }

    return make
