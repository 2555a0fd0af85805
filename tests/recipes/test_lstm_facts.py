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


def test_a_trial_that_does_not_learn_counts_with_its_budget(tmp_path):
    options = ["--rows", "lag-10-both-gates", "--budget", "400"]
    (row,) = by_command("lstm-facts/weight-conflict", tmp_path, *options)
    trials = row["runs"][0]["trials"]
    counts = [trial["met"][""]["sequences"] if trial["met"] else 400 for trial in trials]
    assert row["summary"]["until learned"]["mean"] == pytest.approx(sum(counts) / len(counts))
    assert row["summary"]["solved"]["mean"] == 100 * sum(bool(trial["met"]) for trial in trials) / len(trials)
    (axes,) = facts.draw_trained([row]).axes
    assert [len(line.get_xdata()) for line in axes.lines[:2]] == [sum(count < 400 for count in counts), counts.count(400)]
    assert facts.draw_trained([]) is None


def test_a_conflicts_goal_is_to_beat_the_networks_that_lack_a_gate():
    goals = {row.name: [goal.rivals for goal in row.goals if goal.rivals] for row in facts.WEIGHT_CONFLICT.rows}
    assert goals["lag-20-both-gates"] == [("lag-20-input-gate", "lag-20-output-gate", "lag-20-no-gate")]
    assert not goals["lag-20-no-gate"]
    for recipe in facts.RECIPES.values():
        names = {row.name for row in recipe.rows}
        assert {rival for row in recipe.rows for goal in row.goals for rival in goal.rivals} <= names


def test_networks_with_blocks_to_spare_learn_the_grammar_of_experiment_1(tmp_path):
    for name, experiment in facts.SPARE.items():
        network = experiment.network()
        assert (network.blocks, network.block_size) == (int(name[0]), 2)
        closed = network.b[network.blocks :].tolist() == list(range(-1, -network.blocks - 1, -1))
        assert closed == name.endswith("closed")
    assert facts.SPARE["3x2-closed"].criteria[""].sequences == 42_200
    (row,) = by_command("lstm-facts/spare-blocks", tmp_path, "--rows", "4x2-open", "--budget", "400")
    assert [trial["sequences"] for trial in row["runs"][0]["trials"]] == [400] * 30
    assert row["summary"]["until learned"]["mean"] == 400


def test_networks_of_the_conflict_have_the_gates_of_their_row():
    for name, experiment in facts.CONFLICTS.items():
        cell = experiment.network()
        assert cell.gated == facts.GATED[name.split("-", 2)[2]]
        assert cell.hidden_size == 3 + 3 * len(cell.gated)


def test_states_drift_less_the_lower_the_bias():
    sizes = [float(facts.drift(bias, 0)[-1].abs().mean()) for bias in facts.DRIFTS.values()]
    assert sizes == sorted(sizes, reverse=True)
    runs = [facts.run_drift(row, 0) for row in ("bias-0", "bias-minus-6")]
    assert runs[0]["measures"]["state"] == pytest.approx(sizes[0], rel=1e-4)
    slopes = [run["measures"]["slope"] for run in runs]
    assert slopes[0] < 0.1 < 0.9 < slopes[1] < 1
    rows = [{"row": row, "runs": [run]} for row, run in zip(("bias-0", "bias-minus-6"), runs, strict=True)]
    assert [len(axes.lines) for axes in facts.draw_drift(rows).axes] == [2, 2]
    assert facts.draw_drift([]) is None


def test_sequences_of_any_lag():
    batch = facts.AnyLag(6, 1).sample(200, torch.Generator().manual_seed(0))
    assert set(batch.lengths.tolist()) == {3, 4, 5, 6}
    for b, length in enumerate(batch.lengths.tolist()):
        assert batch.mask[:, b].nonzero().flatten().tolist() == [length - 1]
        assert float(batch.targets[length - 1, b, 0]) == (float(batch.inputs[0, b, 0]) + 1) / 2
    assert facts.AnyLag(6, 1).sample(2, torch.Generator(), length=9).steps == 9


def test_cost_grows_with_the_square_by_rtrl_alone(monkeypatch):
    monkeypatch.setattr(facts, "BLOCKS", (2, 4))
    # Times by W^2 a step for a rule of which it is stated; measured ones are results, not tests.
    monkeypatch.setattr(facts, "seconds_a_step", lambda rule, steps, blocks, seed: (blocks, 1e-6 * blocks**2))
    assert facts.run_cost("rtrl", 0)["measures"] == {"exponent": pytest.approx(1), "nanoseconds": pytest.approx(4000)}


@pytest.mark.parametrize("name", facts.RULES)
def test_a_step_takes_time(name):
    rule, steps = facts.RULES[name]
    weights, seconds = facts.seconds_a_step(rule, min(steps, 20), 2, 0)
    assert weights == 6 * (facts.INPUTS + 6) + 2 + 6 + 1
    assert 0 < seconds < 1
    run = {"picture": {"costs": [[weights, 1e9 * seconds / weights]]}}
    assert len(facts.draw_cost([{"row": name, "runs": [run]}]).axes[0].lines) == 1
