"""What the LSTM paper compares with: the networks against their equations, Elman's rule against BPTT cut to a step, the rows."""

import json

import numpy as np
import pytest
import torch

from carousel import scan
from carousel.cli import main
from carousel.learn import BPTT, RTRL
from carousel.recipes.lstm1997_competitors import COMPETITORS, RECIPE, CutAtContext, Layered, draw, fully_recurrent, run_unit
from carousel.tasks import EmbeddedReber


def test_the_papers_numbers_of_weights():
    counts = {}
    for name, competitor in COMPETITORS.items():
        network = competitor.experiment.network()
        counts[name] = int(network.trained.sum()) if name.startswith("1-rtrl") else sum(p.numel() for p in network.parameters())
    assert (counts["1-rtrl-3"], counts["1-rtrl-12"], counts["1-elman-15"]) == (170, 494, 435)
    assert (counts["2a-rtrl-p4-1"], counts["2a-rtrl-p10-1"], counts["2a-rtrl-p100"]) == (36, 144, 10404)
    assert counts["2a-bptt-p100"] == 10404


@pytest.mark.parametrize("skips", [False, True])
def test_layered_is_its_equations(skips):
    network = Layered(3, 2, 4, skips=skips).double()
    x = torch.randn(5, 1, 3, dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = scan(network, x)
    W, U, V = (p.detach().numpy() for p in (network.W, network.U, network.V))
    h = np.zeros(2)
    for t in range(5):
        h = 1 / (1 + np.exp(-(W @ x[t, 0].numpy() + U @ h)))
        y = 1 / (1 + np.exp(-V @ (np.concatenate([x[t, 0].numpy(), h]) if skips else h)))
        np.testing.assert_allclose(outputs[t, 0].numpy(), y, rtol=1e-12)


def test_the_units_of_williams_and_zipser_have_no_biases():
    network = fully_recurrent(3)
    assert not network.W[:, -1].any()
    assert network.W.abs().max() <= 0.2
    assert network.W[:, :-1].all()


def one(batch):
    steps = int(batch.lengths[0])
    return type(batch)(*(leaf[:steps, :1] for leaf in (batch.inputs, batch.targets, batch.mask)), batch.lengths[:1])


def test_elmans_rule_is_bptt_over_one_step():
    """The context is an input: the gradient of a step goes no further than that step, and there is an update at each."""
    task = EmbeddedReber(0)
    batch = one(task.sample(1, torch.Generator().manual_seed(0)))
    batch = type(batch)(batch.inputs.double(), batch.targets.double(), batch.mask, batch.lengths)
    after = []
    for learner in (CutAtContext(), BPTT(window=1), RTRL()):
        torch.manual_seed(0)
        network = Layered(7, 5, 7, skips=False).double()
        learner.train_on(network, batch, task.loss, torch.optim.SGD(network.parameters(), lr=0.5))
        after.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(after[0], after[1], rtol=1e-10, atol=1e-12)
    assert (after[0] - after[2]).abs().max() > 1e-5  # what comes through the context counts


@pytest.mark.parametrize("row", [row for row in COMPETITORS if not row.endswith(("-4", "-10"))])  # those differ in the rate
def test_every_row_learns_and_fails_within_a_tiny_budget(row):
    entry = run_unit(row, 0, budget=2)
    assert not entry["solved"]
    assert entry["measures"]["solved"] == 0
    assert all(trial["sequences"] >= 2 for trial in entry["trials"])


def test_rows_claim_what_the_paper_has():
    rows = {row.name: {claim.measure: claim.figure for claim in row.claims} for row in RECIPE.rows}
    assert rows["1-rtrl-12"] == {"sequences": 25_000}
    assert rows["1-elman-15"] == {"solved": 0}
    assert rows["2a-rtrl-p4-10"] == {"solved": 22, "sequences": 254_000}
    goals = {row.name: [goal.at_most for goal in row.goals] for row in RECIPE.rows}
    assert goals["2a-bptt-p100"] == [0]
    assert goals["2a-rtrl-p4-1"] == []


def test_a_row_by_its_command_and_the_picture(tmp_path):
    command = ["reproduce", "lstm1997-competitors", "--rows", "2a-bptt-p100", "--seeds", "2", "--budget", "3", "--processes", "1"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    row = json.loads((tmp_path / "lstm1997-competitors" / "2a-bptt-p100.json").read_text())
    assert [run["trials"][0]["sequences"] for run in row["runs"]] == [3, 3]
    met = {
        "row": "1-rtrl-3",
        "claims": [{"measure": "sequences", "figure": 5.0}],
        "runs": [{"trials": [{"met": {"": {"sequences": 9}}}]}],
    }
    [axes] = draw([row, met]).axes
    told = {line.get_label() for line in axes.lines if len(line.get_xdata())}
    assert told == {"paper, LSTM", "paper, competitor", "ours, every trial that met it", "ours, not met by then"}
    assert draw([]) is None
