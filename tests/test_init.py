"""The package's own names, and their types as a user's program sees them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import carousel

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(carousel.__file__).parent

PROGRAM = """\
import torch
from torch import Tensor, nn
import carousel

class Leaky(carousel.Cell):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(hidden_size, input_size))
        self.a = nn.Parameter(torch.zeros(hidden_size))

    def initial_state(self) -> Tensor:
        return torch.zeros_like(self.a)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.sigmoid(self.a) * h + torch.tanh(self.W @ x)
        return h, h

cell = Leaky(3, 8)
outputs, final_state = carousel.scan(cell, torch.randn(50, 4, 3))
y = carousel.Stepper(cell)(torch.randn(3))
lstm: carousel.Cell = carousel.cells.LSTM(3, 8, peepholes=True)
layer: nn.Module = carousel.nn.LSTM(3, 8)
try:
    carousel.Stack(cell, lstm)
except carousel.InputError as error:
    print(str(error))
"""

MISTAKES = """\
import carousel
carousel.scna
carousel.explain("a cell")
carousel.Stepper(8)
number: int = carousel.cells.GRU(3, 8)
carousel.fit(carousel.cells.GRU(3, 8), rate=0.01)
"""


def test_every_public_name_is_there() -> None:
    for name in carousel.__all__:
        assert getattr(carousel, name) is not None
    assert set(carousel.__all__) <= set(dir(carousel))


def test_names_with_a_home_are_public() -> None:
    assert set(carousel._HOME) <= set(carousel.__all__)


def test_a_strict_type_checker_passes_a_program_and_finds_its_mistakes(tmp_path: Path) -> None:
    """With the project's configuration, which is strict too, so that what `make check` has cached of torch serves here."""
    assert (SOURCE / "py.typed").exists()
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        ROOT / "pyproject.toml",
        "--cache-dir",
        ROOT / ".mypy_cache",
    ]
    environment = os.environ | {"MYPYPATH": str(SOURCE.parent)}
    files = [tmp_path / "program.py", tmp_path / "mistakes.py"]
    done = subprocess.run(
        [*command, *files], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert "program.py" not in done.stdout, done.stdout
    wrong = {int(line) for line in re.findall(r"^mistakes\.py:(\d+): error", done.stdout, re.MULTILINE)}
    assert wrong == set(range(2, 2 + len(MISTAKES.splitlines()) - 1)), done.stdout + done.stderr


def test_the_program_runs() -> None:
    exec(compile(PROGRAM, "program.py", "exec"), {})


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {carousel.__version__}\n" in (ROOT / "CITATION.cff").read_text()
