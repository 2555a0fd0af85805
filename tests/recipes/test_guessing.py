"""Guessing: the networks against their equations and by hand, units that repeat, the rows and the picture."""

import json

import numpy as np
import pytest
import torch

from carousel import scan
from carousel.cli import main
from carousel.recipes import guessing, load
from carousel.recipes.guessing import GUESSED, LIMITS, RECIPE, HiddenAndOutput, a1, a2, draw_trials, held_bit, run_unit
from carousel.tasks import Latch, Parity


def filled(cell, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return cell.double()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@pytest.mark.parametrize("backend", ["eager", "native"])
@pytest.mark.parametrize("name", ["a1", "a2", "a2-no-self"])
def test_the_networks_are_their_equations(name, backend):
    cell, f = {"a1": (a1(), np.tanh), "a2": (a2(), sigmoid), "a2-no-self": (a2(own=False), sigmoid)}[name]
    filled(cell)
    x = torch.randn(6, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = scan(cell, x, backend=backend)
    p = {key: value.detach().numpy() for key, value in cell.named_parameters()}
    n = len(p["w"])
    h, y = np.zeros(n), 0.0
    for t in range(6):
        old, number = h, x[t, 0, 0].item()
        h = np.array(
            [f(p["w"][k] * number + p["u"][k] * y + p["b"][k] + (p["r"][k] * old[k] if "r" in p else 0)) for k in range(n)]
        )
        net = p["V"][0, 0] * number + p["V"][0, 1 : n + 1] @ h + p["V"][0, n + 1]
        if name == "a1":
            net += p["V"][0, n + 2] * y
        y = sigmoid(net)
        assert outputs[t, 0, 0].item() == pytest.approx(y, rel=1e-12)


def test_the_numbers_of_weights():
    counts = {name: sum(p.numel() for p in one.network().parameters()) for name, one in GUESSED.items()}
    assert counts["latch-2"] == 3
    assert (counts["parity-a1"], counts["parity-a2"], counts["parity-a2-no-self"]) == (8, 52, 42)


def test_parity_is_there_to_be_found_by_hand():
    """h1 = "input or output before", h2 = "input and output before": the exclusive or is the one without the other."""
    cell = HiddenAndOutput(2, torch.sigmoid, own=False)
    with torch.no_grad():
        cell.w.copy_(torch.tensor([50.0, 50.0]))
        cell.u.copy_(torch.tensor([100.0, 100.0]))
        cell.b.copy_(torch.tensor([0.0, -100.0]))
        cell.V.copy_(torch.tensor([[0.0, 60.0, -90.0, -30.0]]))
    task = Parity()
    batch = task.halves(torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs, _ = scan(cell, batch.inputs, lengths=batch.lengths)
    assert not task.wrong(outputs, batch).any()


def test_the_network_of_the_first_latch():
    cell = held_bit()
    with torch.no_grad():
        cell.V.fill_(9)
        cell.V[0, 0], cell.V[0, 1], cell.V[0, 3] = 3, -2, 5
    assert cell.W.tolist() == [[3, -2, 1, 5, 0]]  # the noise as it is, no bias
    task = Latch("I")
    batch = task.halves(torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs, _ = scan(cell, batch.inputs, lengths=batch.lengths)
    assert not task.wrong(outputs, batch).any()


@pytest.mark.parametrize("row", ["latch-1", "parity-a2-no-self-tanh"])
def test_a_unit_repeats(row):
    entry = run_unit(row, 1)
    assert json.loads(json.dumps(entry)) == entry
    assert entry["solved"]
    assert entry["measures"]["solved"] == 100
    assert entry["measures"]["trials"] >= 1
    assert entry["measures"]["wrong of 100"] <= 5
    assert run_unit(row, 1)["measures"] == entry["measures"]
    # A budget of one trial fewer does not find it.
    assert run_unit(row, 1, budget=entry["measures"]["trials"])["solved"]
    if entry["measures"]["trials"] > 1:
        failed = run_unit(row, 1, budget=entry["measures"]["trials"] - 1)
        assert not failed["solved"]
        assert failed["measures"] == {"solved": 0}


@pytest.mark.parametrize(("limit", "weights"), [("parity-lstm1997", 102), ("delayed-xor-lstm1997", 111)])
def test_the_limits_of_lstm_in_short(limit, weights):
    entry = run_unit(limit, "rate-1", budget=20)
    assert entry["seed"] == "rate-1"
    assert entry["measures"] == {"solved": 0}
    assert len(entry["trials"]) == 10
    experiment = guessing.lstm(LIMITS[limit], 0.5)
    assert experiment.rate == 0.5
    assert sum(parameter.numel() for parameter in experiment.network().parameters()) == weights


def test_the_rows():
    assert load("guessing") is RECIPE
    rows = {row.name: row for row in RECIPE.rows}
    assert rows["parity-a1"].claims[0].figure == 2906
    assert rows["parity-a1"].goals[1].at_most == 3 * 2906
    assert len(rows["latch-1"].units) == 40
    assert not rows["parity-a2-tanh"].claims
    assert rows["parity-lstm1997"].goals[0].at_most == 0


@pytest.mark.long  # starts a process
def test_a_row_by_its_command(tmp_path, capsys):
    assert main(["reproduce", "guessing/latch-1", "--seeds", "3", "--out", str(tmp_path), "--processes", "1"]) == 0
    row = json.loads((tmp_path / "guessing" / "latch-1.json").read_text())
    assert row["all_met"]
    assert row["summary"]["trials"]["n"] == 3
    assert "latch-1" in capsys.readouterr().out
    assert "Networks guessed until one was right" in (tmp_path / "guessing" / "report.html").read_text()


def test_the_picture():
    found = [{"measures": {"solved": 100.0, "trials": trials}} for trials in (2, 4, 9)]
    guessed = {"row": "latch-1", "claims": [{"figure": 6}], "runs": found, "summary": {"solved": {"mean": 100.0}}}
    failed = {"measures": {"solved": 0.0}, "trials": [{"seed": n, "sequences": 300, "met": {}} for n in range(10)]}
    limit = {"row": "parity-lstm1997", "claims": [], "runs": [failed], "summary": {"solved": {"mean": 0.0}}}
    figure = draw_trials([guessed, limit])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["latch-1", "parity-lstm1997"]
    assert [line.get_label() for line in axes.lines] == ["paper, mean", "ours, every search", "ours, mean", "not learned by then"]
    paper, every, mean, learned = (line.get_xdata() for line in axes.lines)
    assert list(paper) == [6]
    assert list(every) == [2, 4, 9]
    assert list(mean) == [5]
    assert list(learned) == [300] * 10
    assert [text.get_text() for text in axes.texts] == ["100 %", "0 %"]
    assert draw_trials([]) is None
