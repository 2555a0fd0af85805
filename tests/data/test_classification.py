"""Classification and tagging: batches, masks, loss and scores by hand, and what is held back."""

from collections import Counter

import numpy as np
import pytest
import torch

from carousel.data.classification import Classification, Part, confusion, held_back, scores
from carousel.data.tagging import Tagging
from carousel.errors import InputError
from carousel.learn import objective

LENGTHS = (2, 4, 1)


def generator():
    return torch.Generator().manual_seed(3)


def part(each_step=False):
    """Three sequences of two channels that hold their own number, of classes 0, 1, 2; or of their steps' numbers modulo 3."""
    inputs = [torch.full((length, 2), float(n)) for n, length in enumerate(LENGTHS)]
    classes = [torch.arange(length) % 3 if each_step else torch.tensor(n) for n, length in enumerate(LENGTHS)]
    return Part(inputs, classes)


@pytest.fixture
def task():
    return Classification(part(), part(), ["x", "y", "z"])


@pytest.fixture
def tagging():
    return Tagging(part(True), part(True), ["x", "y", "z"])


def test_the_answer_counts_at_the_last_step_only(task):
    batch = task.validation()
    assert batch.inputs.shape == (4, 3, 2)
    assert batch.lengths.tolist() == list(LENGTHS)
    assert [batch.mask[:, b].nonzero()[:, 0].tolist() for b in range(3)] == [[1], [3], [0]]
    assert all(batch.targets[LENGTHS[b] - 1, b] == b for b in range(3))


def test_a_tag_counts_at_every_step(tagging):
    batch = tagging.validation()
    assert batch.mask.sum(0).tolist() == list(LENGTHS)
    assert batch.targets[:, 1].tolist() == [0, 1, 2, 0]


def test_batches_are_drawn_by_the_generator_alone(task):
    torch.manual_seed(0)
    first = task.sample(64, generator())
    torch.manual_seed(1)
    same = task.sample(64, generator())
    assert torch.equal(first.inputs, same.inputs)
    for b in range(64):
        n = int(first.inputs[0, b, 0])
        assert int(first.lengths[b]) == LENGTHS[n]
        assert int(first.targets[LENGTHS[n] - 1, b]) == n
    assert len(set(first.lengths.tolist())) == 3


def test_noise_is_added_in_training_only_and_not_to_symbols():
    noisy = Classification(part(), part(), ["x", "y", "z"], noise=0.5)
    inputs = noisy.sample(500, generator()).inputs
    first = inputs[0] - inputs[0].round()
    assert 0.2 < first.std() < 0.4  # of a Gaussian of 0.5, folded into -0.5..0.5
    assert torch.equal(noisy.validation().inputs, Classification(part(), part(), ["x", "y", "z"]).validation().inputs)
    symbols = Part([torch.tensor([1, 2])], [torch.tensor(0)])
    task = Classification(symbols, symbols, ["x"], noise=0.5)
    assert task.input_size is None
    assert task.sample(2, generator()).inputs.tolist() == [[1, 1], [2, 2]]
    with pytest.raises(InputError, match="classification: expected noise of at least 0, got -1"):
        Classification(part(), part(), ["x"], noise=-1)


def test_loss_is_the_cross_entropy(task, tagging):
    y = torch.tensor([1.0, -1.0, 0.5])
    by_hand = -np.log(np.exp(-1.0) / np.exp([1.0, -1.0, 0.5]).sum())
    assert task.loss(y, torch.tensor(1)) == pytest.approx(by_hand)
    for made, steps in ((task, 1), (tagging, sum(LENGTHS) / 3)):
        batch = made.validation()
        assert objective(torch.zeros(4, 3, 3), batch, made.loss) == pytest.approx(steps * np.log(3))


def test_scores_look_at_the_asked_steps_only(task, tagging):
    batch = task.validation()
    outputs = torch.full((4, 3, 3), float("nan"))
    for b, told in enumerate((0, 1, 1)):
        outputs[LENGTHS[b] - 1, b] = torch.eye(3)[told]
    assert task.score(outputs, batch) == pytest.approx({"accuracy": 200 / 3, "macro-F1": 100 * (1 + 2 / 3 + 0) / 3})
    batch = tagging.validation()
    assert tagging.score(torch.eye(3)[batch.targets], batch) == {"accuracy": 100.0, "macro-F1": 100.0}


def test_confusion_and_scores_by_hand():
    truth, told = torch.tensor([0, 0, 1, 1, 1, 3]), torch.tensor([0, 1, 1, 1, 0, 0])
    counts = confusion(truth, told, 5)
    assert counts[:2, :2].tolist() == [[1, 1], [1, 2]]
    assert counts[3].tolist() == [1, 0, 0, 0, 0]
    assert counts.sum() == 6
    f1 = [2 * 1 / (2 + 2 + 1), 2 * 2 / (4 + 1 + 1), 0.0]  # classes 2 and 4 are neither there nor told
    assert scores(counts) == pytest.approx({"accuracy": 50.0, "macro-F1": 100 * sum(f1) / 3})


def test_lengths_are_refused(task):
    with pytest.raises(InputError, match="classification: the sequences have the lengths of the file; got steps"):
        task.sample(1, generator(), steps=3)


def test_every_label_gives_its_share():
    labels = ["a"] * 50 + ["b"] * 30 + ["c"] * 20 + ["rare"]
    kept, held = held_back(labels, 0.2, 0, "--test-share")
    assert sorted(kept + held) == list(range(101))
    assert Counter(labels[n] for n in held) == {"a": 10, "b": 6, "c": 4}
    assert held_back(labels, 0.2, 0, "")[1] == held
    assert held_back(labels, 0.2, 1, "")[1] != held
    few = ["a", "a", "b", "b", "c", "c"]
    assert len({few[n] for n in held_back(few, 0.34, 0, "")[0]}) == 3
    assert len(held_back([["x", "y"], ["y", "x"]], 0.5, 0, "")[1]) == 1
    steps = [["x"], ["x", "y"]] * 20 + [["x", f"rare {n}"] for n in range(10)]
    for seed in range(5):
        kept, held = held_back(steps, 0.5, seed, "")
        assert 10 < len(held) <= 25
        assert {label for n in kept for label in steps[n]} == {label for one in steps for label in one}


@pytest.mark.parametrize(
    ("labels", "share", "message"),
    [
        (["a"] * 9, 0.0, "--test-share: expected a share between 0 and 1, got 0"),
        (["a"] * 9, 1.0, "--test-share: expected a share between 0 and 1, got 1"),
        (["a", "a"], 0.1, "--test-share: a share of 0.1 of 2 sequences holds none back"),
        (["a", "b", "c"], 0.5, "--test-share: a share of 0.5 of 3 sequences holds none back"),
    ],
)
def test_what_cannot_be_held_back(labels, share, message):
    with pytest.raises(InputError, match=message):
        held_back(labels, share, 0, "--test-share")


def test_it_draws_the_first_sequence_and_what_is_told(task, tagging):
    batch = task.validation()
    axes = task.draw(batch, torch.zeros(4, 3, 3)).axes
    assert axes[0].get_title() == "x"
    assert [line.get_ydata().tolist() for line in axes[0].get_lines()] == [[0, 0], [0, 0]]
    assert [line.get_label() for line in axes[1].get_lines()] == ["x", "y", "z"]
    np.testing.assert_allclose(axes[1].get_lines()[0].get_ydata(), [1 / 3, 1 / 3])
    assert len(task.draw(batch).axes) == 1
    assert tagging.draw(tagging.validation()).axes[0].get_title() == "x y"
