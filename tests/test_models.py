"""The networks by name: sizes, parameter counts by hand, and that their weights come from the seed alone."""

import pytest
import torch

from carousel import scan
from carousel.errors import InputError
from carousel.models import MODELS, build


@pytest.mark.parametrize("name", [*MODELS, "window-5"])
def test_every_model_maps_sequences_and_learns_from_every_weight(name):
    cell = build(name, 3, 2, hidden=4, layers=2)
    assert (cell.input_size, cell.output_size) == (3, 2)
    outputs, _ = scan(cell, torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0)))
    assert outputs.shape == (6, 5, 2)
    outputs.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in cell.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("window-2", (2 * 3 * 8 + 8) + (8 * 5 + 5)),
        ("elman", 8 * (3 + 8 + 1) + (8 * 5 + 5)),
        ("lstm", 4 * 8 * (3 + 8 + 1) + (8 * 5 + 5)),
        ("lstm-no-forget", 3 * 8 * (3 + 8 + 1) + (8 * 5 + 5)),
        ("lstm-peephole", 4 * 8 * (3 + 8 + 1) + 3 * 8 + (8 * 5 + 5)),
        ("gru", 3 * 8 * (3 + 8 + 1) + (8 * 5 + 5)),
        ("gru-reset-after", 3 * 8 * (3 + 8 + 1) + 8 + (8 * 5 + 5)),
        ("gru1", 3 * 8 * (3 + 8 + 1) - 2 * 8 * 3 + (8 * 5 + 5)),
        ("gru2", 3 * 8 * (3 + 8 + 1) - 2 * (8 * 3 + 8) + (8 * 5 + 5)),
        ("gru3", 3 * 8 * (3 + 8 + 1) - 2 * (8 * 3 + 8 * 8) + (8 * 5 + 5)),
        ("mgu", 2 * 8 * (3 + 8 + 1) + (8 * 5 + 5)),
    ],
)
def test_parameter_counts(name, parameters):
    cell = build(name, 3, 5, hidden=8)
    assert sum(weight.numel() for weight in cell.parameters()) == parameters


def test_a_window_network_sees_its_latest_inputs_only():
    cell = build("window-3", 1, 1, hidden=4)
    inputs = torch.randn(8, 1, 1, generator=torch.Generator().manual_seed(0))
    other = inputs.clone()
    other[4] += 1.0
    differs = (scan(cell, inputs)[0] != scan(cell, other)[0])[:, 0, 0]
    assert differs.tolist() == [False] * 4 + [True] * 3 + [False]


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, same, other = (build("gru", 1, 1, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(InputError, match="unknown model 'lstn', expected one of: lstm, "):
        build("lstn", 1, 1)
    for name in ("window-0", "window-", "window--1", "window-1x"):
        with pytest.raises(InputError, match="unknown model"):
            build(name, 1, 1)
    with pytest.raises(InputError, match="expected hidden of at least 1, got 0"):
        build("lstm", 1, 1, hidden=0)
