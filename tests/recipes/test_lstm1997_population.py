"""Experiment 2c as a population: the same learning as by the rule of 1997, step by step."""

from __future__ import annotations

from dataclasses import replace

import torch

from carousel.cells import LSTM1997
from carousel.learn import stream
from carousel.loop import scan
from carousel.recipes.lstm1997 import EXPERIMENTS, run_unit
from carousel.recipes.lstm1997_population import count_wrong, first_weights, learn
from carousel.recipes.lstm1997_trials import Trial
from carousel.tasks import VeryLongLag

SMALL = replace(
    EXPERIMENTS["2c-50-50-inputs-only"],
    task=VeryLongLag(4, 3),
    network=lambda: LSTM1997(7, 2, blocks=2, biases="none", recurrent=False, bound=0.2, dtype=torch.float64),
    rate=0.5,
    every=5,
    trials=3,
)


def test_weights_are_those_of_the_rule_of_1997():
    trials = [Trial(seed, torch.Generator().manual_seed(seed)) for seed in range(3)]
    columns, V = first_weights(SMALL, trials)
    learn(SMALL, trials, columns, V)
    for seed in range(3):
        torch.manual_seed(seed)
        online = SMALL.rule.cell(SMALL.network(), SMALL.task.loss, SMALL.rate)
        batch = SMALL.task.sample(5, torch.Generator().manual_seed(seed))
        steps = stream(batch)
        steps = steps._replace(input=steps.input.double(), target=steps.target.double())
        learned = scan(online, steps)[1].parameters
        torch.testing.assert_close(columns[seed].T, learned["W"][0], rtol=0, atol=1e-10)
        torch.testing.assert_close(V[seed], learned["V"][0], rtol=0, atol=1e-10)


def test_wrong_answers_are_counted_by_the_papers_tolerance():
    trials = [Trial(0, torch.Generator().manual_seed(0))]
    columns, V = first_weights(SMALL, trials)
    fresh = trials[0].fresh
    assert count_wrong(SMALL.task, columns[0], V[0], 50, fresh) == 50  # all answers are about .5
    assert count_wrong(SMALL.task, columns[0], V[0], 50, fresh, most=0) == 8  # the first few tell
    columns.zero_()
    columns[:, 5:] = torch.tensor([9.0, 9.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)  # gates open at x and y
    columns[:, 5, 4:], columns[:, 6, 4:] = 9.0, -9.0
    V[:] = torch.tensor([[9.0, 9.0], [-9.0, -9.0]])
    assert count_wrong(SMALL.task, columns[0], V[0], 50, fresh) == 0


def test_a_unit_stops_at_its_budget():
    unit = run_unit("2c-50-50-inputs-only", 0, budget=100)
    assert unit["sequences"] == 2000
    assert unit["measures"]["solved"] == 0
