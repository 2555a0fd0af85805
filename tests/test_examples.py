"""The scripts of examples/ run as they stand, and print what they are there to show."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def printed(name: str, folder: Path) -> str:
    """What a script prints, run elsewhere, with warnings as errors; it leaves nothing behind."""
    command = [sys.executable, "-W", "error", EXAMPLES / name]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


def test_own_cell(tmp_path: Path) -> None:
    lines = printed("own_cell.py", tmp_path).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["eager", "native", "the gradients agree"]


def test_forecast_intervals(tmp_path: Path) -> None:
    text = printed("forecast_intervals.py", tmp_path)
    errors = dict(re.findall(r"^(\S+) +MAE +([\d.]+), \d+%", text, re.MULTILINE))
    assert float(errors["gru"]) < float(errors["naive"])
    months = re.findall(r"^(\d{4}-\d\d): ([-\d.]+), between ([-\d.]+) and ([-\d.]+)$", text, re.MULTILINE)
    assert [month for month, *_ in months] == [f"1984-{n:02}" for n in range(1, 13)]
    assert all(float(low) <= float(middle) <= float(high) for _, middle, low, high in months)


def test_ntm_copy(tmp_path: Path) -> None:
    bits = [float(value) for value in re.findall(r"([\d.]+) bits", printed("ntm_copy.py", tmp_path))]
    assert len(bits) == 4
    assert bits[-1] < 1 < bits[0]


def test_stream(tmp_path: Path) -> None:
    assert float(printed("stream.py", tmp_path).split()[3]) < 1e-5


def test_export(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    files, difference = printed("export.py", tmp_path).splitlines()
    assert files == "config.json, prepared.json, step.onnx, weights.safetensors"
    assert float(difference.split()[-1]) < 1e-5


def test_every_script_is_tried() -> None:
    assert {f"test_{path.stem}" for path in EXAMPLES.glob("*.py")} <= set(globals())
