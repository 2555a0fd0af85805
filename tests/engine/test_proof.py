"""What capture takes for the step is the step: by the native backend or not at all, with "auto" falling back on eager."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import carousel
from carousel import InputError
from carousel.engine.proof import Drawn, difference


def written_through(alias):
    def f(x):
        o = x * 1
        alias(o)[..., :1] = 50
        return o

    return f


def circular(x):
    return F.pad(x[None], (1, 1), mode="circular")[0]


def real_part_written(x):
    c = torch.complex(x, x)
    c.real[0] = 3
    return c.real


REFUSED = {
    "complex, imaginary part": lambda x: torch.complex(x, 3 * x).imag,
    "complex, absolute value": lambda x: torch.complex(x, 3 * x).abs(),
    "complex, angle": lambda x: torch.complex(x, 3 * x).angle(),
    "complex, product": lambda x: torch.view_as_real(torch.complex(x, x * 2) * torch.complex(x + 2, x + 3)).flatten(),
    "complex, by a number": lambda x: (x * 1j).imag,
    "complex, by a cast": lambda x: x.to(torch.complex128).real,
    "polar": lambda x: torch.polar(x, x).real,
    "fourier": lambda x: torch.fft.irfft(torch.fft.rfft(x), 3),
    "a real part written": real_part_written,
    "circular padding": circular,
    "circular padding in two axes": lambda x: F.pad(torch.outer(x, x)[None, None], (1, 1, 1, 1), mode="circular")[0, 0],
    "written through atleast_2d": written_through(torch.atleast_2d),
    "written through a detached alias": written_through(torch.Tensor.detach),
    "written through einsum": written_through(lambda o: torch.einsum("ij->ji", o[None])),
    "written through broadcast_tensors": written_through(lambda o: torch.broadcast_tensors(o)[0]),
}
NATIVE = {
    "written through dropout of nothing": written_through(lambda o: F.dropout(o, training=False)),
    "written through a view": written_through(lambda o: o.view(1, 3)),
    "written through a transposed view": written_through(lambda o: o.reshape(3, 1).T[0]),
    "zeros beside it": lambda x: torch.cat([x.new_zeros(2), x]),
    "hard, with the gradient of soft": lambda x: x.tanh() + (x.sign() - x.tanh()).detach(),
    "checkpointed": lambda x: checkpoint(torch.tanh, x, use_reentrant=False),
    "a constant from a list": lambda x: x * torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)[1:].sum(),
}


class Function(carousel.Cell):
    """y = function(x * w); the state stays as it is."""

    input_size, output_size = 3, None

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))

    def initial_state(self):
        return torch.zeros(3, dtype=torch.float64)

    def step(self, x, h):
        return self.function(x * self.w), h


def scanned(cell, backend):
    """The outputs of two steps, and the gradient of the weight."""
    x = torch.tensor([[[0.3, -2.0, 0.7]], [[1.5, 0.1, -0.4]]], dtype=torch.float64)
    y, _ = carousel.scan(cell, x, backend=backend)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), cell.w)]


def by_hand(cell):
    x = torch.tensor([[0.3, -2.0, 0.7], [1.5, 0.1, -0.4]], dtype=torch.float64)
    y = torch.stack([cell.step(row, None)[0] for row in x])[:, None]
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), cell.w)]


@pytest.mark.parametrize("name", REFUSED)
def test_native_code_does_not_differ_without_a_word(name):
    cell = Function(REFUSED[name])
    for found, wanted in zip(scanned(cell, "auto"), by_hand(cell), strict=True):
        torch.testing.assert_close(found, wanted)
    with pytest.raises(InputError, match=r"Function\.step.*backend='eager'"):
        scanned(cell, "native")


@pytest.mark.parametrize("backend", ["native", "eager"])
@pytest.mark.parametrize("name", NATIVE)
def test_what_can_be_captured_is(name, backend):
    cell = Function(NATIVE[name])
    for found, wanted in zip(scanned(cell, backend), by_hand(cell), strict=True):
        torch.testing.assert_close(found, wanted)


class Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 3


class NewSurrogate(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 3


@pytest.mark.parametrize("backend", ["auto", "native", "eager"])
@pytest.mark.parametrize("function", [Surrogate, NewSurrogate])
def test_a_backward_of_ones_own_is_refused_not_lost(function, backend):
    with pytest.raises(InputError, match=r"autograd\.Function|custom_function"):
        scanned(Function(function.apply), backend)


def test_numbers_read_from_a_tensor_are_refused():
    def f(x):
        return torch.from_numpy(x.detach().numpy() * 2)

    for backend in ("auto", "native", "eager"):
        with pytest.raises((InputError, RuntimeError)):
            scanned(Function(f), backend)


def test_the_proof_itself():
    inputs = [Drawn("w", (3,), torch.float64, torch.device("cpu"), weight=torch.ones(3, dtype=torch.float64))]
    inputs.append(Drawn("n", (), torch.int64, torch.device("cpu")))

    def step(given):
        return [given[0] ** 2 + given[1], given[0] > 5]

    assert difference(step, step, inputs) is None
    assert difference(lambda given: [given[0] ** 2 + 1e-5, given[0] > 5], step, inputs) == "result 0"
    assert difference(lambda given: [given[0].detach() ** 2, given[0] > 5], step, inputs) == "the gradient of w"
    assert difference(lambda given: [given[0] ** 2, given[0] < 5], step, inputs) == "result 1"
    draws = iter([0.0, 0.0, 1.0, 0.0])
    assert difference(lambda given: [given[0] ** 2 + next(draws), given[0] > 5], step, inputs) is None
    draws = iter([1.0, 0.0, 0.0])
    assert difference(lambda given: [given[0] ** 2 + next(draws), given[0] > 5], step, inputs) is None
