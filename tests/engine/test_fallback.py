"""backend="auto" runs whatever PyTorch runs: what native code cannot do, it leaves to eager, and says why when it is named."""

import pytest
import torch
import torch.nn.functional as F

import carousel
from carousel.cell import Cell
from carousel.errors import InputError


class Function(Cell):
    """y = function(x + h); the state stays as it is."""

    input_size, output_size = 4, None

    def __init__(self, function):
        super().__init__()
        self.function = function

    def initial_state(self):
        return torch.zeros(4, dtype=torch.float64)

    def step(self, x, h):
        return self.function(x + h), h


def scanned(function, backend, x):
    x = x.double().requires_grad_()
    y, _ = carousel.scan(Function(function), x, backend=backend)
    return y.detach(), torch.autograd.grad(y.sin().sum(), x)[0]


RUN = {
    "var_mean": lambda v: torch.var_mean(v)[0],
    "std_mean": lambda v: torch.stack(torch.std_mean(v)),
    "var, biased": lambda v: torch.var(v, unbiased=False),
    "var along an axis": lambda v: torch.var(v.reshape(2, 2), 0, False, True),
    "var with a correction": lambda v: torch.var_mean(v, correction=2)[0],
    "group_norm": lambda v: F.group_norm(v[None], 2)[0],
    "instance_norm": lambda v: F.instance_norm(v[None, None])[0, 0],
    "a vector transposed": lambda v: F.linear(v, v.t()),
    "a triangle that is all": lambda v: torch.tril(v.reshape(2, 2), 3),
    "a triangle that is nothing": lambda v: torch.triu(v.reshape(2, 2), 3) + v.sum(),
}


@pytest.mark.parametrize("name", RUN)
def test_native_code_runs_it(name):
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(scanned(RUN[name], "native", x), scanned(RUN[name], "eager", x), strict=True):
        torch.testing.assert_close(found, wanted)


LEFT = {
    "an operation without a kind": torch.lgamma,
    "an operation that cannot be made functional": lambda v: torch.outer(v, v).fill_diagonal_(0.0).sum(0),
    "arguments that no kind has": lambda v: F.softplus(v, threshold=1.0),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", LEFT)
def test_auto_leaves_it_to_eager(name):
    x = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0))
    for found, wanted in zip(scanned(LEFT[name], "auto", x), scanned(LEFT[name], "eager", x), strict=True):
        torch.testing.assert_close(found, wanted)
    with pytest.raises(InputError, match=r"Function\.step"):
        scanned(LEFT[name], "native", x)


def test_a_mistake_in_the_step_is_pytorchs_own_error():
    with pytest.raises(RuntimeError, match="size") as error:
        scanned(lambda v: v @ v[:3], "auto", torch.ones(2, 2, 4))
    assert not isinstance(error.value, InputError)
