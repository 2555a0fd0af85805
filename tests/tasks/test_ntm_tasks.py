"""The five tasks of the Neural Turing Machine, each with a sequence written out by hand, and what its answer must be."""

import math
from itertools import pairwise

import pytest
import torch

from carousel.tasks import AssociativeRecall, Copy, DynamicNGrams, PrioritySort, RepeatCopy, binary


@pytest.fixture
def bits(monkeypatch):
    """Random bits become those that a test lays down."""

    def lay_down(task, rows):
        def laid(count, columns, generator):
            assert (count, columns) == (len(rows), len(rows[0]))
            return torch.tensor(rows, dtype=torch.float32)

        monkeypatch.setattr(f"carousel.tasks.{task}.random_bits", laid)

    return lay_down


def one(task, **lengths):
    """One sequence as lists: inputs and targets of every step, and the steps at which an answer is asked for."""
    batch = task.sample(1, torch.Generator().manual_seed(0), **lengths)
    asked = [t for t in range(batch.steps) if batch.mask[t, 0]]
    return batch.inputs[:, 0].tolist(), batch.targets[:, 0].tolist(), asked


def test_copy_by_hand(bits):
    bits("copy", [[1, 0, 0], [0, 1, 1]])
    inputs, targets, asked = one(Copy(bits=3), length=2)
    assert inputs == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert targets == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert asked == [3, 4]
    assert (Copy().input_size, Copy().output_size, Copy().ranges) == (9, 8, {"length": (1, 20)})


def test_repeat_copy_by_hand(bits):
    bits("repeat_copy", [[1, 0], [1, 1]])
    inputs, targets, asked = one(RepeatCopy(bits=2), length=2, repeats=3)
    count = (3 - 5.5) / math.sqrt(8.25)
    zeros = [0, 0, 0, 0]
    assert inputs[:2] == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert inputs[2] == pytest.approx([0, 0, 1, count])
    assert inputs[3:] == [zeros] * 7
    assert targets == [[0, 0, 0]] * 3 + [[1, 0, 0], [1, 1, 0]] * 3 + [[0, 0, 1]]
    assert asked == [3, 4, 5, 6, 7, 8, 9]
    assert (RepeatCopy().input_size, RepeatCopy().output_size) == (8, 7)
    assert RepeatCopy().ranges == {"length": (1, 10), "repeats": (1, 10)}


def test_the_end_of_repeats_is_scored():
    task = RepeatCopy()
    batch = task.sample(4, torch.Generator().manual_seed(0))
    outputs = batch.targets - 0.5
    assert task.score(outputs, batch)["right end"] == 100
    late, early, wrong_bit = (outputs.clone() for _ in range(3))
    end = int(batch.lengths[0]) - 1
    late[end, 0, -1] = -1
    early[end - 1, 0, -1] = 1
    wrong_bit[end - 1, 0, 0] *= -1
    assert [task.score(given, batch)["right end"] for given in (late, early, wrong_bit)] == [75, 75, 100]


def test_the_number_of_repeats_is_normalised():
    task = RepeatCopy(most=7)
    counts = [one(task, length=1, repeats=repeats)[0][1][-1] for repeats in range(1, 8)]
    assert sum(counts) == pytest.approx(0, abs=1e-6)
    assert sum(count**2 for count in counts) / 7 == pytest.approx(1)
    assert len({round(after - before, 5) for before, after in pairwise(counts)}) == 1


