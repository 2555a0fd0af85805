"""Weight guessing: against drawing one network after the other by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from carousel import Batch, Cell, Stack, scan
from carousel.cells import LSTM, FullyRecurrent, LearnedStart
from carousel.errors import InputError
from carousel.learn import WeightGuessing


def first_sign(B: int = 8, seed: int = 0) -> Batch:
    """The sign of the first input, asked for at the end; lengths differ."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, 9, (B,), generator=draw)
    inputs = 0.1 * torch.randn(8, B, 1, generator=draw)
    sign = (torch.arange(B) % 2).float()
    inputs[0, :, 0] = 2 * sign - 1
    mask = torch.arange(8)[:, None] == lengths - 1
    return Batch(inputs, sign[None, :, None].expand(8, B, 1), mask, lengths)


def wrong(outputs: Tensor, batch: Batch) -> Tensor:
    return (((outputs - batch.targets).abs() > 0.4)[..., 0] & batch.mask).any(0)


def network() -> FullyRecurrent:
    torch.manual_seed(0)
    return FullyRecurrent(1, 2, output_size=1)


def one_by_one(cell: Cell, batch: Batch, low: float, high: float, generator: torch.Generator) -> int:
    size = sum(parameter.numel() for parameter in cell.parameters())
    for trial in range(1, 10_000):
        with torch.no_grad():
            nn.utils.vector_to_parameters(low + (high - low) * torch.rand(size, generator=generator), cell.parameters())
            outputs, _ = scan(cell, batch.inputs, lengths=batch.lengths, backend="eager")
        if not wrong(outputs, batch).any():
            return trial
    raise AssertionError("no network was right")


@pytest.mark.parametrize("population", [1, 7, 256])
def test_the_first_right_network_is_that_of_guessing_one_by_one(population: int) -> None:
    batch, cell, other = first_sign(), network(), network()
    expected = one_by_one(other, batch, -10, 10, torch.Generator().manual_seed(2))
    assert expected > 3
    guess = WeightGuessing(-10, 10, population=population).guess(
        cell, batch, wrong, trials=1000, generator=torch.Generator().manual_seed(2)
    )
    assert guess == (expected, True)
    assert all(map(torch.equal, cell.parameters(), other.parameters()))
    outputs, _ = scan(cell, batch.inputs, lengths=batch.lengths)
    assert not wrong(outputs, batch).any()


def test_a_learned_start_is_guessed_too() -> None:
    torch.manual_seed(0)
    cell: Any = LearnedStart(Stack(LSTM(1, 2), readout=nn.Linear(2, 1)))
    asked = Batch(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool), torch.tensor([1]))
    low, high = 5.0, 6.0
    guess = WeightGuessing(low, high).guess(
        cell, asked, lambda outputs, batch: outputs[0, :, 0] < 0, trials=1, generator=torch.Generator()
    )
    assert guess == (1, True)
    assert all(bool(((low <= parameter) & (parameter <= high)).all()) for parameter in cell.parameters())


def test_it_gives_up_and_leaves_the_network() -> None:
    cell = network()
    guess = WeightGuessing(-1, 1, population=16).guess(
        cell, first_sign(), lambda outputs, batch: batch.mask.any(0), trials=40, generator=torch.Generator()
    )
    assert guess == (40, False)
    assert all(map(torch.equal, cell.parameters(), network().parameters()))


def test_refusals() -> None:
    with pytest.raises(InputError, match="expected low < high, got 1 and 1"):
        WeightGuessing(1, 1)
    with pytest.raises(InputError, match="expected a population of 1 or more, got 0"):
        WeightGuessing(-1, 1, population=0)
    with pytest.raises(InputError, match="expected a network without noise"):
        WeightGuessing(-1, 1).guess(LSTM(1, 1, zoneout_h=0.5), first_sign(), wrong, trials=1, generator=torch.Generator())
