"""Encodings: fitted on what they are given, kept as plain values, and told apart by kind."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from carousel.data.sequences import Bytes, InputScaling, Sequences, Vocabulary, as_numbers, encoded, encoding_of, padded
from carousel.errors import InputError


def numbers(*items):
    items = [np.array(item, dtype=np.float64) for item in items]
    return Sequences("file", "numbers", items, ["a"] * len(items), [f"line {n}" for n in range(1, len(items) + 1)])


def test_scaling_is_by_channel_over_all_steps():
    items = numbers([[1, 10, 5], [2, 10, 5]], [[6, 40, 5]]).items
    scaling = InputScaling.of(items)
    assert scaling.mean == pytest.approx([3, 20, 5])
    assert scaling.deviation == pytest.approx([np.std([1, 2, 6]), np.std([10, 10, 40]), 1])
    encoded = torch.cat([scaling.encode(item, "") for item in items])
    assert encoded.dtype == torch.float32
    torch.testing.assert_close(encoded.mean(0), torch.zeros(3))
    torch.testing.assert_close(encoded.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]))


def test_scaling_of_images_is_the_same_for_all_channels():
    scaling = InputScaling.of(numbers([[0, 2]], [[0, 6]]).items, together=True)
    assert scaling.mean == [2, 2]
    assert scaling.deviation == pytest.approx([np.sqrt(6)] * 2)


def test_a_constant_is_not_scaled_by_its_rounding():
    for constant in (0.0, 0.1, -1e30, 1.7e9, 1 / 3):
        assert InputScaling.of([np.full((1000, 1), constant)]).deviation == [1.0]
    assert InputScaling.of([np.array([[0.3], [0.1 + 0.2]])]).deviation == [1.0]


@pytest.mark.parametrize("offset", [0, 1e6, 1e9, -1.7e9, 1.7e12, 1.7e18])
def test_small_changes_of_large_numbers_are_kept(offset):
    """As times have them: in seconds, milliseconds and nanoseconds since 1970."""
    steps = np.arange(20.0)[:, None] * (1 if offset < 1e18 else 1e9)
    scaled = InputScaling.of([steps + offset]).encode(steps + offset, "")
    torch.testing.assert_close(scaled, InputScaling.of([steps]).encode(steps, ""))
    assert len(set(scaled[:, 0].tolist())) == 20


def test_words_by_frequency_then_alphabet_and_0_for_others():
    vocabulary = Vocabulary.of([["b", "a", "c"], ["b", "c", "d"]], size=3)
    assert vocabulary.words == ["b", "c", "a"]
    assert vocabulary.input_size == 4
    assert vocabulary.encode(["a", "d", "b"], "").tolist() == [3, 0, 1]


def test_bytes_are_their_own_numbers():
    assert Bytes().encode("né".encode(), "").tolist() == [110, 195, 169]
    assert Bytes().input_size == 256


@pytest.mark.parametrize("encoding", [InputScaling([0.1, 2.0], [1.0, 3.3]), Vocabulary(["b", "é"]), Bytes()])
def test_an_encoding_survives_json(encoding):
    assert encoding_of(json.loads(json.dumps(asdict(encoding)))) == encoding


def test_what_does_not_fit_is_named_by_its_line():
    scaling = InputScaling([0.0, 0.0], [1.0, 1e-30])
    with pytest.raises(InputError, match="file: line 2: expected 2 numbers a step, as in training, got 1"):
        encoded(numbers([[1, 2]], [[1]]), scaling)
    with pytest.raises(InputError, match="file: line 1: a number is too far from those of training to be scaled"):
        encoded(numbers([[1, 1e20]]), scaling)
    with pytest.raises(InputError, match="file: expected sequences of words, as in training, got numbers"):
        encoded(numbers([[1, 2]]), Vocabulary(["a"]))


def test_sequences_are_picked_with_all_that_is_theirs():
    some = numbers([[1]], [[2]], [[3]]).pick([2, 0])
    assert ([item.item() for item in some.items], some.names, some.source) == ([3, 1], ["line 3", "line 1"], "file")
    assert some.place(0) == "file: line 3"


def test_padding():
    inputs, lengths = padded([torch.ones(2, 3), torch.ones(4, 3)])
    assert inputs.shape == (4, 2, 3)
    assert lengths.tolist() == [2, 4]
    assert inputs[:, 0, 0].tolist() == [1, 1, 0, 0]


def test_lists_of_numbers_and_of_vectors():
    assert as_numbers([1, 2], "").tolist() == [[1], [2]]
    assert as_numbers([[1, 2]], "").tolist() == [[1, 2]]
    for wrong in ([], [[]], [[1], [2, 3]], [[[1]]], ["x"]):
        with pytest.raises(InputError, match="here: expected"):
            as_numbers(wrong, "here")
