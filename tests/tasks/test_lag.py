"""The tasks of the LSTM paper: samples against their definitions, answers by brute force, lengths beyond training."""

import matplotlib.figure
import pytest
import torch

from carousel.errors import InputError
from carousel.task import Task
from carousel.tasks import TASKS, Adding, Multiplication, TemporalOrder, TwoSequences

MADE = {
    "adding": lambda: Adding(40),
    "multiplication": lambda: Multiplication(40),
    "temporal-order": lambda: TemporalOrder(3),
    "two-sequences": lambda: TwoSequences(30, 2, "3c"),
}


def drawn(task: Task, B: int = 2000, seed: int = 0, **lengths: int):
    return task.sample(B, torch.Generator().manual_seed(seed), **lengths)


@pytest.mark.parametrize("name", MADE)
def test_what_all_have_in_common(name):
    task = MADE[name]()
    assert isinstance(TASKS[name](), type(task))
    batch, again, other = drawn(task), drawn(task), drawn(task, seed=1)
    assert torch.equal(batch.inputs, again.inputs)
    assert not torch.equal(batch.targets[-1], other.targets[-1])
    T, B = batch.steps, batch.size
    assert batch.inputs.shape == (T, B, task.input_size)
    assert batch.targets.shape == (T, B, task.output_size)
    # One answer, at the end; nothing past it.
    assert torch.equal(batch.mask, torch.arange(T)[:, None] == batch.lengths - 1)
    past = torch.arange(T)[:, None] >= batch.lengths
    assert not batch.inputs[past].any()
    assert not batch.targets[~batch.mask].any()
    longer = drawn(task, B=3, length=333)
    assert longer.lengths.tolist() == [333] * 3
    assert isinstance(task.draw(batch, torch.rand(T, B, task.output_size)), matplotlib.figure.Figure)
    with pytest.raises(InputError, match="no length 'steps', expected 'length'"):
        drawn(task, steps=100)
    with pytest.raises(InputError, match="expected length of at least"):
        drawn(task, length=5)


@pytest.mark.parametrize("name", MADE)
def test_wrong_error_and_score_by_brute_force(name):
    task = MADE[name]()
    batch = drawn(task, B=40)
    generator = torch.Generator().manual_seed(3)
    noise = 1.5 * task.tolerance * torch.rand(batch.targets.shape, generator=generator)
    clean = task._clean(batch.inputs[0, :, 0])[:, None].expand(batch.targets.shape) if name == "two-sequences" else batch.targets
    outputs = clean + noise
    outputs[0] += 7  # not asked for
    wrong, error = [], []
    for b in range(batch.size):
        end = int(batch.lengths[b]) - 1
        each = [abs(float(outputs[end, b, k]) - float(clean[end, b, k])) for k in range(task.output_size)]
        wrong.append(max(each) > task.tolerance)
        error.append(sum(each) / len(each))
    assert task.wrong(outputs, batch).tolist() == wrong
    assert 0 < sum(wrong) < len(wrong)
    assert task.error(outputs, batch).tolist() == pytest.approx(error, rel=1e-4)
    score = task.score(outputs, batch)
    assert score == {"wrong": pytest.approx(100 * sum(wrong) / 40), "error": pytest.approx(sum(error) / 40, rel=1e-4)}


