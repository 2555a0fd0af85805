"""The experiments of 1997 by today's practice: a trial against plain training, the initialisation, a row by its command."""

import json
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import Adam

from carousel import Stack, scan
from carousel.cells import LSTM
from carousel.cli import main
from carousel.learn import BPTT, half_squared_error
from carousel.recipes import lstm1997_trials
from carousel.recipes.lstm1997 import EXPERIMENTS
from carousel.recipes.lstm1997_today import PRACTICES, RECIPE, Practice, cross_entropy, draw, run_batches, run_unit
from carousel.recipes.lstm1997_trials import Criterion, Experiment, OnFresh, Recent
from carousel.tasks import TwoSequences

EASY = TwoSequences(10, 8)  # two classes told by all but the last numbers


def network():
    return Stack(LSTM(1, 4, forget_bias=1), readout=nn.Linear(4, 1))


@pytest.fixture
def easy(monkeypatch):
    monkeypatch.setattr(lstm1997_trials, "TESTED", 128)
    criteria = {
        "fair": Criterion(Recent(wrong=2, window=20), 500),
        "good": Criterion(OnFresh(wrong=0, error=0.1, sequences=64), 1000, 10),
    }
    return Experiment(EASY, network, rate=1.0, criteria=criteria, trials=1, every=20)


def trained(experiment, most=3000):
    return run_batches(
        experiment,
        3,
        most,
        learner=BPTT(clip_norm=1.0),
        loss=half_squared_error,
        optimizer=partial(Adam, lr=0.03),
        batch_size=8,
    )


def test_a_trial_is_plain_training_that_stops_at_its_criteria(easy):
    entry = trained(easy)
    assert entry["solved"]
    torch.manual_seed(3)
    cell, generator = network(), torch.Generator().manual_seed(3)
    optimizer = Adam(cell.parameters(), lr=0.03)
    wrong: list[bool] = []
    while not any(sum(wrong[end - 20 : end]) <= 2 for end in range(20, len(wrong) + 1)):
        batch = EASY.sample(8, generator)
        outputs, _ = scan(cell, batch.inputs, lengths=batch.lengths)
        error = (outputs - batch.targets)[batch.mask]
        optimizer.zero_grad()
        (error.square().sum() / 2 / 8).backward()
        nn.utils.clip_grad_norm_(cell.parameters(), 1.0)
        optimizer.step()
        wrong += EASY.wrong(outputs.detach(), batch).tolist()
        assert len(wrong) < 3000
    assert entry["measures"]["sequences (fair)"] == len(wrong)
    assert entry["measures"]["sequences (good)"] >= len(wrong)
    assert entry["measures"]["wrong of 128 (good)"] < 10
    assert trained(easy)["trials"] == entry["trials"]
    json.dumps(entry)


def test_a_budget_that_is_too_small_is_a_failure(easy):
    entry = trained(easy, most=30)
    assert (entry["solved"], entry["sequences"], entry["measures"]["solved (good)"]) == (False, 30, 0)


def test_cells_of_a_lag_forget_over_at_most_that_many_steps():
    torch.manual_seed(0)
    layer = PRACTICES["6a"].network().cells[0]
    i, f, *_ = layer.b.detach().chunk(4)
    over = 1 + f.exp()  # a gate of sigmoid(b) keeps 1 - 1 / (1 + e^b) of a cell
    assert torch.equal(i, -f)
    assert over.min() >= 2
    assert 80 < over.max() <= 100
    plain = Practice("6a", "softmax").network().cells[0].b.detach().chunk(4)[1]
    assert (plain == 1).all()


def test_cross_entropy_is_that_of_logits():
    logits, target = torch.randn(5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)[2]
    wanted = nn.functional.cross_entropy(logits, torch.tensor(2))
    assert float(cross_entropy(logits.softmax(0), target)) == pytest.approx(float(wanted))


def test_rows_are_those_of_the_paper_and_every_one_learns(monkeypatch):
    monkeypatch.setattr(lstm1997_trials, "TESTED", 8)
    for row in RECIPE.rows:
        practice = PRACTICES[row.name]
        assert {claim.figure for claim in row.claims} == {claim.figure for claim in EXPERIMENTS[practice.published].claims()}
    for name in ("1", "3c-100-3", "5"):  # one of each output
        entry = run_unit(name, 0, budget=40)
        assert entry["sequences"] == 40
        assert not entry["solved"]


def test_a_row_by_its_command_and_the_picture(tmp_path):
    command = ["reproduce", "lstm1997-today", "--rows", "2c-50-50", "--seeds", "1", "--budget", "64", "--processes", "1"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    row = json.loads((tmp_path / "lstm1997-today" / "2c-50-50.json").read_text())
    assert row["summary"]["solved"]["mean"] == 0
    assert "Published and today" in (tmp_path / "lstm1997-today" / "report.html").read_text()
    done = {
        name: {"mean": 300.0, "min": 200.0, "max": 400.0} for name in ("sequences", "fewest sequences", "most sequences", "solved")
    }
    [axes] = draw([row], [{"row": "2c-50-50", "claims": row["claims"], "summary": done}]).axes
    assert [line.get_label() for line in axes.lines] == ["paper, mean", "rule of 1997, range", "rule of 1997, mean"]
    assert draw([]) is None
