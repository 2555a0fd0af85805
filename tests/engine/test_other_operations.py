"""Cells made of operations drawn from torch and torch.nn.functional: "auto" gives what PyTorch gives, or refuses: no crash."""

import random
from types import BuiltinFunctionType, FunctionType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import carousel
from carousel.cell import Cell
from carousel.errors import InputError

N, T, B = 6, 3, 3

PATTERNS = {
    "a": lambda f, a, b: f(a),
    "a, b": lambda f, a, b: f(a, b),
    "a, b, c": lambda f, a, b: f(a, b, a * b),
    "a, 0": lambda f, a, b: f(a, 0),
    "a, 2": lambda f, a, b: f(a, 2),
    "a, 0.5": lambda f, a, b: f(a, 0.5),
    "a, -1.0, 1.0": lambda f, a, b: f(a, -1.0, 1.0),
    "matrix": lambda f, a, b: f(a.reshape(2, 3)),
    "matrix, 0": lambda f, a, b: f(a.reshape(2, 3), 0),
    "matrix, 1": lambda f, a, b: f(a.reshape(2, 3), 1),
    "matrix, 2, 1": lambda f, a, b: f(a.reshape(2, 3), 2, 1),
    "matrix, (0, 1)": lambda f, a, b: f(a.reshape(2, 3), (0, 1)),
    "matrix, (3,)": lambda f, a, b: f(a.reshape(2, 3), (3,)),
    "matrix, matrix": lambda f, a, b: f(a.reshape(2, 3), b.reshape(2, 3)),
    "matrix, transposed": lambda f, a, b: f(a.reshape(2, 3), b.reshape(3, 2)),
    "matrix, vector": lambda f, a, b: f(a.reshape(2, 3), b[:3]),
    "square": lambda f, a, b: f(a[:4].reshape(2, 2)),
    "square, square": lambda f, a, b: f(a[:4].reshape(2, 2), b[2:].reshape(2, 2)),
    "[a, b]": lambda f, a, b: f([a, b]),
    "[a, b], 0": lambda f, a, b: f([a, b], 0),
    "batch": lambda f, a, b: f(a.reshape(1, 2, 3)),
    "batch, 2": lambda f, a, b: f(a.reshape(1, 2, 3), 2),
    "batch, (1, 2)": lambda f, a, b: f(a.reshape(1, 2, 3), (1, 2)),
    "batch, batch": lambda f, a, b: f(a.reshape(1, 2, 3), b.reshape(1, 2, 3)),
    "batch, transposed": lambda f, a, b: f(a.reshape(1, 2, 3), b.reshape(1, 3, 2)),
    "batch, kernels": lambda f, a, b: f(a.reshape(1, 2, 3), b[:4].reshape(1, 2, 2)),
    "image": lambda f, a, b: f(a.reshape(1, 1, 2, 3)),
    "image, 2": lambda f, a, b: f(a.reshape(1, 1, 2, 3), 2),
    "a, index": lambda f, a, b: f(a, torch.tensor([0, 2, 2])),
    "a, 0, index": lambda f, a, b: f(a, 0, torch.tensor([0, 2, 2])),
    "a, 0, index, b": lambda f, a, b: f(a, 0, torch.tensor([0, 2, 3, 1, 5, 4]), b),
    "matrix, 1, indices": lambda f, a, b: f(a.reshape(2, 3), 1, torch.tensor([[0, 2, 2], [1, 0, 0]])),
    "truth, a, b": lambda f, a, b: f(a > b, a, b),
    "a, truth, b": lambda f, a, b: f(a, a > b, b),
}

OTHER = (
    *(
        "_",
        "set_",
        "get_",
        "is_",
        "has_",
        "init_",
        "autocast",
        "clear_autocast",
        "empty",
        "rand",
        "import_",
        "parse_",
        "fork",
        "wait",
    ),
    *("from_", "handle_", "manual", "seed", "save", "load", "fbgemm", "cudnn", "miopen", "mkldnn", "quant", "sparse", "unify_"),
)
"""What such a name begins with computes nothing from tensors, or something else each time."""

