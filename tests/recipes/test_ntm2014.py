"""The Neural Turing Machine's experiments: the networks' sizes, a unit, what is read off a curve, the pictures."""

import json
from dataclasses import replace

import pytest
import torch

from carousel.errors import InputError
from carousel.models import build
from carousel.recipes import RECIPES, load, ntm2014
from carousel.recipes.ntm2014 import EXPERIMENTS, lstm
from carousel.recipes.reproduce import reproduce
from carousel.report.html import write_recipe_report
from carousel.train import Fit

NAMES = [name for name in RECIPES if name.startswith("ntm2014/")]


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [((10, 9, 256), 1_352_969), ((8, 7, 512), 5_312_007), ((8, 6, 256), 1_344_518), ((1, 1, 128), 331_905)],
    ids=["copy", "repeat-copy", "associative-recall", "dynamic-n-grams"],
)
def test_the_lstm_has_the_parameters_of_the_paper_s_table(sizes, parameters):
    assert sum(parameter.numel() for parameter in lstm(*sizes).parameters()) == parameters


def test_the_settings_are_those_of_the_paper_s_tables():
    """Heads, units, rate of the networks with a memory; units of the LSTM. The rate is of one sequence an update."""
    tables = {
        "copy": ((1, 100, 1e-4), (1, 100, 1e-4), (256, 3e-5)),
        "repeat-copy": ((1, 100, 1e-4), (1, 100, 1e-4), (512, 3e-5)),
        "associative-recall": ((4, 256, 1e-4), (1, 100, 1e-4), (256, 1e-4)),
        "dynamic-n-grams": ((1, 100, 3e-5), (1, 100, 3e-5), (128, 1e-4)),
        "priority-sort": ((8, 512, 3e-5), (5, 100, 3e-5), (128, 3e-5)),
    }
    assert set(tables) == set(EXPERIMENTS)
    for name, (feedforward, recurrent, baseline) in tables.items():
        task, models = EXPERIMENTS[name].task, EXPERIMENTS[name].models
        for row, (heads, units, rate) in (("ntm-ff", feedforward), ("ntm-lstm", recurrent)):
            cell = models[row].make(task.input_size, task.output_size)
            assert (cell.read_heads, cell.write_heads, cell.to_read.in_features, cell.N, cell.M) == (heads, heads, units, 128, 20)
            assert models[row].rate == pytest.approx(rate * models[row].batch_size ** 0.5)
            layers = cell.controller.cells if row == "ntm-lstm" else cell.controller[::2]
            assert len(layers) == (2 if (name, row) == ("priority-sort", "ntm-lstm") else 1)
        units, rate = baseline
        assert models["lstm"].make(task.input_size, task.output_size).cell.readout.in_features == 3 * units
        assert models["lstm"].rate == pytest.approx(rate * models["lstm"].batch_size ** 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_recipes_and_experiments_fit(name):
    recipe, experiment = load(name), EXPERIMENTS[name.removeprefix("ntm2014/")]
    assert recipe.name == name
    best = ["ntm-lstm-best"] if name == "ntm2014/priority-sort" else ["ntm-lstm-best", "ntm-ff-best"]
    assert [row.name for row in recipe.rows] == ["ntm-lstm", "ntm-ff", "lstm", *best]
    assert experiment.heads in experiment.shown
    assert set(experiment.paper) <= set(experiment.models)


def small(monkeypatch, name):
    """The experiment with few and short sequences and small networks."""
    experiment = EXPERIMENTS[name]
    tiny = {
        "ntm-lstm": lambda i, o: ntm2014.NTM(i, o, 8, N=12, M=4),
        "ntm-ff": lambda i, o: ntm2014.NTM(i, o, 8, controller="feedforward", N=12, M=4, read_heads=2, write_heads=2),
        "lstm": lambda i, o: lstm(i, o, 4),
    }
    tiny |= {row + ntm2014.BEST: tiny[row] for row in ("ntm-lstm", "ntm-ff")}
    models = {row: replace(training, make=tiny[row], batch_size=4) for row, training in experiment.models.items()}
    monkeypatch.setitem(EXPERIMENTS, name, replace(experiment, models=models, by=(8, 1000)))
    monkeypatch.setattr(ntm2014, "FRESH", 4)
    monkeypatch.setattr(ntm2014, "BEYOND", 2)
    monkeypatch.setattr(ntm2014, "AT_LEAST", 8)
    monkeypatch.setattr(type(experiment.task), "validation", lambda task: task.sample(3, torch.Generator().manual_seed(1)))
    return load(f"ntm2014/{name}")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_unit_and_the_report(name, monkeypatch, tmp_path):
    recipe, experiment = small(monkeypatch, name), EXPERIMENTS[name]
    rows = []
    for row in recipe.rows:
        if row.name.endswith(ntm2014.BEST) and name != "copy":
            continue  # trained like the others
        unit = recipe.run_unit(row.name, 0, budget=16)
        assert json.loads(json.dumps(unit)) == unit
        assert (unit["seed"], unit["sequences"]) == (0, 16)
        assert [sequences for sequences, _ in unit["curve"]] == [8, 16]
        measures = unit["measures"]
        assert "bits by 0k" in measures  # by 8 sequences; 1000 were never reached
        assert "bits by 1k" not in measures
        assert {f"bits at {test}" for test in experiment.beyond} <= set(measures)
        assert ("heads" in unit["picture"]) == (row.name != "lstm")
        summary = {measure: {"n": 1, "mean": value, "min": value, "max": value} for measure, value in measures.items()}
        merged = {"recipe": recipe.name, "row": row.name, "runs": [unit], "summary": summary, "met": {}, "deviations": []}
        rows.append(merged | {"claims": [], "goals": []})
    html = write_recipe_report(recipe, rows, tmp_path / "report.html").read_text()
    assert html.count("<svg") == 4  # curves, answers or predictions, heads, spread
    for title in recipe.pictures:
        assert title in html
    without = [row | {"runs": [{key: value for key, value in row["runs"][0].items() if key != "picture"}]} for row in rows]
    assert write_recipe_report(recipe, without, tmp_path / "report.html").read_text().count("<svg") == 2


def test_a_unit_repeats_and_only_the_first_seed_has_a_picture(monkeypatch):
    recipe = small(monkeypatch, "associative-recall")
    first, again, other = (recipe.run_unit("ntm-lstm", seed, budget=16) for seed in (0, 0, 1))
    assert first | {"seconds": 0} == again | {"seconds": 0}
    assert "picture" not in other
    assert other["curve"] != first["curve"]


def test_figures_by_so_many_sequences_are_of_the_best_weights_until_then():
    values = {1000: (5.0, 1.0), 2000: (3.0, 2.0), 3000: (4.0, 0.5), 4000: (1.0, 0.0)}
    history = [
        {"sequences": sequences, "split": "validation", "name": name, "value": value}
        for sequences, both in values.items()
        for name, value in zip(("bits", "wrong bits"), both, strict=True)
    ]
    trained = Fit(build("lstm", 1, 1), {}, history, 4000, 0.0, "budget")
    assert ntm2014.by_figures(trained, (3500, 4000, 5000)) == {
        "bits by 3k": 3.0,
        "wrong bits by 3k": 2.0,
        "bits by 4k": 1.0,
        "wrong bits by 4k": 0.0,
    }


def test_a_budget_is_for_recipes_that_train():
    with pytest.raises(InputError, match="recipe error-flow: its units have no budget to choose; leave it out"):
        reproduce("error-flow", budget=5)
    with pytest.raises(InputError, match="expected budget of at least 1, got 0"):
        reproduce("ntm2014/copy", budget=0)