def test_associative_recall_by_hand(bits):
    bits("associative_recall", [[1, 0], [0, 1], [1, 1], [0, 0]])
    inputs, targets, asked = one(AssociativeRecall(bits=2, vectors=2), items=2)
    item, query = [0, 0, 1, 0], [0, 0, 0, 1]
    first, second = [[1, 0, 0, 0], [0, 1, 0, 0]], [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert inputs == [item, *first, item, *second, query, *first, query, [0] * 4, [0] * 4]
    assert targets == [[0, 0]] * 10 + [[1, 1], [0, 0]]
    assert asked == [10, 11]
    task = AssociativeRecall()
    assert (task.input_size, task.output_size, task.ranges) == (8, 6, {"items": (2, 6)})


def test_associative_recall_asks_for_the_item_after_the_query():
    task = AssociativeRecall()
    queried = set()
    for seed in range(40):
        batch = task.sample(1, torch.Generator().manual_seed(seed), items=5)
        inputs = batch.inputs[:, 0, :6]
        items = [inputs[4 * n + 1 : 4 * n + 4] for n in range(5)]
        (place,) = [n for n, item in enumerate(items) if torch.equal(item, inputs[21:24])]
        queried.add(place)
        assert torch.equal(batch.targets[-3:, 0], items[place + 1])
    assert queried == {0, 1, 2, 3}


def test_priority_sort_by_brute_force():
    task = PrioritySort()
    assert (task.input_size, task.output_size, task.ranges) == (10, 8, {"vectors": (20, 20), "answers": (16, 16)})
    batch = task.sample(3, torch.Generator().manual_seed(0))
    for b in range(3):
        shown = batch.inputs[:20, b].tolist()
        assert all(row[-1] == 0 and -1 <= row[-2] <= 1 for row in shown)
        assert batch.inputs[20, b].tolist() == [0] * 9 + [1]
        left, expected = list(shown), []
        while len(expected) < 16:
            highest = left[0]
            for row in left:
                if row[-2] > highest[-2]:
                    highest = row
            left.remove(highest)
            expected.append(highest[:8])
        assert batch.targets[21:, b].tolist() == expected
    assert (batch.inputs[:20, :, -2] < 0).any()


def test_n_grams_show_the_bit_before():
    task = DynamicNGrams()
    batch = task.sample(3, torch.Generator().manual_seed(0))
    assert (task.input_size, task.output_size, batch.steps) == (1, 1, 200)
    assert not batch.inputs[0].any()
    assert torch.equal(batch.inputs[1:], batch.targets[:-1])
    assert batch.mask.all()


def test_n_grams_follow_a_table_of_their_own():
    """What follows a context is drawn with one probability in a sequence, and over sequences these are Beta(1/2, 1/2)."""
    batch = DynamicNGrams(context=1).sample(2000, torch.Generator().manual_seed(0), length=200)
    bits = batch.targets[:, :, 0]
    after_one = bits[:-1] == 1
    share = (bits[1:] * after_one).sum(0) / after_one.sum(0)
    share = share[after_one.sum(0) >= 30]
    # Of Beta(1/2, 1/2): half lies outside [0.1464, 0.8536], the mean is 1/2.
    assert float(((share < 0.1464) | (share > 0.8536)).float().mean()) == pytest.approx(0.5, abs=0.06)
    assert float(bits[0].mean()) == pytest.approx(0.5, abs=0.05)
    # Both halves of a sequence tell the same probability.
    halves = ((bits[1:101], bits[:100]), (bits[101:], bits[100:-1]))
    first, second = ((bit * before).sum(0) / before.sum(0).clamp(min=1) for bit, before in halves)
    often = (halves[0][1].sum(0) > 30) & (halves[1][1].sum(0) > 30)
    assert float(torch.corrcoef(torch.stack([first[often], second[often]]))[0, 1]) > 0.9


def test_the_optimum_by_brute_force():
    task = DynamicNGrams(context=2)
    batch = task.sample(3, torch.Generator().manual_seed(0), length=40)
    optimum = torch.sigmoid(task.optimum(batch))[:, :, 0]
    for b in range(3):
        bits = batch.targets[:, b, 0].tolist()
        for t in range(40):
            if t < 2:
                assert float(optimum[t, b]) == 0.5
                continue
            seen = [bits[s] for s in range(2, t) if bits[s - 2 : s] == bits[t - 2 : t]]
            ones = sum(seen)
            assert float(optimum[t, b]) == pytest.approx((ones + 0.5) / (len(seen) + 1), rel=1e-6)


def test_no_prediction_does_better_than_the_optimum():
    """127.98 bits for the 195 predictions after a whole context, and a bit for each of the 5 before: 133 in the paper."""
    task = DynamicNGrams()
    batch = task.validation()
    optimum = task.optimum(batch)
    assert batch.size == 1000
    score = task.score(optimum, batch)
    assert score["bits"] == pytest.approx(132.98, abs=3 * 36 / 1000**0.5)
    assert score["over the optimum"] == 0
    for factor in (0.7, 1.3):
        assert task.score(factor * optimum, batch)["over the optimum"] > 1


def test_random_bits_are_fair():
    drawn = binary.random_bits(1000, 8, torch.Generator().manual_seed(0))
    assert set(drawn.flatten().tolist()) == {0, 1}
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.02)
