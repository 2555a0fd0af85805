"""Mistakes that are answered at once: before torch, NumPy, matplotlib or polars is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from carousel.learn import OPTIMIZERS
from carousel.models import MODELS
from carousel.names import MODELS as MODEL_NAMES
from carousel.names import OPTIMIZERS as OPTIMIZER_NAMES

HEAVY = ("torch", "numpy", "matplotlib", "polars", "safetensors")
SCRIPT = f"""
import contextlib, io, json, sys
from carousel.cli import main
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    print(json.dumps([status, out.getvalue(), err.getvalue(), [name for name in {HEAVY} if name in sys.modules]]))
"""
MISTAKES = [
    (["--model", "grru"], "unknown model 'grru' (did you mean 'gru'?); expected one of: "),
    (["--model", "window-0"], "unknown model 'window-0'"),
    (["--baseline", "lsmt"], "unknown model 'lsmt' (did you mean 'lstm'?)"),
    (["--optimizer", "adma"], "no optimizer 'adma' (did you mean 'adam'?)"),
    (["--device", "gpu"], "expected device cpu, cuda or cuda:N, got 'gpu'; did you mean 'cuda'?"),
    (["--device", "cuda:x"], "got 'cuda:x'"),
    (["--hidden", "0"], "forecast: expected hidden of at least 1, got 0"),
    (["--hidden", "1000000000"], "forecast: expected hidden of at most 65,536, got 1000000000"),
    (["--layers", "-1"], "expected layers of at least 1, got -1"),
    (["--batch-size", "0"], "expected batch_size of at least 1, got 0"),
    (["--rate", "0"], "expected rate above 0, got 0.0"),
    (["--rate", "nan"], "expected rate above 0, got nan"),
    (["--rate", "inf"], "expected rate above 0, got inf"),
    (["--clip-norm", "-1"], "expected clip_norm above 0, got -1.0"),
    (["--patience", "0"], "expected patience of at least 1, got 0"),
    (["--seed", "-1"], "expected seed of at least 0, got -1"),
    (["--horizon", "0"], "expected horizon of at least 1, got 0"),
    (["--history", "0"], "expected history of at least 1, got 0"),
    (["--season", "0"], "expected season of at least 1, got 0"),
    (["--test", "1"], "expected test between 0 and 1, got 1.0"),
    (["--validation", "0"], "expected validation between 0 and 1, got 0.0"),
    (["--quantiles", "0.5", "1.5"], "expected quantiles between 0 and 1, got 1.5"),
    (["--hidden", "3.5"], "--hidden"),
    (["--hiden", "3"], "--hiden"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("early")
    (folder / "tide.csv").write_text("Hour,Level\n1,2\n")
    (folder / "there").mkdir()
    (folder / "run").mkdir()
    (folder / "run" / "config.toml").write_text('[settings]\njob = "forecast"\nfile = "tide.csv"\ntarget = "Level"\n')
    (folder / "text").mkdir()
    (folder / "text" / "config.toml").write_text('[settings]\njob = "language"\nfile = "a.txt"\n')
    return folder


def test_they_are_refused_before_anything_heavy_is_imported(folder: Path) -> None:
    train = ["train", str(folder / "tide.csv"), "--target", "Level"]
    there, run, text = str(folder / "there"), str(folder / "run"), str(folder / "text")
    cases = [([*train, *words, "--out", str(folder / "new")], expected) for words, expected in MISTAKES]
    cases += [
        ([*train, "--out", there], "there already exists; choose another folder"),
        ([*train], "--out is missing"),
        ([*train[:1], "forecast", "gone.csv", *train[2:], "--out", there + "2"], "gone.csv: no such file"),
        ([*train[:1], "gone.csv", *train[2:], "--out", there + "2"], "gone.csv: no such file"),
        (["train", "classify", str(folder / "tide.csv"), "--test", "gone.ts", "--out", there + "2"], "gone.ts: no such file"),
        (["train", "classify", "a.ts", "--test-share", "2", "--out", there + "2"], "expected test_share between 0 and 1, got 2.0"),
        (["train", "classify", "a.ts", "--dropout", "1", "--out", there + "2"], "expected dropout of at most 0.99, got 1.0"),
        (["train", "language", "a.txt", "--order", "0", "--out", there + "2"], "expected order of at least 1, got 0"),
        (["explain", "grru"], "unknown model 'grru' (did you mean 'gru'?)"),
        (["export", run, "--out", there], "there already exists; choose another folder"),
        (["predict", run, str(folder / "tide.csv"), "--out", run], "already exists"),
        (["generate", run], "a run of forecast; only a language model writes"),
        (["generate", text, "--prompt", ""], "a prompt of one symbol or more"),
        (["generate", text, "--temperature", "-1"], "a temperature of at least 0"),
        (["evaluate", there], "not a run folder"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps([words for words, _ in cases]), capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(cases)
    for (words, expected), (status, out, err, imported) in zip(cases, lines, strict=True):
        assert (status, out) == (2, ""), words
        assert expected in err, words
        assert err.count("\n") == 1, words
        assert imported == [], words
    assert not (folder / "new").exists()


def test_the_names_are_those_that_there_are() -> None:
    assert tuple(MODELS) == MODEL_NAMES
    assert tuple(OPTIMIZERS) == OPTIMIZER_NAMES
