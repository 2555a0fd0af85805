"""BPTT: its gradient against PyTorch by hand, its windows, its clipping."""

import pytest
import torch
from torch import Tensor

from carousel import Batch, Stack, scan
from carousel.errors import InputError
from carousel.learn import BPTT, objective
from tiny import RunningMean, network


def batch(seed: int = 5, B: int = 5, steps: int = 9) -> Batch:
    return RunningMean().sample(B, torch.Generator().manual_seed(seed), steps=steps)


def gradients(cell: Stack) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in cell.parameters()]


def trained(learner: BPTT, given: Batch, rate: float = 0.1) -> tuple[Stack, Tensor]:
    cell = network()
    value, _, _ = learner.train_on(cell, given, RunningMean().loss, torch.optim.SGD(cell.parameters(), rate))
    return cell, value


def test_objective_is_the_masked_sum_over_time_and_the_mean_over_sequences() -> None:
    given = batch()
    outputs = torch.randn_like(given.targets)
    expected = 0.0
    for b in range(given.size):
        for t in range(given.steps):
            if given.mask[t, b]:
                expected += float((outputs[t, b] - given.targets[t, b]) ** 2) / given.size
    assert float(objective(outputs, given, RunningMean().loss)) == pytest.approx(expected, rel=1e-5)


def test_targets_that_do_not_count_may_be_nan() -> None:
    given = batch()
    targets = torch.where(given.mask[..., None], given.targets, torch.nan)
    outputs = torch.randn_like(targets, requires_grad=True)
    objective(outputs, Batch(given.inputs, targets, given.mask, given.lengths), RunningMean().loss).backward()
    assert torch.isfinite(outputs.grad).all()


def test_full_makes_one_step_along_the_gradient() -> None:
    given, cell = batch(), network()
    before = [parameter.detach().clone() for parameter in cell.parameters()]
    outputs, _ = scan(cell, given.inputs, lengths=given.lengths)
    value = ((outputs - given.targets).square()[..., 0] * given.mask).sum() / given.size
    expected = torch.autograd.grad(value, list(cell.parameters()))

    after, loss = trained(BPTT(), given)
    torch.testing.assert_close(loss, value.detach())
    for start, end, g in zip(before, after.parameters(), expected, strict=True):
        torch.testing.assert_close(end.detach(), start - 0.1 * g)


def test_what_is_frozen_stays_though_it_has_a_gradient_from_before() -> None:
    given, cell = batch(), network()
    optimizer = torch.optim.SGD(cell.parameters(), 0.1)
    BPTT().train_on(cell, given, RunningMean().loss, optimizer)
    frozen, *rest = cell.parameters()
    frozen.requires_grad_(False)
    before, moved = frozen.clone(), [parameter.detach().clone() for parameter in rest]
    BPTT().train_on(cell, given, RunningMean().loss, optimizer)
    assert torch.equal(frozen, before)
    assert not any(torch.equal(parameter, then) for parameter, then in zip(rest, moved, strict=True))


@pytest.mark.parametrize("window", [9, 10, 100])
def test_a_window_over_everything_is_full(window: int) -> None:
    given = batch()
    (full, full_loss), (cut, cut_loss) = trained(BPTT(), given), trained(BPTT(window=window), given)
    assert torch.equal(full_loss, cut_loss)
    assert all(map(torch.equal, full.parameters(), cut.parameters()))


def test_windows_carry_the_state_and_cut_the_error() -> None:
    """With a rate of nearly nothing the windows' losses are those of one full run, the gradient that of cut pieces."""
    given, cell = batch(), network()
    assert given.mask[8].any()
    optimizer = torch.optim.SGD(cell.parameters(), 1e-30)
    loss, outputs, state = BPTT(window=4).train_on(cell, given, RunningMean().loss, optimizer)
    whole, final = scan(cell, given.inputs, lengths=given.lengths)
    torch.testing.assert_close(outputs, whole.detach())
    torch.testing.assert_close(state, torch.utils._pytree.tree_map(torch.Tensor.detach, final))
    torch.testing.assert_close(loss, objective(whole, given, RunningMean().loss).detach())
    assert not outputs.requires_grad

    last = given.window(8, 12)  # the gradient left is that of the last window, whose state came as a number
    _, state = scan(cell, given.inputs[:8], lengths=given.lengths.clamp(max=8))
    state = torch.utils._pytree.tree_map(torch.Tensor.detach, state)
    value = objective(scan(cell, last.inputs, state, lengths=last.lengths)[0], last, RunningMean().loss)
    for expected, got in zip(torch.autograd.grad(value, list(cell.parameters())), gradients(cell), strict=True):
        torch.testing.assert_close(got, expected)


def test_a_window_in_which_nothing_counts_makes_no_update() -> None:
    given = batch()
    nothing = Batch(given.inputs, given.targets, torch.zeros_like(given.mask), given.lengths)
    cell, loss = trained(BPTT(window=3), nothing)
    assert float(loss) == 0
    assert all(map(torch.equal, cell.parameters(), network().parameters()))


def test_clipping_by_value_and_by_norm() -> None:
    given = batch()
    plain, _ = trained(BPTT(), given)
    free = gradients(plain)
    by_value, _ = trained(BPTT(clip_value=0.01), given)
    for expected, got in zip(free, gradients(by_value), strict=True):
        torch.testing.assert_close(got, expected.clamp(-0.01, 0.01))
    by_norm, _ = trained(BPTT(clip_norm=0.05), given)
    norm = torch.cat([g.flatten() for g in gradients(by_norm)]).norm()
    assert float(torch.cat([g.flatten() for g in free]).norm()) > 0.05
    assert float(norm) == pytest.approx(0.05, rel=1e-3)


