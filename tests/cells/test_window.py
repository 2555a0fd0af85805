"""Window against its definition."""

import pytest
import torch

import carousel
from carousel.cells import Window
from carousel.errors import InputError


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 2])
def test_last_inputs_oldest_first(k, size):
    T, B = 6, 3
    x = torch.arange(1.0, T * B * size + 1).reshape(T, B, size)
    outputs, state = carousel.scan(Window(k, size), x)
    before = torch.cat([torch.zeros(k, B, size), x])
    for t in range(T):
        assert torch.equal(outputs[t], torch.cat([before[t + n] for n in range(k + 1)], dim=-1))
    assert torch.equal(state, before[T:].transpose(0, 1))


def test_nothing_is_trained_or_saved():
    cell = Window(2)
    assert not list(cell.parameters())
    assert not cell.state_dict()


def test_follows_the_dtype_it_is_moved_to():
    outputs, _ = carousel.scan(Window(2).double(), torch.ones(2, 1, 1, dtype=torch.float64))
    assert outputs.dtype == torch.float64


def test_refuses_inputs_of_another_dtype():
    with pytest.raises(InputError, match=r"expected inputs of dtype torch.float32, as the cell's, got torch.float64"):
        carousel.scan(Window(2), torch.ones(2, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize(("k", "size"), [(-1, 1), (0, 0)])
def test_bad_sizes(k, size):
    with pytest.raises(InputError, match=f"expected k >= 0 and input_size >= 1, got k = {k} and input_size = {size}"):
        Window(k, size)
