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
    with pytest.raises(InputError, match=r"unknown model 'lstn' \(did you mean 'lstm'\?\); expected one of: window-1, "):
        build("lstn", 1, 1)
    for name in ("window-0", "window-", "window--1", "window-1x"):
        with pytest.raises(InputError, match="unknown model"):
            build(name, 1, 1)
    with pytest.raises(InputError, match="expected hidden of at least 1, got 0"):
        build("lstm", 1, 1, hidden=0)


@pytest.mark.parametrize("name", ["gru", "window-3"])
def test_a_vector_is_learned_for_each_symbol(name):
    cell = build(name, 3, 2, hidden=4, symbols=7)
    assert cell.input_size is None
    x = torch.tensor([[0, 6], [5, 1], [2, 2]])
    outputs, _ = scan(cell, x)
    embedding, network = cell.cells
    assert embedding.E.shape == (7, 3)
    torch.testing.assert_close(outputs, scan(network, embedding.E[x])[0])


def test_an_answer_is_the_mean_of_those_so_far():
    x = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0))
    last, _ = scan(build("lstm", 3, 2, seed=1), x)
    mean, _ = scan(build("lstm", 3, 2, seed=1, answer="mean"), x)
    torch.testing.assert_close(mean, last.cumsum(0) / torch.arange(1, 7)[:, None, None])


def test_dropout_stands_after_every_layer_and_on_learned_vectors():
    plain, dropped = (build("gru", 3, 2, layers=2, symbols=5, dropout=rate, seed=1) for rate in (0.0, 0.5))
    assert list(dropped.noise_shapes()) == ["1.mask", "2.1.mask", "2.3.mask"]
    x = torch.tensor([[0, 4], [3, 1]])
    torch.testing.assert_close(scan(dropped.eval(), x)[0], scan(plain, x)[0])
    assert list(build("window-2", 3, 2, dropout=0.5).noise_shapes()) == ["1.mask"]
    with pytest.raises(InputError, match="expected rate"):
        build("gru", 3, 2, dropout=1.0)