UNSPECIFIED = {"topk", "kthvalue", "median", "nanmedian", "mode", "native_batch_norm"}
"""What does not say which of equal entries it takes, or changes what it is given."""


def operations() -> dict[str, object]:
    found = {name: getattr(torch.functional, name) for name in torch.functional.__all__}
    found |= {name: f for name in dir(torch) if isinstance(f := getattr(torch, name), BuiltinFunctionType)}
    found |= {f"F.{name}": f for name in dir(F) if isinstance(f := getattr(F, name), (BuiltinFunctionType, FunctionType))}
    short = {name: name.removeprefix("F.") for name in found}
    return {name: f for name, f in sorted(found.items()) if not short[name].startswith(OTHER) and short[name] not in UNSPECIFIED}


def flat(result: object) -> Tensor:
    """All floating-point numbers of a result, or the whole numbers where there are none."""
    tensors = [item for item in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(item, Tensor)]
    floating = [tensor for tensor in tensors if tensor.is_floating_point()] or tensors
    if not floating or any(tensor.is_complex() or tensor.is_sparse for tensor in tensors):
        raise TypeError
    return torch.cat([tensor.double().reshape(-1) for tensor in floating])


class Other(Cell):
    """y = operation(h + x, x), flat; h = h' / 2 + sin of as much of y as there is room for."""

    input_size, output_size = N, None

    def __init__(self, operation, pattern):
        super().__init__()
        self.operation, self.pattern = operation, PATTERNS[pattern]

    def initial_state(self):
        return torch.zeros(N, dtype=torch.float64)

    def step(self, x, h):
        y = flat(self.pattern(self.operation, h + x, x * 0.75))
        return y, h / 2 + torch.sin(F.pad(y, (0, N))[:N])


def inputs() -> Tensor:
    x = torch.randn(T, B, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[0, 0] = 0.0
    x[0, 1] = torch.tensor([1.0, 1.0, -1.0, 0.0, 0.5, 0.5])
    x[:, 2] = torch.rand(T, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x


def plainly(cell: Cell, x: Tensor) -> list[Tensor]:
    """(y, gradient of x) by PyTorch, one step of one sequence after the other."""
    x = x.clone().requires_grad_()
    sequences, last = [], []
    for b in range(B):
        h, ys = cell.initial_state(), []
        for t in range(T):
            y, h = cell.step(x[t, b], h)
            ys.append(y)
        sequences.append(torch.stack(ys))
        last.append(h)
    return with_gradient(torch.stack(sequences, 1), torch.stack(last), x)


def with_gradient(y: Tensor, h: Tensor, x: Tensor) -> list[Tensor]:
    return [y.detach(), torch.autograd.grad([y.sum(), h.sum()], x)[0]]


def scanned(cell: Cell, x: Tensor, backend: str) -> list[Tensor]:
    x = x.clone().requires_grad_()
    return with_gradient(*carousel.scan(cell, x, backend=backend), x)


def check(seed: int) -> str:
    """The outcome of an operation and a pattern that fit each other."""
    draw, names, x = random.Random(seed), operations(), inputs()
    while True:
        name, pattern = draw.choice(list(names)), draw.choice(list(PATTERNS))
        cell = Other(names[name], pattern)
        try:
            wanted = plainly(cell, x)
        except Exception:  # they don't fit, or there is no gradient
            continue
        if wanted[0].numel():
            break
    try:
        found = scanned(cell, x, "auto")
    except InputError:
        return f"{name}({pattern}) is refused"
    except Exception as error:
        with pytest.raises(type(error)):  # eager cannot either
            scanned(cell, x, "eager")
        return f"{name}({pattern}) fails in PyTorch's tracing"
    if not all(map(equal, found, wanted)):  # where numbers are infinite, eager may differ from what it traces
        expected = scanned(cell, x, "eager")
        assert all(map(equal, found, expected)), f"{name}({pattern}): {found} for {expected}"
    return f"{name}({pattern}) agrees"


def equal(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, rtol=1e-8, atol=1e-8, equal_nan=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(30))
def test_auto_agrees_with_pytorch(seed: int) -> None:
    check(seed)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(30, 330))
def test_auto_agrees_with_pytorch_in_many_cells(seed: int) -> None:
    check(seed)
