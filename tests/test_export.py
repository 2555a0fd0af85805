"""Exported networks: the same outputs from the folder alone, and from the ONNX model of a step."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import carousel
from carousel import export as exporting
from carousel.cells import GRU, LearnedStart
from carousel.cli import main
from carousel.errors import InputError
from carousel.jobs import forecast
from carousel.jobs.run import Run
from carousel.models import build

Capture = pytest.CaptureFixture[str]


def trained(folder: Path, model: str) -> Path:
    """A run of a few steps on a tide."""
    file, out = folder / "tides.csv", folder / model
    file.write_text("\n".join(["Level", *(f"{3 + math.sin(hour / 2):.3f}" for hour in range(200))]) + "\n")
    settings = forecast.Settings(
        file,
        target="Level",
        model=model,
        hidden=4,
        horizon=3,
        history=6,
        sequences=64,
        evaluate_every=32,
        baseline="none",
        base="naive",
    )
    forecast.train(settings, out, progress=False)
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"), "gru")


def refusal(words: list[str | Path], capsys: Capture) -> str:
    assert main(list(map(str, words))) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_the_folder_alone_gives_the_network(run: Path, tmp_path: Path, capsys: Capture) -> None:
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    assert main(["export", str(moved), "--out", str(tmp_path / "a" / "shared"), "--no-onnx"]) == 0
    printed = capsys.readouterr()
    assert [line.rpartition("/")[2] for line in printed.out.splitlines()] == ["config.json", "prepared.json", "weights.safetensors"]
    assert printed.err == ""
    inputs = torch.randn(5, 2, 1, generator=torch.Generator().manual_seed(1))
    expected, _ = carousel.scan(Run(run).network, inputs)
    shutil.rmtree(moved)
    shared = exporting.load(tmp_path / "a" / "shared")
    assert not shared.training
    assert torch.equal(carousel.scan(shared, inputs)[0], expected)
    prepared = json.loads((tmp_path / "a" / "shared" / "prepared.json").read_text())
    assert prepared == json.loads((run / "prepared.json").read_text())


def test_export_writes_an_onnx_model_that_steps_like_the_network(run: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert main(["export", str(run), "--out", str(tmp_path / "shared")]) == 0
    content = (tmp_path / "shared" / "step.onnx").read_bytes()
    assert str(Path(carousel.__file__).parent).encode() not in content
    session = onnxruntime.InferenceSession(content)
    assert next(given.name for given in session.get_inputs()) == "x"
    assert next(made.name for made in session.get_outputs()) == "y"
    inputs = np.random.default_rng(2).standard_normal((9, 3, 1), np.float32)
    (x, h), state = (given.name for given in session.get_inputs()), np.zeros((3, 4), np.float32)
    outputs = []
    for step in inputs:
        y, state = session.run(None, {x: step, h: state})
        outputs.append(y)
    expected, final_state = carousel.scan(Run(run).network, torch.from_numpy(inputs))
    np.testing.assert_allclose(np.stack(outputs), expected.detach(), atol=1e-5)
    np.testing.assert_allclose(state, final_state[0].detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "state"),
    [("lstm", {"layers": 2, "symbols": 9, "dropout": 0.2}, 4), ("elman", {"answer": "mean"}, 3)],
)
def test_step_model_of_a_stack_takes_batches_of_any_size(name: str, options: dict[str, object], state: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    cell = build(name, 3, 2, hidden=5, **options).eval()  # type: ignore[arg-type]
    symbols = 9 if "symbols" in options else 0
    model = exporting.step_model(cell, symbols=symbols)
    session = onnxruntime.InferenceSession(model)
    given = session.get_inputs()
    assert len(given) == len(session.get_outputs()) == 1 + state
    for B in (1, 2, 7):
        x = torch.randint(symbols, (B,)) if symbols else torch.randn(B, 3)
        zeros = [np.zeros((B, *one.shape[1:]), np.float32) for one in given[1:]]
        y, *_ = session.run(None, dict(zip([one.name for one in given], [x.numpy(), *zeros], strict=True)))
        np.testing.assert_allclose(y, carousel.scan(cell, x[None])[0][0].detach(), atol=1e-5)
    with torch.no_grad():
        next(cell.parameters()).mul_(1.5)
    with pytest.raises(InputError, match=r"differs from the network by .* at batch 1; nothing was written"):
        exporting._compare(cell, model, symbols)


def test_a_network_without_the_form_is_exported_without_it(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("onnxscript")
    run = trained(tmp_path, "window-3")
    assert main(["export", str(run), "--out", str(tmp_path / "shared")]) == 0
    assert capsys.readouterr().err.startswith("carousel: no ONNX model: PyTorch cannot export its step for every batch size (")
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["config.json", "prepared.json", "weights.safetensors"]


def test_a_state_that_does_not_begin_with_zeros_has_no_form() -> None:
    cell = LearnedStart(GRU(2, 3))
    with torch.no_grad():
        cell.start[0].fill_(0.5)
    with pytest.raises(exporting.NoForm, match="does not begin with zeros"):
        exporting.step_model(cell)


def test_without_the_packages(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxscript" else name)
    told = refusal(["export", run, "--out", tmp_path / "shared"], capsys)
    assert told == "carousel: step.onnx needs onnxscript: pip install 'carousel-rnn[onnx]', or leave it out: --no-onnx\n"
    assert not any(tmp_path.iterdir())


def test_a_model_that_differs_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def differs(*args: object, **options: object) -> bytes:
        raise InputError("the ONNX model differs")

    monkeypatch.setattr(exporting, "step_model", differs)
    assert "differs" in refusal(["export", run, "--out", tmp_path / "shared"], capsys)
    assert not any(tmp_path.iterdir())


def test_what_is_there_is_never_overwritten(run: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "mine").touch()
    assert "already exists; choose another folder" in refusal(["export", run, "--out", tmp_path / "shared"], capsys)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["mine"]


def test_no_run_and_no_place(run: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "not a run folder" in refusal(["export", tmp_path, "--out", tmp_path / "shared"], capsys)
    (tmp_path / "file").touch()
    assert "Not a directory" in refusal(["export", run, "--out", tmp_path / "file" / "shared", "--no-onnx"], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "config", [None, "", "[]", "{}", "[" * 99999, '{"network": {"name": "lstm"}}', '{"network": {"name": "lstn", "input_size": 1}}']
)
def test_load_refuses_what_is_no_exported_network(config: str | None, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=r"not an exported network|not the configuration of an exported network|unknown model"):
        exporting.load(tmp_path)
