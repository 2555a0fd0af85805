"""Parity, latch, counting and the delayed exclusive or: samples against their definitions, answers by hand."""

import matplotlib.figure
import pytest
import torch

from carousel.errors import InputError
from carousel.tasks import TASKS, Counting, DelayedXOR, Latch, Parity


def drawn(task, B=400, seed=0, **lengths):
    return task.sample(B, torch.Generator().manual_seed(seed), **lengths)


def ends(batch):
    """(B,) the target at each sequence's end."""
    return batch.targets[batch.lengths - 1, torch.arange(batch.size), 0]


@pytest.mark.parametrize("name", ["parity", "latch", "counting", "delayed-xor"])
def test_what_all_have_in_common(name):
    task = TASKS[name]()
    batch, again, other = drawn(task, 40), drawn(task, 40), drawn(task, 40, seed=1)
    assert torch.equal(batch.inputs, again.inputs)
    assert batch.inputs.shape != other.inputs.shape or not torch.equal(batch.inputs, other.inputs)
    step = torch.arange(batch.steps)[:, None]
    assert torch.equal(batch.mask, step == batch.lengths - 1)
    assert not batch.inputs[step >= batch.lengths].any()
    assert isinstance(task.draw(batch, batch.targets), matplotlib.figure.Figure)


@pytest.mark.parametrize("task", [Parity(), Latch("I"), Latch("II")])
def test_sets_are_as_in_the_paper(task):
    batch = task.halves(torch.Generator().manual_seed(0))
    assert batch.size == 100
    assert (ends(batch) == ends(batch).max()).sum() == 50
    assert int(batch.lengths.min()) >= 500
    assert int(batch.lengths.max()) <= 600
    assert len(set(batch.lengths.tolist())) > 40
    assert drawn(task, 3, length=7).lengths.tolist() == [7, 7, 7]


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_parity(noise):
    batch = drawn(Parity(noise))
    for b in range(batch.size):
        numbers = batch.inputs[: int(batch.lengths[b]), b, 0]
        assert float((numbers.abs() - 1).abs().max()) <= noise + 1e-6
        assert float(ends(batch)[b]) == int((numbers > 0).sum()) % 2
    assert float(ends(batch).mean()) == pytest.approx(0.5, abs=0.1)
    inside = torch.arange(batch.steps)[:, None] < batch.lengths
    off = batch.inputs[..., 0][inside].abs() - 1
    assert float(off.var()) == pytest.approx(noise**2 / 3, rel=0.05)
    # The first input, that settles the class, is one of two like any other.
    assert float((batch.inputs[0] > 0).double().mean()) == pytest.approx(0.5, abs=0.1)


def test_parity_by_hand():
    batch = drawn(Parity(), B=64, length=3)
    known = {(-1, -1, -1): 0, (1, -1, -1): 1, (-1, 1, -1): 1, (-1, -1, 1): 1, (1, 1, -1): 0, (1, 1, 1): 1}
    seen = {tuple(batch.inputs[:, b, 0].int().tolist()): int(ends(batch)[b]) for b in range(64)}
    assert len(seen) == 8
    assert {key: seen[key] for key in known} == known
    outputs = batch.targets + 0.09
    outputs[2, 5] += 0.02
    outputs[1, 6] += 1  # not asked for
    assert Parity().wrong(outputs, batch).nonzero().tolist() == [[5]]


@pytest.mark.parametrize("variant", ["I", "II"])
def test_latch(variant):
    task = Latch(variant)
    batch = drawn(task)
    noise = batch.inputs[1:500, :, -1]
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.var()) == pytest.approx(0.2, rel=0.02)
    sign = ends(batch).sign()
    if variant == "I":
        torch.testing.assert_close(ends(batch).abs(), torch.full((400,), 0.8))
        assert torch.equal(batch.inputs[0, :, 0] - batch.inputs[0, :, 1], sign)
        assert not batch.inputs[0, :, 2].any()
        assert not batch.inputs[1:, :, :2].any()
    else:
        assert set(ends(batch).tolist()) == {1, -1}
        assert torch.equal(batch.inputs[0, :, 0], sign)


def test_latch_is_wrong_where_the_answer_falls_short():
    task = Latch("I")
    batch = task.of_classes(torch.tensor([1, 1, 1, 0, 0, 0]), torch.Generator(), length=4)
    outputs = torch.zeros(4, 6, 1)
    outputs[3, :, 0] = torch.tensor([1.0, 0.71, 0.69, -1.0, -0.69, 0.8])
    assert task.wrong(outputs, batch).tolist() == [False, False, True, False, True, True]
    assert task.error(outputs, batch).tolist() == pytest.approx([0, 0.09, 0.11, 0, 0.11, 1.6])


def test_counting():
    batch = drawn(Counting())
    at = batch.inputs[..., 0].argmax(0)
    assert (batch.inputs.sum(0) == 1).all()
    since = batch.lengths - 1 - at
    assert torch.equal(ends(batch), (since == 100).to(torch.float32))
    assert set(since.tolist()) == {99, 100}
    assert set(at.tolist()) == set(range(10))
    short = drawn(Counting(), near=3, far=11)
    assert set((short.lengths - 1 - short.inputs[..., 0].argmax(0)).tolist()) == {3, 11}
    outputs = (batch.targets - 0.19).abs()
    outputs[batch.lengths[7] - 1, 7] = 0.5
    assert Counting().wrong(outputs, batch).nonzero().tolist() == [[7]]


def test_delayed_xor():
    batch = drawn(DelayedXOR(50), B=1000)
    assert set(batch.lengths.tolist()) == set(range(50, 56))
    seen, pairs = [set(), set()], set()
    for b in range(batch.size):
        marked = batch.inputs[:, b, 1].nonzero()[:, 0].tolist()
        assert len(marked) == 2
        first, second = (int(batch.inputs[t, b, 0]) for t in marked)
        assert float(ends(batch)[b]) == (first != second)
        pairs.add((first, second))
        for place, t in zip(seen, marked, strict=True):
            place.add(t)
    assert seen == [set(range(5)), set(range(25, 30))]
    assert pairs == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    noise = batch.inputs[:50, :, 0][batch.inputs[:50, :, 1] == 0]
    assert float(noise.var()) == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DelayedXOR(9), "DelayedXOR: expected T of at least 10, got 9"),
        (lambda: Parity(-0.1), "Parity: expected noise of at least 0, got -0.1"),
        (lambda: Latch("III"), "Latch: expected variant to be one of I, II, got 'III'"),
        (lambda: Latch("I", -1), "Latch: expected variance of at least 0, got -1"),
        (lambda: Counting(5, 5), "Counting: expected 1 <= near < far, got 5 and 5"),
        (lambda: drawn(Counting(), far=3), "Counting: expected 1 <= near < far, got 99 and 3"),
        (lambda: drawn(Counting(), length=9), "Counting: no length 'length', expected 'near' or 'far'"),
        (lambda: drawn(Parity(), length=0), "Parity: expected length of at least 1, got 0"),
        (lambda: drawn(Latch(), steps=9), "Latch: no length 'steps', expected 'length'"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()
