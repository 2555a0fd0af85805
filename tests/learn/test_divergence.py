"""A number that is not finite is named where it begins, and no update is made from it."""

import pytest
import torch
from torch import Tensor, nn

from carousel import Cell
from carousel.learn import BPTT, Diverged
from carousel.learn.learner import StepLoss
from tiny import RunningMean, network

TASK = RunningMean()


class Powers(Cell):
    """h = w h' with h(0) = 1: overflows float32 at a step that the weight sets."""

    input_size, output_size = 1, 1

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w]))

    def initial_state(self) -> Tensor:
        return self.w.new_ones(1)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = self.w * state + 0 * x
        return h, h


def train(cell: Cell, loss: StepLoss = TASK.loss, window: int | None = None, **change: Tensor) -> None:
    batch = TASK.sample(4, torch.Generator().manual_seed(1), steps=8)
    for name, value in change.items():
        getattr(batch, name).copy_(value)
    generator = torch.Generator().manual_seed(2)
    BPTT(window=window).train_on(cell, batch, loss, torch.optim.SGD(cell.parameters(), 1e-30), generator=generator)


@pytest.mark.parametrize("window", [None, 3])
def test_the_first_bad_state_is_named(window: int | None) -> None:
    cell = Powers(1e10)  # 1e10 ** 4 is past float32: the fourth step, number 3
    long = torch.full((4,), 8)
    with pytest.raises(Diverged, match="the loss is inf: state is first not finite at time step 3 of sequence 0; try"):
        train(cell, lambda y, target: y.sum(), window, lengths=long, mask=torch.ones(8, 4, dtype=torch.bool))
    assert float(cell.w.detach()) == pytest.approx(1e10)


def test_a_bad_input_is_named() -> None:
    inputs = torch.zeros(8, 4, 1)
    inputs[2, 1] = torch.nan
    with pytest.raises(Diverged, match="input is first not finite at time step 2 of sequence 1"):
        train(network(), inputs=inputs, lengths=torch.full((4,), 8), mask=torch.ones(8, 4, dtype=torch.bool))


def test_a_field_of_a_state_is_named() -> None:
    cell = network(zoneout_h=0.2)
    with torch.no_grad():
        cell.readout.weight[0, 0] = torch.inf
    with pytest.raises(Diverged, match=r"parameter readout\.weight is not finite; try a smaller rate"):
        train(cell)


def test_a_bad_loss_is_named() -> None:
    with pytest.raises(Diverged, match="loss is first not finite at time step 0 of sequence 0"):
        train(network(), lambda y, target: (y - y).sum().log())


def test_a_bad_gradient_is_named_and_not_used() -> None:
    cell = network()
    before = [parameter.detach().clone() for parameter in cell.parameters()]
    with pytest.raises(Diverged, match=r"the gradient of parameter .* is not finite"):
        train(cell, lambda y, target: (y - y.detach()).sum().abs().sqrt())
    assert all(map(torch.equal, before, cell.parameters()))
