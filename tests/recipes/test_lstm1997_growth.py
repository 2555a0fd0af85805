"""Blocks that come later: until then as if they were not there, from then on with the weights drawn for them."""

from dataclasses import replace

import pytest
import torch

from carousel.cells import LSTM1997
from carousel.learn import Truncated1997
from carousel.loop import scan
from carousel.recipes.lstm1997 import EXPERIMENTS, run_unit
from carousel.recipes.lstm1997_growth import add_block, has_stopped_decreasing, shut
from carousel.tasks import LongLag, TwoSequences

CASES = {
    "biases": (lambda blocks: LSTM1997(1, 1, blocks=blocks, block_size=2, biases="all"), TwoSequences(8, 4)),
    "simple": (lambda blocks: LSTM1997(6, 6, blocks=blocks, biases="none", simple=True), LongLag(5, "2a")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_network_with_a_shut_block_learns_as_one_without_it(case):
    make, task = CASES[case]
    network, without = make(2), make(1)
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    shut(network, 1)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    N, S = 2, network.block_size
    gates, first = len(network.gated), len(network.gated) * N
    units = [*range(0, first, N), *range(first, first + S)]  # the first block's
    I, K = task.input_size, task.output_size
    columns = [*range(I), *(I + unit for unit in units)] if network.recurrent else list(range(I))
    seen = [*range(network.V.shape[1] - 2 * S), *range(network.V.shape[1] - 2 * S, network.V.shape[1] - S)]

    def part(name, value):
        return {"W": lambda: value[units][:, columns], "V": lambda: value[:, seen], "b": lambda: value[units], "c": lambda: value}[
            name
        ]()

    without.load_state_dict({name: part(name, value) for name, value in start.items()})
    batch = task.sample(40, torch.Generator().manual_seed(0))
    for one in (network, without):
        Truncated1997().train_on(one, batch, task.loss, torch.optim.SGD(one.parameters(), 0.5))
    assert without.V.shape == (K, len(seen))
    assert len(without.W) == gates + S
    for name, value in network.state_dict().items():
        torch.testing.assert_close(part(name, value), without.state_dict()[name])
    assert not torch.equal(network.V, start["V"])
    _, _, states = scan(network, batch.inputs, return_states=True)
    others = [unit for unit in range(network.hidden_size) if unit not in units]
    assert not states.y[..., others].any()

    learned = {name: value.clone() for name, value in network.state_dict().items()}
    full = make(2)
    full.load_state_dict(drawn)
    add_block(full, 1, learned)
    assert torch.equal(learned["W"][others], drawn["W"][others])
    for name, value in learned.items():
        assert torch.equal(part(name, value), part(name, network.state_dict()[name]))


def test_when_an_error_has_stopped_decreasing():
    assert not has_stopped_decreasing([0.5])
    assert not has_stopped_decreasing([0.5, 0.49])
    assert has_stopped_decreasing([0.5, 0.3, 0.299])
    assert has_stopped_decreasing([0.5, 0.6])


def test_trials_add_blocks_where_learning_stops(monkeypatch):
    """A lag too long for a few hundred sequences: the error does not fall, so both blocks that were shut come."""
    experiment = replace(EXPERIMENTS["3a-100-1"], starts_with=1, trials=2, every=20)
    monkeypatch.setitem(EXPERIMENTS, "growing", experiment)
    entry = run_unit("growing", 0, budget=200)
    for trial in entry["trials"]:
        assert len(trial["blocks added after"]) == 2
        assert all(count % 20 == 0 for count in trial["blocks added after"])
