"""What the tasks of binary vectors share: drawing, lengths, the seed, scores by brute force, refusals."""

import math

import pytest
import torch
from matplotlib.figure import Figure

from carousel.errors import InputError
from carousel.tasks import TASKS, AssociativeRecall, Copy, DynamicNGrams, PrioritySort, RepeatCopy
from carousel.tasks.binary import BinaryTask

BEYOND = {
    "copy": {"length": 120},
    "repeat-copy": {"length": 20, "repeats": 20},
    "associative-recall": {"items": 20},
    "dynamic-n-grams": {"length": 300},
    "priority-sort": {"vectors": 40, "answers": 32},
}

BINARY = [name for name, task in TASKS.items() if issubclass(task, BinaryTask)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", BINARY)
def test_the_seed_decides(name):
    task = TASKS[name]()
    before = torch.get_rng_state()
    first, same, other = (task.sample(5, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.inputs, same.inputs)
    assert torch.equal(first.targets, same.targets)
    assert not torch.equal(first.targets, other.targets)


@pytest.mark.parametrize("name", BINARY)
def test_lengths_beyond_training(name):
    batch = TASKS[name]().sample(2, generator(), **BEYOND[name])
    shown = {"copy": 121, "repeat-copy": 21, "associative-recall": 20 * 4 + 5, "dynamic-n-grams": 0, "priority-sort": 41}
    answers = {"copy": 120, "repeat-copy": 401, "associative-recall": 3, "dynamic-n-grams": 300, "priority-sort": 32}
    assert batch.mask.sum(0).tolist() == [answers[name]] * 2
    assert batch.steps == shown[name] + answers[name]


@pytest.mark.parametrize("name", BINARY)
def test_lengths_are_drawn_from_their_ranges(name):
    """Every length of the ranges comes up, and none besides."""
    task = TASKS[name]()
    asked = []
    if name == "dynamic-n-grams":
        assert task.sample(3, generator()).lengths.tolist() == [200] * 3
        return
    sequence = task.sequence
    task.sequence = lambda generator, **lengths: asked.append(lengths) or sequence(generator, **lengths)
    task.sample(400, generator())
    for length, (low, high) in task.ranges.items():
        assert {lengths[length] for lengths in asked} == set(range(low, high + 1))


@pytest.mark.parametrize("name", BINARY)
def test_nothing_is_shown_while_an_answer_is_asked_for(name):
    if name == "dynamic-n-grams":
        return
    batch = TASKS[name]().sample(6, generator())
    assert not batch.inputs[batch.mask].any()
    for b in range(6):  # the answer is the end of the sequence
        length, answer = int(batch.lengths[b]), int(batch.mask[:, b].sum())
        assert batch.mask[length - answer : length, b].all()
        assert not batch.targets[: length - answer, b].any()


@pytest.mark.parametrize("name", BINARY)
def test_scores_by_brute_force(name):
    task = TASKS[name]()
    batch = task.sample(4, generator())
    outputs = torch.randn(batch.targets.shape, generator=generator(1)) * 3
    bits, wrong = [], []
    for b in range(4):
        bits.append(0.0)
        wrong.append(0)
        for t in range(batch.steps):
            for y, target in zip(outputs[t, b].tolist(), batch.targets[t, b].tolist(), strict=True):
                if batch.mask[t, b]:
                    p = 1 / (1 + math.exp(-y))
                    bits[-1] -= math.log2(p if target else 1 - p)
                    wrong[-1] += (p > 0.5) != (target == 1)
    assert task.bits(outputs, batch).tolist() == pytest.approx(bits, rel=1e-5)
    assert task.wrong_bits(outputs, batch).tolist() == wrong
    score = task.score(outputs, batch)
    assert score["bits"] == pytest.approx(sum(bits) / 4, rel=1e-5)
    if name != "dynamic-n-grams":
        assert score["wrong bits"] == sum(wrong) / 4


def test_right_answers_score_nothing():
    task = Copy()
    batch = task.sample(4, generator())
    assert task.score(100 * (batch.targets - 0.5), batch) == {"bits": pytest.approx(0, abs=1e-9), "wrong bits": 0, "perfect": 100}


def test_the_loss_is_the_bits_in_nats():
    task = Copy(bits=3)
    y, target = torch.tensor([0.5, -2.0, 3.0]), torch.tensor([1.0, 0.0, 0.0])
    expected = math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(-2.0)) + math.log(1 + math.exp(3.0))
    assert float(task.loss(y, target)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("answered", [False, True])
def test_a_sample_can_be_drawn(name, answered):
    task = TASKS[name]()
    batch = task.sample(2, generator())
    figure = task.draw(batch, torch.zeros_like(batch.targets) if answered else None)
    assert isinstance(figure, Figure)
    if name == "dynamic-n-grams":
        assert len(figure.axes[0].lines) == (3 if answered else 2)
    else:
        assert [axes.get_ylabel() for axes in figure.axes] == ["input", "target", *(["output", "error"] if answered else [])]
        steps = int(batch.lengths[0])
        assert figure.axes[0].images[0].get_array().shape == (task.input_size, steps)


@pytest.mark.parametrize(
    ("task", "lengths", "message"),
    [
        (Copy(), {"lenght": 3}, "Copy: no length 'lenght', expected one of: length"),
        (Copy(), {"length": 0}, "Copy: expected length of at least 1, got 0"),
        (RepeatCopy(), {"items": 3}, "RepeatCopy: no length 'items', expected one of: length, repeats"),
        (AssociativeRecall(), {"items": 1}, "AssociativeRecall: expected items of at least 2, got 1"),
        (PrioritySort(), {"vectors": 10}, "PrioritySort: expected at most as many answers as vectors, got 16 of 10"),
        (DynamicNGrams(), {"steps": 3}, "DynamicNGrams: no length 'steps', expected one of: length"),
    ],
)
def test_lengths_that_cannot_be(task, lengths, message):
    with pytest.raises(InputError, match=message):
        task.sample(2, generator(), **lengths)