def test_every_makes_updates_more_often_than_windows_are_long() -> None:
    """With a rate of nearly nothing, the last gradient is that of the last 2 steps, through 4, by hand."""
    given, cell = batch(steps=8), network()
    given = Batch(given.inputs, given.targets, torch.ones_like(given.mask), torch.full_like(given.lengths, 8))
    optimizer = torch.optim.SGD(cell.parameters(), 1e-30)
    loss, outputs, state = BPTT(window=4, every=2).train_on(cell, given, RunningMean().loss, optimizer)
    whole, final = scan(cell, given.inputs)
    torch.testing.assert_close(outputs, whole.detach())
    torch.testing.assert_close(state, torch.utils._pytree.tree_map(torch.Tensor.detach, final))
    torch.testing.assert_close(loss, objective(whole, given, RunningMean().loss).detach())

    _, state = scan(cell, given.inputs[:4])
    state = torch.utils._pytree.tree_map(torch.Tensor.detach, state)
    outputs, _ = scan(cell, given.inputs[4:], state)
    value = objective(outputs[2:], given.window(6, 8), RunningMean().loss)
    for expected, got in zip(torch.autograd.grad(value, list(cell.parameters())), gradients(cell), strict=True):
        torch.testing.assert_close(got, expected)


def test_every_counts_its_updates() -> None:
    given = batch()
    updates = []
    for every in (1, 3, None):
        cell = network()
        optimizer = torch.optim.SGD(cell.parameters(), 0.1)
        optimizer.register_step_post_hook(lambda *_, every=every: updates.append(every))
        BPTT(window=3, every=every).train_on(cell, given, RunningMean().loss, optimizer)
    counted = given.mask.any(1)
    assert updates.count(1) == int(counted.sum())
    assert updates.count(3) == updates.count(None) == sum(bool(counted[start : start + 3].any()) for start in range(0, 9, 3))


def test_every_as_long_as_the_window_is_a_window() -> None:
    given = batch()
    (one, _), (other, _) = trained(BPTT(window=3), given), trained(BPTT(window=3, every=3), given)
    assert all(map(torch.equal, one.parameters(), other.parameters()))


@pytest.mark.parametrize("options", [{"every": 2}, {"window": 3, "every": 2}, {"window": 2, "every": 4}])
def test_every_must_divide_the_window(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"expected every to divide a window of whole steps, got every={options['every']}"):
        BPTT(**options)


@pytest.mark.parametrize("option", ["window", "every", "clip_norm", "clip_value"])
def test_options_below_one_are_refused(option: str) -> None:
    with pytest.raises(InputError, match=f"expected {option} above 0"):
        BPTT(**{option: 0})


def test_a_window_of_broken_steps_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected window in whole steps or None, got 2\.5"):
        BPTT(window=2.5)


def plain_loss(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().sum()


WEIGHT = 2.0


def weighted_loss(y: Tensor, target: Tensor) -> Tensor:
    return WEIGHT * (y - target).square().sum()


def odd_loss(y: Tensor, target: Tensor) -> Tensor:
    return torch.lgamma(1 + (y - target).square()).sum()


@pytest.mark.parametrize("options", [{}, {"window": 4}, {"window": 4, "every": 2}])
def test_a_plain_loss_becomes_part_of_the_step_and_changes_nothing(options: dict[str, int]) -> None:
    """A method is called at every batch, a plain function with the step; zoneout draws the same noise for both."""
    given, found = batch(), []
    given.targets[~given.mask] = torch.nan
    for loss in (plain_loss, RunningMean().loss):
        cell, learner = network(zoneout_h=0.3), BPTT(**options)
        optimizer, generator = torch.optim.SGD(cell.parameters(), 0.1), torch.Generator().manual_seed(4)
        for _ in range(3):
            value, outputs, state = learner.train_on(cell, given, loss, optimizer, generator=generator)
        assert (learner.fusion_refusal(cell, given, loss) is None) == (loss is plain_loss)
        found.append((value, outputs, state, [parameter.detach() for parameter in cell.parameters()]))
    torch.testing.assert_close(*found)


def test_a_loss_that_may_change_or_cannot_be_compiled_stays_outside_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    given, cell, learner = batch(), network(), BPTT()
    optimizer = torch.optim.SGD(cell.parameters(), 1e-30)
    one, _, _ = learner.train_on(cell, given, weighted_loss, optimizer)
    monkeypatch.setitem(globals(), "WEIGHT", 6.0)
    three, _, _ = learner.train_on(cell, given, weighted_loss, optimizer)
    torch.testing.assert_close(three, 3 * one)

    value, outputs, _ = learner.train_on(cell, given, odd_loss, optimizer)
    assert "lgamma" in learner.fusion_refusal(cell, given, odd_loss)
    torch.testing.assert_close(value, objective(outputs, given, odd_loss))


def test_a_cell_taken_to_evaluation_draws_no_more_noise() -> None:
    given, cell, learner = batch(), network(zoneout_h=0.5), BPTT()
    optimizer = torch.optim.SGD(cell.parameters(), 1e-30)
    learner.train_on(cell, given, plain_loss, optimizer, generator=torch.Generator())
    cell.eval()
    _, outputs, _ = learner.train_on(cell, given, plain_loss, optimizer, generator=torch.Generator())
    torch.testing.assert_close(outputs, scan(cell, given.inputs, lengths=given.lengths)[0].detach())
