"""The embedded Reber grammar and the long lags of experiment 2: samples against their definitions, answers by brute force."""

import re

import matplotlib.figure
import pytest
import torch

from carousel.errors import InputError
from carousel.tasks import TASKS, EmbeddedReber, LongLag, VeryLongLag
from carousel.tasks.reber import SYMBOLS, as_batch, legal_next, strings

INNER = r"B(?:TS*X(?:S|XT*V(?:PXT*V)*(?:PS|V))|PT*V(?:PXT*V)*(?:PS|V))E"
"""The Reber grammar as a regular expression."""


def told(batch, b):
    steps = int(batch.lengths[b])
    letters = [*batch.inputs[:steps, b].argmax(1).tolist(), int(batch.targets[steps - 1, b].argmax())]
    return "".join(SYMBOLS[n] for n in letters)


def test_strings_are_of_the_embedded_grammar():
    outer = re.compile(rf"B(?:T{INNER}T|P{INNER}P)E")
    drawn = strings(3000, torch.Generator().manual_seed(0))
    assert all(outer.fullmatch(text) for text in drawn)
    # Branches are taken with probability 1/2.
    assert sum(text[1] == "T" for text in drawn) / 3000 == pytest.approx(0.5, abs=0.04)
    assert sum(text[2:6] == "BTXS" for text in drawn) / 3000 == pytest.approx(1 / 8, abs=0.03)
    assert sum(text[2:6] == "BPVV" for text in drawn) / 3000 == pytest.approx(1 / 8, abs=0.03)


def test_sets_are_disjoint_and_samples_are_of_the_training_set():
    task = EmbeddedReber(1)
    training = {told(task.training, b) for b in range(256)}
    test = {told(task.test, b) for b in range(256)}
    assert task.training.size == task.test.size == 256
    assert 60 < len(training) < 160  # as drawn: short strings come more than once
    assert len(test) > len(training)  # those that are left are longer
    assert not training & test
    other = EmbeddedReber(2).training
    assert training != {told(other, b) for b in range(256)}
    batch = task.sample(500, torch.Generator().manual_seed(0))
    assert {told(batch, b) for b in range(500)} <= training


def test_legal_symbols_and_wrong_by_hand():
    batch = as_batch(["BTBPVVETE", "BPBTSXSEPE"])
    legal = legal_next(batch)
    for b, expected in enumerate(
        [["TP", "B", "TP", "TV", "PV", "E", "T", "E"], ["TP", "B", "TP", "SX", "SX", "XS", "E", "P", "E"]]
    ):
        for t, symbols in enumerate(expected):
            assert {SYMBOLS[n] for n in legal[t, b].nonzero()[:, 0].tolist()} == set(symbols)
    task = EmbeddedReber()
    right = legal.float()
    assert task.wrong(right, batch).tolist() == [False, False]
    spoilt = right.clone()
    spoilt[3, 0, SYMBOLS.index("V")] = 0  # one of two legal ones no higher than the others
    spoilt[8, 0] = 9  # past the end
    assert task.wrong(spoilt, batch).tolist() == [True, False]


def test_long_lag_2a():
    task = LongLag(6)
    batch = task.sample(400, torch.Generator().manual_seed(0))
    symbols, following = batch.inputs.argmax(2), batch.targets.argmax(2)
    assert set(symbols[0].tolist()) == {5, 6}
    assert float((symbols[0] == 5).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert (symbols[1:] == torch.arange(5)[:, None]).all()
    assert torch.equal(following[:-1], symbols[1:])
    assert torch.equal(following[-1], symbols[0])
    outputs = batch.targets.clone()
    outputs[2, 7, 1] += 0.26
    outputs[2, 8, 1] += 0.24
    assert task.wrong(outputs, batch).nonzero().tolist() == [[7]]


def test_long_lag_2b():
    task = LongLag(6, "2b")
    batch = task.sample(400, torch.Generator().manual_seed(0), length=50)
    symbols, following = batch.inputs.argmax(2), batch.targets.argmax(2)
    assert symbols.shape == (50, 400)
    assert set(symbols[1:].flatten().tolist()) == set(range(5))
    assert torch.equal(following[-1], symbols[0])
    assert batch.mask.all()
    outputs = torch.full_like(batch.targets, 0.4)
    outputs[-1] = batch.targets[-1]
    outputs[-1, 3, 2] = 0.3
    assert task.wrong(outputs, batch).nonzero().tolist() == [[3]]


def test_very_long_lag():
    q, p = 20, 7
    task = VeryLongLag(q, p)
    batch = task.sample(5000, torch.Generator().manual_seed(0))
    assert int(batch.lengths.min()) == q + 3
    assert float(batch.lengths.double().mean()) == pytest.approx(q + 12, abs=0.4)  # b, x, q distractors, 9 more, e
    assert float((batch.lengths == q + 3).double().mean()) == pytest.approx(0.1, abs=0.02)
    for b in range(100):
        steps = int(batch.lengths[b])
        symbols = batch.inputs[:steps, b].argmax(1).tolist()
        assert symbols[0] == p
        assert symbols[-1] == p + 1
        assert set(symbols[2:-1]) <= set(range(p))
        assert batch.targets[steps - 1, b].tolist() == [float(symbols[1] == p + 2), float(symbols[1] == p + 3)]
        assert batch.mask[:, b].nonzero().tolist() == [[steps - 1]]
    assert task.sample(3, torch.Generator(), length=300).lengths.tolist() == [300] * 3
    outputs = batch.targets.clone()
    outputs[batch.lengths[4] - 1, 4, 0] += 0.21
    assert task.wrong(outputs, batch).nonzero().tolist() == [[4]]


@pytest.mark.parametrize("name", ["embedded-reber", "long-lag", "very-long-lag"])
def test_same_seed_same_batch_and_a_picture(name):
    task = TASKS[name]()
    batch, again, other = (task.sample(20, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(batch.inputs, again.inputs)
    assert batch.inputs.shape != other.inputs.shape or not torch.equal(batch.inputs, other.inputs)
    assert isinstance(task.draw(batch, batch.targets), matplotlib.figure.Figure)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LongLag(1), "expected p of at least 2, got 1"),
        (lambda: LongLag(5, "2c"), "expected variant to be one of 2a, 2b, got '2c'"),
        (lambda: LongLag(5).sample(1, torch.Generator(), length=9), "in 2b only"),
        (lambda: VeryLongLag(0), "expected q and p of at least 1, got 0 and 100"),
        (lambda: VeryLongLag(5).sample(1, torch.Generator(), length=2), "expected length of at least 3, got 2"),
        (lambda: VeryLongLag(5).sample(1, torch.Generator(), q=2), "no length 'q', expected 'length'"),
        (lambda: EmbeddedReber().sample(1, torch.Generator(), length=9), "no length 'length'; the grammar draws the lengths"),
        (lambda: as_batch(["BTZ"]), "got 'BTZ'"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()
