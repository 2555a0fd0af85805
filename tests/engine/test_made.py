"""Weights that are made from others (pruning, norms, parametrizations, weight drop): gradients reach what they are made from."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import carousel
from carousel import InputError
from carousel import nn as layers
from carousel.cells import GRU
from carousel.learn import RTRL
from carousel.tasks import Adding

BACKENDS = ["native", "eager"]


class Linear(carousel.Cell):
    """h = tanh(W x + U h'), both by torch.nn's layers."""

    input_size, output_size = 3, 4

    def __init__(self):
        super().__init__()
        self.of_x, self.of_h = nn.Linear(3, 4).double(), nn.Linear(4, 4).double()

    def initial_state(self):
        return torch.zeros(4, dtype=torch.float64)

    def step(self, x, h):
        h = torch.tanh(self.of_x(x) + self.of_h(h))
        return h, h


class Symmetric(nn.Module):
    def forward(self, w):
        return w + w.T


def dropped(linear, _="weight"):
    """Weight drop: the caller makes the weight from a raw one."""
    raw = linear.weight
    del linear._parameters["weight"]
    linear.register_parameter("raw", raw)
    linear.weight = linear.raw * torch.linspace(0, 1, raw.numel(), dtype=raw.dtype).view_as(raw)


MADE = {
    "pruning": lambda module, name: prune.l1_unstructured(module, name, 0.5),
    "pruning twice": lambda module, name: (prune.random_unstructured(module, name, 0.3), prune.l1_unstructured(module, name, 0.3)),
    "weight norm": weight_norm,
    "parametrized weight norm": parametrizations.weight_norm,
    "spectral norm": spectral_norm,
    "parametrized spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "own parametrization": lambda module, name: parametrize.register_parametrization(module, name, Symmetric()),
}


def by_hand(cell, x):
    """The outputs by PyTorch alone. The weights are made once, as at a call of scan."""
    with parametrize.cached():
        weights = [linear._parameters.get("weight") for linear in (cell.of_x, cell.of_h)]
        for linear in (cell.of_x, cell.of_h):
            linear(x.new_zeros(linear.in_features))  # runs what makes the weight
        weights = [linear.weight for linear in (cell.of_x, cell.of_h)]
        h, outputs = x.new_zeros(x.shape[1], 4), []
        for t in range(len(x)):
            h = torch.tanh(x[t] @ weights[0].T + cell.of_x.bias + h @ weights[1].T + cell.of_h.bias)
            outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MADE)
def test_a_weight_that_is_made_inside_a_cell(name, training, backend):
    torch.manual_seed(0)
    cell, other = Linear().train(training), Linear().train(training)
    other.load_state_dict(cell.state_dict())
    for one in (cell, other):
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore", FutureWarning)
            torch.manual_seed(1)
            MADE[name](one.of_h, "weight")
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    for _ in range(2):  # spectral norm goes on from call to call
        y, wanted = carousel.scan(cell, x, backend=backend)[0], by_hand(other, x)
        torch.testing.assert_close(y, wanted)
    gradients = [torch.autograd.grad(out.square().sum(), list(one.parameters())) for out, one in ((y, cell), (wanted, other))]
    for got, want in zip(*gradients, strict=True):
        assert want.any()
        torch.testing.assert_close(got, want)
    for got, want in zip(cell.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weight_drop(backend):
    cell = Linear()
    dropped(cell.of_h)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    y, wanted = carousel.scan(cell, x, backend=backend)[0], by_hand(cell, x)
    torch.testing.assert_close(y, wanted)
    (got,), (want,) = (torch.autograd.grad(out.sum(), cell.of_h.raw, retain_graph=True) for out in (y, wanted))
    torch.testing.assert_close(got, want)
    cell.of_h.weight = cell.of_h.raw * 2
    torch.testing.assert_close(carousel.scan(cell, x, backend=backend)[0], by_hand(cell, x))


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.RNN])
@pytest.mark.parametrize("make", [prune.l1_unstructured, weight_norm, parametrizations.weight_norm, parametrizations.spectral_norm])
def test_layers_train_with_weights_that_are_made(kind, make):
    layer, x = kind(3, 4, bidirectional=True), torch.randn(5, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        make(layer.cells[1], "U", *([0.5] if make is prune.l1_unstructured else []))
    optimizer = torch.optim.SGD(layer.parameters(), 0.5)
    losses = []
    for _ in range(4):
        loss = layer(x, reset=torch.zeros(5, 2, dtype=torch.bool))[0].sub(0.3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())
    if make is prune.l1_unstructured:
        layer(x)
        assert (layer.cells[1].U_mask * layer.cells[1].U_orig == layer.cells[1].U).all()


def test_a_pruned_cell_in_a_stepper():
    cell = Linear()
    prune.l1_unstructured(cell.of_h, "weight", 0.5)
    x = torch.randn(4, 1, 3, dtype=torch.float64)
    y, _ = carousel.scan(cell, x)
    stepper = carousel.Stepper(cell)
    for t in range(2):
        torch.testing.assert_close(stepper(x[t, 0]), y[t, 0])
    with torch.no_grad():
        cell.of_h.weight_orig *= 2
    y, _ = carousel.scan(cell, x)
    stepper.state = None
    torch.testing.assert_close(stepper(x[0, 0]), y[0, 0])
    torch.testing.assert_close(stepper(x[1, 0]), y[1, 0])
    assert "backend native" in carousel.explain(cell, x)


def test_a_stepper_sees_a_dropped_weight_replaced():
    cell = Linear()
    dropped(cell.of_h)
    stepper, x, h = carousel.Stepper(cell), torch.ones(3, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    before = stepper.step(x, h)[0]
    cell.of_h.weight = cell.of_h.raw * 3
    after = stepper.step(x, h)[0]
    torch.testing.assert_close(after, cell.step(x, h)[0])
    assert not torch.allclose(before, after)


def test_rules_by_the_names_of_parameters_say_that_they_miss_such_weights():
    cell = GRU(2, 3)
    prune.l1_unstructured(cell, "U", 0.5)
    params = {name: parameter[None] for name, parameter in cell.named_parameters()}
    with pytest.raises(InputError, match="scan with params: expected a GRU whose weights are parameters"):
        carousel.scan(cell, torch.randn(3, 1, 2, 2), params=params)
    with pytest.raises(InputError, match="expected a GRU whose weights are parameters"):
        RTRL().cell(cell, Adding().loss, 0.1)
