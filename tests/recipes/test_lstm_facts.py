"""The facts of the LSTM paper: what is measured against closed forms, the rows by their command, the pictures."""

import json
import math

import pytest
import torch

from carousel.cells import LSTM, FullyRecurrent
from carousel.cli import main
from carousel.recipes import lstm_facts as facts


def by_command(name, tmp_path, *options):
    """The rows that `carousel reproduce` merges."""
    assert main(["reproduce", name, "--out", str(tmp_path), "--processes", "1", *options]) == 0
    return [json.loads(path.read_text()) for path in sorted((tmp_path / name).glob("*.json"))]


def test_error_by_the_rule_stays_as_it_is():
    assert facts.error_norms("lstm1997-rule", 0, lags=30) == pytest.approx([1] * 31, abs=1e-12)
    uncut = facts.error_norms("lstm1997-all-error", 0, lags=30)
    assert max(abs(norm - 1) for norm in uncut) > 1e-3


def test_error_shrinks_by_the_forget_gate_and_by_the_weight(monkeypatch):
    def held(gate):
        """A cell that nothing reaches but its own forget bias."""
        cell = LSTM(facts.INPUTS, 1, forget_bias=gate)
        cell.W.data.zero_()
        cell.U.data.zero_()
        return cell

    def unit():
        cell = FullyRecurrent(facts.INPUTS, 1, f="identity")
        cell.V.data[0, facts.INPUTS] = 0.9
        return cell

    monkeypatch.setitem(facts.FLOWS, "gate", (lambda: held(2.0), "all"))
    monkeypatch.setitem(facts.FLOWS, "unit", (unit, "all"))
    sigmoid = 1 / (1 + math.exp(-2.0))
    assert facts.error_norms("gate", 0, lags=20) == pytest.approx([sigmoid**lag for lag in range(21)], rel=1e-9)
    assert facts.error_norms("unit", 0, lags=20) == pytest.approx([float(torch.tensor(0.9)) ** lag for lag in range(21)], rel=1e-6)


def test_error_flow_by_its_command(tmp_path):
    (row,) = by_command("lstm-facts/error-flow", tmp_path, "--rows", "lstm-forget-bias-1", "--seeds", "1")
    assert row["all_met"]
    assert len(row["runs"][0]["picture"]["norms"]) == 101
    page = (tmp_path / "lstm-facts" / "error-flow" / "report.html").read_text()
    assert "Error against lag" in page
    (axes,) = facts.draw_error_flow([row]).axes
    assert len(axes.lines) == 1
    assert min(axes.lines[0].get_ydata()) > 1e-30
    assert facts.draw_error_flow([]) is None
