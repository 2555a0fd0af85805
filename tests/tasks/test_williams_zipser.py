"""The tasks of Williams & Zipser: samples against their definitions, runs of the Turing machine by hand."""

import matplotlib.figure
import pytest
import torch

from carousel import scan
from carousel.cells import FullyRecurrent
from carousel.errors import InputError
from carousel.learn import RTRL
from carousel.tasks import TASKS, BalancedParentheses, DelayedNonmatch, PipelinedXOR
from carousel.tasks.balanced_parentheses import as_batch, run, string


def drawn(task, B=200, seed=0, **lengths):
    return task.sample(B, torch.Generator().manual_seed(seed), **lengths)


@pytest.mark.parametrize("name", ["pipelined-xor", "delayed-nonmatch", "balanced-parentheses"])
def test_what_all_have_in_common(name):
    task = TASKS[name]()
    batch, again, other = drawn(task, 20), drawn(task, 20), drawn(task, 20, seed=1)
    assert torch.equal(batch.inputs, again.inputs)
    assert batch.inputs.shape != other.inputs.shape or not torch.equal(batch.inputs, other.inputs)
    assert not batch.targets[~batch.mask].any()
    outputs = 0.6 * batch.targets + 0.2
    assert not task.wrong(outputs, batch).any()
    last = int(batch.lengths[3]) - 1
    outputs[last, 3, 0] = 1 - outputs[last, 3, 0]
    assert task.wrong(outputs, batch).nonzero().tolist() == [[3]]
    assert isinstance(task.draw(batch, outputs), matplotlib.figure.Figure)


@pytest.mark.parametrize("delay", [1, 2, 4])
def test_pipelined_xor(delay):
    batch = drawn(PipelinedXOR(delay), length=12)
    bits = batch.inputs.int().tolist()
    for t in range(12):
        for b in range(50):
            if t < delay - 1:
                assert not batch.mask[t, b]
            else:
                first, second = bits[t - delay + 1][b]
                assert batch.mask[t, b]
                assert int(batch.targets[t, b, 0]) == first ^ second
    assert float(batch.inputs.mean()) == pytest.approx(0.5, abs=0.03)
    assert drawn(PipelinedXOR(), 2).lengths.tolist() == [100, 100]


def test_two_updates_are_enough_for_the_exclusive_or():
    """Units: the output (one without the other), one or the other, one and the other."""
    network = FullyRecurrent(2, 3, output_size=1)
    with torch.no_grad():
        network.V.copy_(torch.tensor([[0, 0, 0, 20, -20, -10], [20, 20, 0, 0, 0, -10], [20, 20, 0, 0, 0, -30]]))
        batch = drawn(PipelinedXOR(), 20)
        outputs, _ = scan(network, batch.inputs)
        assert not PipelinedXOR().wrong(outputs, batch).any()
        batch = drawn(PipelinedXOR(1), 20)
        assert PipelinedXOR().wrong(outputs, batch).all()


@pytest.mark.parametrize(
    ("task", "units", "rate", "sequences"),
    [
        (PipelinedXOR(), 4, 1.0, 300),
        (DelayedNonmatch(), 12, 0.5, 2500),
        pytest.param(BalancedParentheses(), 12, 1.0, 5000, marks=pytest.mark.long),
    ],
)
def test_the_rule_of_the_paper_learns_it(task, units, rate, sequences):
    torch.manual_seed(2)
    network = FullyRecurrent(task.input_size, units, output_size=task.output_size)
    optimizer = torch.optim.SGD(network.parameters(), rate)
    RTRL().train_on(network, drawn(task, sequences), task.loss, optimizer)
    batch = drawn(task, 500, seed=1)
    with torch.no_grad():
        outputs, _ = scan(network, batch.inputs, lengths=batch.lengths)
    assert task.score(outputs, batch)["wrong"] <= 5


@pytest.mark.parametrize("delay", [1, 2])
def test_delayed_nonmatch(delay):
    batch = drawn(DelayedNonmatch(delay))
    cues = batch.inputs[..., 1]
    assert cues[0].all()
    assert float(cues[1:].mean()) == pytest.approx(0.2, abs=0.01)
    for b in range(50):
        remembered = None
        for t, (bit, cue) in enumerate(batch.inputs[:, b].int().tolist()):
            if cue:
                remembered = bit
            due = t + delay - 1
            if due < batch.steps:
                assert batch.mask[due, b]
                assert int(batch.targets[due, b, 0]) == int(bit != remembered)
    assert (batch.mask.sum(0) == 100 - delay + 1).all()


def test_the_turing_machine_by_hand():
    right, left, write_left, write_right = (0, 1, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 0, 0)
    stop, balanced = (0, 0, 1, 0), (0, 0, 1, 1)
    assert run("()") == [
        ("(", right),
        (")", write_left),
        ("(", write_right),
        ("X", right),
        ("A", left),
        ("X", left),
        ("X", left),
        ("A", balanced),
    ]
    assert run(")(") == [(")", write_left), ("A", stop)]
    assert run("((") == [("(", right), ("(", right), ("A", left), ("(", stop)]


def depths(text):
    depth = 0
    for side in text:
        depth += 1 if side == "(" else -1
        yield depth


def is_balanced(text):
    told = list(depths(text))
    return min(told) >= 0 and told[-1] == 0


def test_the_machine_tells_the_balanced_strings():
    for places in (2, 4, 6, 8):
        for number in range(2**places):
            text = "".join("()"[number >> n & 1] for n in range(places))
            assert run(text)[-1][1] == ((0, 0, 1, 1) if is_balanced(text) else (0, 0, 1, 0))


def test_strings():
    generator = torch.Generator().manual_seed(0)
    drawn = [string(3, generator) for _ in range(2000)]
    assert sum(map(is_balanced, drawn)) / 2000 == pytest.approx(0.5, abs=0.04)
    shares = {text: drawn.count(text) for text in set(drawn) if is_balanced(text)}
    assert set(shares) == {"()()()", "(())()", "()(())", "(()())", "((()))"}
    assert min(shares.values()) > 140  # a fifth of a thousand each
    assert len({text for text in drawn if not is_balanced(text)}) == 2**6 - 5


def test_runs_side_by_side():
    batch = as_batch(["()", "(("])
    assert batch.lengths.tolist() == [8, 4]
    assert ["A()X"[n] for n in batch.inputs[:4, 1].argmax(1)] == ["(", "(", "A", "("]
    assert not batch.inputs[4:, 1].any()
    assert torch.equal(batch.mask, torch.arange(8)[:, None] < batch.lengths)
    assert batch.targets[3, 1].tolist() == [0, 0, 1, 0]
    assert set(drawn(BalancedParentheses(), pairs=1).lengths.tolist()) == {2, 4, 8}  # ")" first, "((", "()"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PipelinedXOR(0), "PipelinedXOR: expected delay in 1..100, got 0"),
        (lambda: DelayedNonmatch(101), "DelayedNonmatch: expected delay in 1..100, got 101"),
        (lambda: drawn(PipelinedXOR(3), length=2), "PipelinedXOR: expected length of at least 3, got 2"),
        (lambda: drawn(BalancedParentheses(), pairs=0), "expected pairs of at least 1, got 0"),
        (lambda: drawn(BalancedParentheses(), length=4), "no length 'length', expected 'pairs'"),
        (lambda: run("(a)"), r"expected a string of parentheses, got '\(a\)'"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()
