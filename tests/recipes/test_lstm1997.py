"""The recipe of the LSTM paper: stopping at the very sequence, trials side by side as alone, a row by its command."""

import json
import math

import numpy as np
import pytest
import torch

from carousel.cli import main
from carousel.learn import Truncated1997
from carousel.recipes import lstm1997, lstm1997_trials
from carousel.recipes.lstm1997 import EXPERIMENTS, RECIPE, cross_entropy, run_unit
from carousel.recipes.lstm1997_trials import Criterion, Experiment, OnFresh, Recent, first_met
from carousel.tasks import TwoSequences


def by_hand(wrong, error, stop, start):
    for end in range(start, len(wrong)):
        part = slice(end + 1 - stop.window, end + 1)
        if end + 1 >= stop.window and sum(wrong[part]) <= stop.wrong and np.mean(error[part]) < stop.error:
            return end
    return None


def test_the_first_place_at_which_a_criterion_is_met():
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(200):
        wrong, error = rng.random(30) < 0.3, rng.random(30)
        stop = Recent(wrong=1, error=0.5, window=6)
        start = int(rng.integers(10))
        place = first_met(wrong, error, stop, start)
        assert place == by_hand(wrong, error, stop, start)
        found.add(place)
    assert None in found
    assert len(found) > 5
    assert first_met(np.zeros(3, bool), np.zeros(3), Recent(window=4), 0) is None


@pytest.fixture
def easy(monkeypatch):
    """Two classes told by all but the last numbers: learned in a few hundred sequences."""
    task = TwoSequences(10, 8)
    experiment = Experiment(
        task,
        lstm1997._two,
        rate=1.0,
        criteria={
            "fair": Criterion(Recent(wrong=4, window=20), 500),
            "good": Criterion(OnFresh(wrong=0, error=0.2, sequences=64), 1000, 10),
        },
        trials=3,
    )
    monkeypatch.setattr(lstm1997_trials, "STEPS", 500)
    monkeypatch.setattr(lstm1997_trials, "TESTED", 128)
    monkeypatch.setitem(EXPERIMENTS, "easy", experiment)
    return experiment


def test_a_unit(easy):
    entry = run_unit("easy", 0)
    assert entry["solved"]
    assert entry["measures"]["solved (good)"] == 100
    assert entry["measures"]["fewest sequences (fair)"] <= entry["measures"]["median sequences (fair)"]
    assert entry["measures"]["wrong of 128 (good)"] < 10
    assert entry["measures"]["mean squared error (good)"] < 0.2**2
    assert len({trial["met"]["fair"]["sequences"] for trial in entry["trials"]}) > 1
    again = run_unit("easy", 0)
    assert again["trials"] == entry["trials"]
    json.dumps(entry)


def test_a_trial_is_what_it_is_alone_and_stops_at_the_very_sequence(easy):
    """Sequence after sequence by `train_on`: the criterion is met at the same one, and the weights of that moment are tested."""
    trial = run_unit("easy", 0)["trials"][1]
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    network = easy.network()
    optimizer = torch.optim.SGD(network.parameters(), easy.rate)
    chunk = max(500 // easy.task.sample(8, torch.Generator().manual_seed(0)).steps, 1)
    wrong: list[bool] = []
    while len(wrong) < 20 or sum(wrong[-20:]) > 4:
        if len(wrong) % chunk == 0:
            batch = easy.task.sample(chunk, generator)
        b = len(wrong) % chunk
        steps = int(batch.lengths[b])
        one = type(batch)(
            *(leaf[:steps, b : b + 1] for leaf in (batch.inputs, batch.targets, batch.mask)), batch.lengths[b : b + 1]
        )
        _, outputs, _ = Truncated1997().train_on(network, one, easy.task.loss, optimizer)
        wrong.append(bool(easy.task.wrong(outputs, one)))
    assert len(wrong) == trial["met"]["fair"]["sequences"]
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    fresh = torch.Generator().manual_seed(2**40 + 1)
    figures = lstm1997_trials._tested(easy.task, network, parameters, 128, fresh)
    assert figures["wrong"] == trial["met"]["fair"]["wrong of 128"]
    assert figures["squared"] == pytest.approx(trial["met"]["fair"]["mean squared error"], rel=1e-3)


def test_a_budget_that_is_too_small_is_a_failure(easy):
    entry = run_unit("easy", 0, budget=60)
    assert not entry["solved"]
    assert entry["measures"]["solved (good)"] == 0
    assert "sequences (good)" not in entry["measures"]


def test_rows_have_the_papers_figures():
    rows = {row.name: row for row in RECIPE.rows}
    claims = {claim.measure: claim.figure for claim in rows["5"].claims}
    assert claims["sequences (n=13)"] == 1_273_000
    goals = {goal.measure: goal.at_most for goal in rows["4-100"].goals}
    assert goals["sequences"] == 111_000
    assert goals["wrong of 2560"] == pytest.approx(3.2)
    counts = {name: sum(p.numel() for p in experiment.network().parameters()) for name, experiment in EXPERIMENTS.items()}
    assert (counts["1-4x1-0.1"], counts["1-3x2-0.5"], counts["2a"], counts["2b"]) == (264, 276, 10504, 10504)
    assert (counts["2c-50-50"], counts["2c-1000-50-inputs-only"]) == (6 * 60 + 4, 6 * 54 + 4)
    assert (counts["3a-100-3"], counts["4-500-linear"], counts["5"], counts["6a"], counts["6b"]) == (102, 93, 93, 156, 308)


def test_the_error_of_cross_entropy_lacks_the_slope_of_the_output_unit():
    net, target = torch.tensor([-2.0, 0.5, 3.0], requires_grad=True), torch.tensor([0.0, 0.3, 1.0])
    cross_entropy(torch.sigmoid(net), target).backward()
    torch.testing.assert_close(net.grad, (torch.sigmoid(net) - target).detach())
    row = EXPERIMENTS["5-cross-entropy"]
    learning = row.learning(row.network())
    value = learning.loss(torch.tensor([0.25]), torch.tensor([1.0]))
    assert float(value) == pytest.approx(math.log(4))


def test_a_row_by_its_command(tmp_path, capsys):
    command = ["reproduce", "lstm1997/4-100", "--budget", "10", "--out", str(tmp_path), "--processes", "1"]
    assert main(command) == 0
    row = json.loads((tmp_path / "lstm1997" / "4-100.json").read_text())
    assert row["summary"]["solved"]["mean"] == 0
    assert row["goals"] == []  # they are of the recipe's own budget
    assert len(row["runs"][0]["trials"]) == 10
    assert "4-100" in capsys.readouterr().out
    page = (tmp_path / "lstm1997" / "report.html").read_text()
    assert "Published and ours" in page
    assert main(["reproduce", "lstm1997/adding", "--out", str(tmp_path)]) == 2
    assert "no row 'adding'" in capsys.readouterr().err
