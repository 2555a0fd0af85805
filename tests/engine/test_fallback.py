"""backend="auto" runs whatever PyTorch runs: what native code cannot do, it leaves to eager, and says why when it is named."""

import numpy as np
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


def whole(v):
    return (10 * v).long()


NOT_FLOATING = {
    "half": lambda v: v.half().float(),
    "bfloat16": lambda v: 2 * v.bfloat16(),
    "int8": lambda v: (10 * v).to(torch.int8),
    "complex": lambda v: (v + 1j).abs(),
    "remainder": lambda v: whole(v) % 3,
    "floor_divide": lambda v: whole(v) // 3,
    "power": lambda v: whole(v) ** 2,
    "bits": lambda v: whole(v) & 3,
    "prod": lambda v: whole(v).prod(),
    "round": lambda v: torch.round(whole(v)),
    "int32 index": lambda v: v[v.argsort().int()],
    "truths added": lambda v: (v > 0.5) + (v < 0.7),
    "truths multiplied": lambda v: (v > 0.5) * (v < 0.7),
    "largest truth": lambda v: torch.stack([(v > 0.5).max(), (v > 0.9).amax(0), (v > 0.1).min(), (v > 0.5).amin(0)]),
    "largest truth along an axis": lambda v: torch.stack((v.reshape(2, 2) > 0.5).max(1)),
    "truths compared": lambda v: torch.stack(
        [(v > 0.5) < (v < 0.7), (v > 0.5) >= (v < 0.7), (v > 0.5) == (v < 0.7), (v > 0.5) > 0]
    ),
    "larger of two truths": lambda v: torch.maximum(v > 0.5, v < 0.2) & ~torch.minimum(v > 0.5, v < 0.7),
    "truths sorted": lambda v: (v > 0.5).sort()[0],
    "truths put": lambda v: torch.zeros(4, dtype=torch.bool).scatter(0, v.argsort()[:2], v[:2] > 0.5),
}


@pytest.mark.parametrize("name", NOT_FLOATING)
def test_other_element_types_are_as_in_eager(name):
    x = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, wanted = (carousel.scan(Function(NOT_FLOATING[name]), x, backend=backend)[0] for backend in ("auto", "eager"))
    assert found.dtype == wanted.dtype
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


UNTRACEABLE = {
    "a mask of unknown size": lambda v: v[v > 0.5].sum(),
    "masked_select": lambda v: v.masked_select(v > 0).sum(),
    "nonzero": lambda v: v.nonzero().sum(),
    "unique": lambda v: v.unique().sum(),
    "bincount": lambda v: torch.bincount((3 * v).long()),
    "repeat_interleave": lambda v: v.repeat_interleave((3 * v).long()),
    "allclose": lambda v: v * torch.allclose(v, 2 * v),
    "corrcoef": lambda v: torch.corrcoef(v.reshape(2, 2)),
    "numpy": lambda v: v * float(v.numpy().sum()),
    "tolist": lambda v: v * v.tolist()[0],
    "array": lambda v: v * float(np.asarray(v).sum()),
    "rrelu": lambda v: F.rrelu(v, training=True),
}


@pytest.mark.parametrize("backend", ["auto", "native", "eager"])
@pytest.mark.parametrize("name", UNTRACEABLE)
def test_what_no_backend_can_do_is_refused_in_a_line(name, backend):
    with pytest.raises(InputError, match="step"):
        carousel.scan(Function(UNTRACEABLE[name]), torch.rand(3, 2, 4, dtype=torch.float64), backend=backend)


def test_a_mistake_in_the_step_is_pytorchs_own_error():
    with pytest.raises(RuntimeError, match="size") as error:
        scanned(lambda v: v @ v[:3], "auto", torch.ones(2, 2, 4))
    assert not isinstance(error.value, InputError)
