"""Graves's RMSProp against its equations in NumPy; the optimisers by name."""

import numpy as np
import pytest
import torch

from carousel.errors import InputError
from carousel.learn import OPTIMIZERS, GravesRMSprop, optimizer_by_name


def test_graves_rmsprop_against_its_equations() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 2))
    parameter = torch.nn.Parameter(torch.tensor(w))
    optimizer = GravesRMSprop([parameter], 0.01)
    n, m, d = (np.zeros_like(w) for _ in range(3))
    for _ in range(20):
        g = rng.normal(size=w.shape)
        parameter.grad = torch.tensor(g)
        optimizer.step()
        n = 0.95 * n + 0.05 * g**2
        m = 0.95 * m + 0.05 * g
        d = 0.9 * d - 0.01 * g / np.sqrt(n - m**2 + 1e-4)
        w = w + d
        np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-12)


def test_graves_rmsprop_state_round_trips_and_passes_over_missing_gradients() -> None:
    with_gradient, without = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = GravesRMSprop([with_gradient, without], 0.1)
    with_gradient.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(without.detach(), torch.ones(2))
    other = GravesRMSprop([with_gradient, without], 0.1)
    other.load_state_dict(optimizer.state_dict())
    assert torch.equal(other.state[with_gradient]["n"], optimizer.state[with_gradient]["n"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_lowers_a_square(name: str) -> None:
    parameter = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = optimizer_by_name(name, [parameter], 0.01)
    for _ in range(50):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    assert abs(float(parameter.detach())) < 2.99


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_one_pass_over_the_parameters_gives_what_one_operation_after_another_does(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(50, generator=draw)
    quick, plain = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizers = optimizer_by_name(name, [quick], 0.01), optimizer_by_name(name, [plain], 0.01)
    assert optimizers[0].param_groups[0]["fused"]
    optimizers[1].param_groups[0]["fused"] = False
    for _ in range(20):
        quick.grad = torch.randn(50, generator=draw)
        plain.grad = quick.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(quick, plain)


def test_names_and_rates_that_cannot_be_are_refused() -> None:
    parameter = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(InputError, match=r"no optimizer 'adm' .did you mean 'adam'"):
        optimizer_by_name("adm", [parameter], 0.1)
    with pytest.raises(InputError, match="expected a rate above 0, got -1"):
        optimizer_by_name("adam", [parameter], -1)


def test_graves_rmsprop_goes_on_to_the_same_bits_from_its_state() -> None:
    """Its slots lie in one tensor; loaded ones do not, nor do those of parameters whose gradients come and go."""
    draw = torch.Generator().manual_seed(0)
    gradients = [[torch.randn(shape, generator=draw) for shape in ((3, 2), (4,))] for _ in range(6)]

    def moved(reload: bool) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(4))]
        optimizer = GravesRMSprop(parameters, 0.1)
        for step, given in enumerate(gradients):
            for n, (parameter, g) in enumerate(zip(parameters, given, strict=True)):
                parameter.grad = None if step == 2 and n == 0 else g.clone()
            optimizer.step()
            if reload:
                other = GravesRMSprop(parameters, 0.1)
                other.load_state_dict(optimizer.state_dict())
                optimizer = other
        return [parameter.detach() for parameter in parameters]

    assert all(map(torch.equal, moved(reload=False), moved(reload=True)))


def test_graves_rmsprop_takes_parameters_of_several_dtypes() -> None:
    parameters = [torch.nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.float32, torch.float64, torch.float32)]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    GravesRMSprop(parameters, 0.1).step()
    for parameter in parameters:
        torch.testing.assert_close(parameter.detach(), parameters[1].detach().to(parameter.dtype))
