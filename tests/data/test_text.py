"""A text as symbols: reading, the parts of the task, bits that count every symbol once, counted runs by brute force."""

import gzip
import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from carousel.data.text import UNKNOWN, Alphabet, Language, bits_of, counted_bits, read_text
from carousel.errors import InputError


def numbers(n, symbols=4, seed=0):
    return torch.randint(symbols, (n,), generator=torch.Generator().manual_seed(seed))


def test_characters_and_bytes_have_numbers():
    letters = Alphabet.of("banana")
    assert letters.symbols == "abn" + UNKNOWN
    assert letters.numbers("nabx").tolist() == [2, 0, 1, 3]
    assert letters.size == 4
    raw = Alphabet.of(b"banana")
    assert raw.size == 256
    assert raw.numbers(b"\x00\xff").tolist() == [0, 255]
    assert [raw.shown(n) for n in (65, 10)] == ["A", "\\x0a"]


def test_a_text_is_read_plain_or_packed(tmp_path):
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_bytes("\ufeffnaïve".encode())
    packed.write_bytes(gzip.compress("naïve".encode()))
    assert read_text(plain, "character") == read_text(packed, "character") == "naïve"
    assert read_text(packed, "byte") == "naïve".encode()


@pytest.mark.parametrize(
    ("content", "unit", "told"),
    [
        (b"", "byte", "the file is empty"),
        (b"one\ntwo \xff", "character", "line 2: byte 9 of the file is not UTF-8; save it as UTF-8, or read it with --unit byte"),
        (b"a", "word", "one of character, byte, got 'word'"),
        (gzip.compress(b"abc", mtime=0)[:-4], "byte", "damaged or cut off"),
    ],
)
def test_what_cannot_be_read_is_refused(content, unit, told, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_text(path, unit)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_text_or_refused(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content)
    try:
        text = read_text(path, "character")
    except InputError:
        return
    if text:  # nothing is left of a file that is only a byte-order mark
        assert Alphabet.of(text).numbers(text).max() < Alphabet.of(text).size


def test_a_sample_is_text_and_what_follows_it():
    training = numbers(200)
    batch = Language(training, numbers(50), 4, length=7).sample(5, torch.Generator().manual_seed(1))
    assert batch.inputs.shape == (7, 5)
    assert batch.mask.all()
    assert torch.equal(batch.inputs[1:], batch.targets[:-1])
    runs = training.unfold(0, 8, 1)
    for b in range(5):
        assert (runs == torch.cat([batch.inputs[:, b], batch.targets[-1:, b]])).all(1).any()


def test_validation_is_the_validation_part_and_warms_up():
    held = torch.arange(101) % 4
    batch = Language(numbers(50), held, 4, length=5).validation()
    lanes = batch.inputs.shape[1]
    assert lanes == 5
    assert torch.equal(batch.inputs.t().reshape(-1), held[:100])
    assert torch.equal(batch.targets.t().reshape(-1), held[1:])
    assert batch.mask.sum(0).tolist() == [15] * lanes
    assert not batch.mask[:5].any()


def test_loss_and_score_are_cross_entropies():
    task = Language(numbers(50), numbers(50), 4, length=5)
    batch = task.validation()
    outputs = torch.randn(*batch.inputs.shape, 4, generator=torch.Generator().manual_seed(0))
    told = [task.loss(outputs[t, b], batch.targets[t, b]) for t, b in batch.mask.nonzero().tolist()]
    assert task.score(outputs, batch)["bits"] == pytest.approx(float(torch.stack(told).mean()) / math.log(2), rel=1e-5)


@pytest.mark.parametrize(("training", "held", "part"), [(11, 99, "training"), (99, 11, "validation")])
def test_too_short_a_text_is_refused(training, held, part):
    with pytest.raises(InputError, match=f"its {part} part has 11 symbols, at least 12 are needed"):
        Language(numbers(training), numbers(held), 4, length=10)


@pytest.mark.parametrize("begin", [1, 3, 40])
@pytest.mark.parametrize("n", [41, 300, 997])
def test_every_symbol_is_judged_once_and_knows_what_came_before(n, begin, monkeypatch):
    """The network here expects the sum of the last three symbols, which it finds right from a warm-up of three on."""
    monkeypatch.setattr("carousel.data.text.PIECE", 17)
    text = numbers(n, 5)

    def logits_after(inputs, state):
        state = torch.zeros(2, inputs.shape[1], dtype=torch.long) if state is None else state
        whole = torch.cat([state, inputs])
        sums = whole[2:] + whole[1:-1] + whole[:-2]
        chance = torch.nn.functional.one_hot(sums % 5, 5) * 0.5 + 0.1
        return chance.log(), whole[-2:]

    bits = bits_of(logits_after, text, begin, warm_up=3)
    assert bits.shape == (n - begin,)
    padded = torch.cat([torch.zeros(3, dtype=torch.long), text])
    expected = [0.6 if int(padded[k : k + 3].sum()) % 5 == int(text[k]) else 0.1 for k in range(begin, n)]
    torch.testing.assert_close(bits, -torch.tensor(expected, dtype=torch.float64).log2())


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_counted_bits_are_witten_and_bells(order):
    training, text, N, begin = numbers(60, 3, 1).tolist(), numbers(30, 4, 2).tolist(), 4, 1

    def p(x, context):
        """Of x after a context, by the formula in words."""
        if len(context) > 0 or order > 0:
            runs = [tuple(training[i : i + len(context) + 1]) for i in range(len(training) - len(context))]
            after = Counter(run[-1] for run in runs if run[:-1] == tuple(context))
            shorter = p(x, context[1:]) if context else 1 / N
            if not after:
                return shorter
            return (after[x] + len(after) * shorter) / (sum(after.values()) + len(after))
        return 1 / N

    expected = [-math.log2(p(text[k], text[max(k - order + 1, 0) : k] if order > 1 else [])) for k in range(begin, len(text))]
    found = counted_bits(torch.tensor(training), torch.tensor(text), begin, N, order)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert counted_bits(torch.tensor(training), torch.tensor(text), begin, N, order).shape == (29,)