def test_the_loss_has_the_papers_error():
    y = torch.tensor([0.3, 0.9], requires_grad=True)
    loss = Adding().loss(y, torch.tensor([0.5, 1.0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((0.2**2 + 0.1**2) / 2)
    assert (-y.grad).tolist() == pytest.approx([0.2, 0.1])


@pytest.mark.parametrize(("task", "low"), [(Adding(100), -1.0), (Multiplication(100), 0.0)])
def test_pairs(task, low):
    batch = drawn(task)
    assert int(batch.lengths.min()) == 100
    assert int(batch.lengths.max()) == 110
    firsts, seconds = set(), set()
    for b in range(batch.size):
        length = int(batch.lengths[b])
        numbers, markers = batch.inputs[:length, b].T.tolist()
        assert min(numbers) >= low
        assert max(numbers) <= 1
        assert markers[0] == markers[-1] == -1
        marked = [t for t, marker in enumerate(markers) if marker == 1]
        assert set(markers) <= {-1, 0, 1}
        target = float(batch.targets[length - 1, b, 0])
        values = [numbers[t] for t in marked]
        if isinstance(task, Multiplication):
            values += [1.0] * (2 - len(values))
            assert target == pytest.approx(values[0] * values[1])
        else:
            assert target == pytest.approx(0.5 + sum(values) / 4)
        assert len(marked) in (1, 2)
        assert marked[-1] < 50  # one of the first T / 2 - 1 that are not marked yet
        if len(marked) == 2:
            assert marked[0] < 10
            firsts.add(marked[0])
            seconds.add(marked[1])
    assert firsts == set(range(1, 10))
    assert seconds == set(range(2, 50))


def test_a_number_marked_at_the_first_step_counts_as_nothing():
    batch = drawn(Adding(20), B=500)
    row = torch.arange(500)
    unseen = (batch.inputs[..., 1] == 1).sum(0) == 1
    assert 30 < int(unseen.sum()) < 200  # the first pick falls there once in ten
    at = (batch.inputs[..., 1] == 1).long().argmax(0)
    expected = 0.5 + batch.inputs[at, row, 0] / 4
    torch.testing.assert_close(batch.targets[batch.lengths - 1, row, 0][unseen], expected[unseen])


@pytest.mark.parametrize(("relevant", "places"), [(2, [(10, 20), (50, 60)]), (3, [(10, 20), (33, 43), (66, 76)])])
def test_temporal_order(relevant, places):
    batch = drawn(TemporalOrder(relevant))
    assert set(batch.lengths.tolist()) == set(range(100, 111))
    seen = [set() for _ in places]
    classes = set()
    for b in range(batch.size):
        length = int(batch.lengths[b])
        assert batch.inputs[:length, b].sum(1).eq(1).all()
        symbols = ["EBabcdXY"[n] for n in batch.inputs[:length, b].argmax(1).tolist()]
        assert symbols[0] == "E"
        assert symbols[-1] == "B"
        assert set(symbols[1:-1]) <= set("abcdXY")
        told = [(t + 1, symbol) for t, symbol in enumerate(symbols) if symbol in "XY"]
        for n, ((place, _), (low, high)) in enumerate(zip(told, places, strict=True)):
            assert low <= place <= high
            seen[n].add(place)
        expected = int("".join("01"["XY".index(symbol)] for _, symbol in told), 2)
        target = batch.targets[length - 1, b]
        assert target.sum() == 1
        assert int(target.argmax()) == expected
        classes.add(expected)
    assert [len(one) for one in seen] == [11] * len(places)
    assert len(classes) == 2**relevant


@pytest.mark.parametrize("variant", ["3a", "3b", "3c"])
def test_two_sequences(variant):
    batch = drawn(TwoSequences(50, 3, variant), B=4000)
    end = batch.targets[batch.lengths - 1, torch.arange(4000), 0]
    inside = torch.arange(batch.steps)[:, None] < batch.lengths
    begin, rest = batch.inputs[:3, :, 0], batch.inputs[3:, :, 0][inside[3:]]
    assert float(rest.var()) == pytest.approx(0.2, rel=0.03)
    assert float(rest.mean()) == pytest.approx(0, abs=0.01)
    if variant == "3b":
        sign = 2 * end - 1
        assert set(sign.tolist()) == {-1, 1}
        assert float((begin - sign).var()) == pytest.approx(0.2, rel=0.05)
        return
    assert set(begin.flatten().tolist()) == {-1, 1}
    assert torch.equal(begin[0], begin[2])
    if variant == "3a":
        assert torch.equal(end, (begin[0] + 1) / 2)
    else:
        for sign, target in ((1, 0.2), (-1, 0.8)):
            assert float(end[begin[0] == sign].mean()) == pytest.approx(target, abs=0.03)
            assert float(end[begin[0] == sign].var()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Adding(5), "Adding: expected T of at least 20, got 5"),
        (lambda: TemporalOrder(4), "expected relevant to be one of 2, 3, got 4"),
        (lambda: TwoSequences(10, 10), r"expected N in 1..9 \(less than T\), got 10"),
        (lambda: TwoSequences(variant="3d"), "expected variant to be one of 3a, 3b, 3c, got '3d'"),
    ],
)
def test_refusals(make, told):
    with pytest.raises(InputError, match=told):
        make()
