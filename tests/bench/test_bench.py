"""carousel bench: what it prints and writes, and that wrong results are never timed. How fast anything is, no test asks."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from carousel import bench
from carousel.bench.cases import CASES, Case, Contender, Shape, lstm_inference, lstm_training, memory, timed
from carousel.cli import main

Capture = pytest.CaptureFixture[str]
SMALL = (3, 2, 4, 5)


@pytest.fixture
def two_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cases of the real families at a size of no interest."""
    small = [Case("lstm", SMALL, lstm_training, "faster", 6), Case("lstm-inference", SMALL, lstm_inference, "of its time")]
    monkeypatch.setattr(bench, "CASES", small)


def test_prints_a_table_and_writes_the_same_as_json(two_small: None, tmp_path: Path, capsys: Capture) -> None:
    before = torch.get_num_threads()
    path, page = tmp_path / "bench.json", tmp_path / "bench.md"
    assert main(["bench", "--quick", "--threads", "1", "--json", str(path), "--page", str(page)]) == 0
    assert torch.get_num_threads() == before
    report, printed = json.loads(path.read_text()), capsys.readouterr().out.splitlines()
    assert {row["case"]: row["peer"] for row in report["rows"][1:]} == {
        "lstm-3x2x4x5": "nn.LSTMCell in a loop",
        "lstm-inference-3x2x4x5": "nn.LSTM",
    }
    first, second, third = report["rows"]
    assert first["value"] == pytest.approx(first["theirs"] / first["ours"])
    assert first["met"] is (first["value"] >= 6)
    assert second["goal"] is None
    assert second["met"] is None
    assert third["value"] == pytest.approx(third["ours"] / third["theirs"])
    assert all(min(row["samples"]) >= 5 and row["ours"] > 0 for row in report["rows"])
    assert report["threads"] == 1
    assert report["versions"]["torch"] == torch.__version__
    assert printed[0].startswith(report["cpu"])
    assert len(printed) == 2 + len(report["rows"])
    assert len([line for line in page.read_text().splitlines() if line.startswith("| lstm")]) == len(report["rows"])


def test_one_case_by_its_name(two_small: None, capsys: Capture) -> None:
    assert main(["bench", "lstm-inference-3x2x4x5", "--quick", "--threads", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_an_unknown_name_is_refused(capsys: Capture) -> None:
    assert main(["bench", "lstn"]) == 2
    assert "no case 'lstn', expected one of: lstm, lstm-inference, gru" in capsys.readouterr().err


def test_no_threads_are_refused() -> None:
    with pytest.raises(bench.InputError, match="expected threads of 1 or more, got 0"):
        bench.run([], threads=0)


@pytest.mark.parametrize("error", [1e-3, math.nan])
def test_what_is_wrong_is_not_timed(error: float, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def contenders(shape: Shape) -> list[Contender]:
        ours, peer = lstm_inference(shape)
        assert peer.results is not None
        right = peer.results
        return [ours, timed("a wrong peer", lambda: (right()[0] + error,))]

    monkeypatch.setattr(bench, "CASES", [Case("wrong", SMALL, contenders, "faster", 1)])
    assert main(["bench", "--quick", "--threads", "1"]) == 1
    assert "wrong-3x2x4x5: wrong: it differs from a wrong peer by" in capsys.readouterr().out


def test_what_does_not_apply_is_skipped_with_the_reason() -> None:
    def contenders(shape: Shape) -> list[Contender]:
        raise bench.InputError("not on this machine")

    report = bench.run([Case("gone", SMALL, contenders, "faster")], quick=True, threads=1, done=lambda name: None)
    assert report["rows"] == []
    assert bench.remarks(report) == ["gone-3x2x4x5: skipped: not on this machine"]


def test_a_page_of_somebody_else_is_kept(two_small: None, tmp_path: Path) -> None:
    page = tmp_path / "notes.md"
    page.write_text("mine\n")
    assert main(["bench", "lstm-inference", "--quick", "--threads", "1", "--page", str(page)]) == 2
    assert page.read_text() == "mine\n"


@pytest.mark.parametrize("family", ["gru", "variant-coupled", "peephole-loop", "ntm", "stepper", "peak"])
def test_contenders_of_a_family_agree(family: str) -> None:
    case = next(case for case in CASES if case.family == family)
    torch.manual_seed(0)
    contenders = case.contenders(SMALL)
    assert contenders[0].name == "carousel"
    assert len(contenders) >= 2
    bench.compare(contenders)


def test_every_name_stands_once() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.long
def test_what_is_measured_in_processes(tmp_path: Path) -> None:
    cases = [
        Case("memory", (50, 64, 8, 256), memory, "of its memory"),
        *[replace(case, shape=(3, 4, 5, 6)) for case in CASES if case.family in ("compile-lstm", "load-lstm")],
    ]
    report = bench.run(cases, quick=True, threads=1, done=lambda name: None)
    used, compiled, loaded = report["rows"][:3]
    assert used["ours"] > 50 * 64 * 256 * 4  # y, at the least
    assert loaded["ours"] < compiled["ours"]


@pytest.mark.parametrize(
    ("family", "peers"),
    [
        ("tree-update", ["heights by hand", "node after node"]),
        ("tree-many", ["node after node, 2 trees"]),
        ("tree-unary", ["scan"]),
        ("tree-arity-4", ["scan of an LSTM"]),
        ("tree-child-sum-4", ["scan of an LSTM"]),
    ],
)
def test_the_cases_over_trees_agree_with_their_peers(family: str, peers: list[str]) -> None:
    case = next(case for case in CASES if case.family == family)
    report = bench.run([replace(case, shape=(4, 3, 5, 6))], quick=True, threads=1, done=lambda name: None)
    assert report["wrong"] == report["skipped"] == []
    assert [row["peer"] for row in report["rows"]] == peers


def test_dynet_is_skipped_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dynet_config", None)
    (case,) = bench.select(["tree-dynet"])
    report = bench.run([case], quick=True, threads=1, done=lambda name: None)
    assert report["rows"] == []
    assert report["skipped"] == [{"case": case.name, "reason": "DyNet is not installed (the package dynet38)"}]


def test_slow_cases_run_where_they_are_named() -> None:
    slow = [case for case in CASES if case.slow]
    assert slow
    assert not set(slow) & set(bench.select([]))
    assert set(slow) <= set(bench.select([case.name for case in slow]))
