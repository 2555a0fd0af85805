"""Cells that nobody foresaw: each on native code and on the reference executor against eager, in everything."""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel.cell import Cell
from carousel.loop import scan
from comparison import EXECUTORS, agree, everything, loops_by, memory_of_nan

N = 5


class Odd(Cell):
    """A cell of size N whose step is `new_state(x, h)`, with two matrices and a vector."""

    input_size = output_size = N

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.W = nn.Parameter(torch.randn(N, N, generator=generator, dtype=torch.float64) / 2)
        self.U = nn.Parameter(torch.randn(N, N, generator=generator, dtype=torch.float64) / 2)
        self.b = nn.Parameter(torch.rand(N, generator=generator, dtype=torch.float64))

    def initial_state(self):
        return self.W.new_zeros(N)

    def step(self, x, state):
        h = self.new_state(x, state)
        return h, h


class MemoryState(NamedTuple):
    memory: Tensor
    key: Tensor


class MemoryAttention(Odd):
    """Attention over the cell's own memory matrix, of which it rewrites one soft row a step."""

    def initial_state(self):
        return MemoryState(self.W.new_zeros(3, N), self.W.new_zeros(N))

    def step(self, x, state):
        weights = torch.softmax(F.cosine_similarity(state.memory + 0.1, self.W @ x, dim=1, eps=1e-3), dim=0)
        read = weights @ state.memory
        key = torch.tanh(self.U @ torch.cat([read[:2], state.key[2:]]) + x)
        memory = state.memory * (1 - torch.outer(weights, torch.sigmoid(key))) + torch.outer(weights, key)
        return read + key, MemoryState(memory, key)


class NormedGates(Odd):
    """Layer norm inside a gate, by hand and by PyTorch, with standard deviation and variance."""

    def new_state(self, x, h):
        z = torch.sigmoid(F.layer_norm(self.W @ x + self.U @ h, (N,), self.b))
        u = self.W @ h + x
        return z * h + (1 - z) * torch.tanh((u - u.mean()) / (u.std() + u.var() + 0.1))


class ThreeState(NamedTuple):
    scalar: Tensor
    vector: Tensor
    matrix: Tensor


class ThreeStates(Odd):
    """A scalar, a vector and a matrix, each fed by another one."""

    def initial_state(self):
        return ThreeState(self.W.new_zeros(()), self.W.new_zeros(N), self.W.new_zeros(2, 3))

    def step(self, x, state):
        matrix = torch.tanh(state.matrix + torch.outer(x[:2], state.vector[:3]) * state.scalar)
        vector = torch.tanh(self.W @ state.vector + x) + matrix.sum(1).repeat(3)[:N]
        scalar = torch.tanh(state.scalar + vector.mean() * matrix.amax())
        return (vector, scalar), ThreeState(scalar, vector, matrix)


class Polynomial(Odd):
    """Powers, roots and quotients."""

    def new_state(self, x, h):
        p = 0.3 * h**3 - 0.5 * h**2 + self.b * x
        return p / (1 + p.abs()) ** 1.5 + (x * x + 0.1).sqrt() * (h * h + 1).rsqrt() + (self.b + 1) ** h.clamp(-1, 1) * 0.1


class Choices(Odd):
    """where, clamp, maximum, relu, masked_fill and comparisons."""

    def new_state(self, x, h):
        a = torch.where((x > 0) & (h < 0.5), self.U @ h, x * self.b)
        b = torch.maximum(a, x).minimum(torch.ones_like(x) / 2) + F.relu(h - x)
        return a.clamp(-0.7, 0.9) + b.masked_fill(h.abs() > 0.8, 0.1) - F.leaky_relu(a).tanh()


class Running(Odd):
    """cumsum, flip, roll and padding along the state."""

    def new_state(self, x, h):
        c = torch.cumsum(torch.sin(h) * x, 0) / N
        return torch.tanh(c.flip(0).roll(2) + F.pad(h[1:3], (1, 2)) + self.U @ c)


class Einsum(Odd):
    """Products of the state with itself through the weights, written as einsum."""

    def new_state(self, x, h):
        return torch.tanh(torch.einsum("ij,jk,k->i", self.W, torch.outer(x, h), h) + torch.einsum("i,ij,j->", x, self.U, h))


class Sorted(Odd):
    """sort, argsort, gather, topk, argmax, and an embedding looked up by what the state says."""

    def new_state(self, x, h):
        ordered, order = torch.sort(h + x, descending=True)
        row = F.embedding(torch.argmax(h + 2 * x), self.U)
        return torch.tanh(ordered + torch.gather(x, 0, order) * self.b + h[torch.argsort(x)] + row + torch.topk(h, 3)[0].sum())


class Permuted(Odd):
    """permute, stack, unbind, transposed weights and a matrix seen as an image."""

    def new_state(self, x, h):
        image = torch.stack([x, h, self.b]).permute(1, 0)
        rows = (image @ image.t()).softmax(1)
        return torch.tanh(self.W.t() @ rows.unbind(1)[2] + rows.reshape(N * N)[::6] + (x @ self.U))


class Masked(Odd):
    """A masked weight, and one weight tied across gates and transposed in one of them."""

    def new_state(self, x, h):
        masked = self.W * torch.tril(torch.ones(N, N, dtype=self.W.dtype))
        gate = torch.sigmoid(masked @ h + self.U @ x)
        return gate * h + (1 - gate) * torch.tanh(masked.t() @ x + self.U @ h)


class Rotation(Odd):
    """A complex rotation written in reals: the angle of each pair depends on x, the length decays."""

    def initial_state(self):
        return self.W.new_zeros(2, N)

    def step(self, x, state):
        angle = self.W @ x
        c, s = torch.cos(angle), torch.sin(angle)
        real, imaginary = state
        turned = torch.stack([c * real - s * imaginary, s * real + c * imaginary]) * torch.exp(-F.softplus(self.b))
        turned = turned + torch.stack([x, torch.erf(x)])
        return turned.pow(2).sum(0).add(1e-3).log(), turned


class InPlace(Odd):
    """In-place changes of values made in the step, a counter, a delayed input and a state that stays as it is."""

    def initial_state(self):
        return (self.W.new_zeros(N), torch.zeros((), dtype=torch.int64), self.W.new_zeros(N), self.W.new_zeros(2))

    def step(self, x, state):
        h, count, last_x, kept = state
        a = torch.tanh(self.U @ h).clone()
        a[1:3] += last_x[:2]
        a[::2] *= 0.5
        a.add_(kept.sum()).mul_(0.9)
        even = (count.unsqueeze(0) > 1).to(a.dtype)
        return (a * even, count), (a, count + 1, x, kept)


class Detached(Odd):
    """A gradient cut by the cell itself, and functions that PyTorch composes of others."""

    def new_state(self, x, h):
        return torch.tanh(self.W @ h.detach() + F.gelu(x) + F.silu(h) * F.log_softmax(x, 0) + torch.logsumexp(h, 0) + x.norm())


ODD = [
    MemoryAttention,
    NormedGates,
    ThreeStates,
    Polynomial,
    Choices,
    Running,
    Einsum,
    Sorted,
    Permuted,
    Masked,
    Rotation,
    InPlace,
    Detached,
]


@pytest.mark.parametrize("lengths", [None, (3, 4, 0, 1, 4)], ids=["equal", "ragged"])
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_odd_cells_agree_with_eager(odd, executor, lengths):
    cell = odd()
    x = torch.randn(4, 5, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lengths = None if lengths is None else torch.tensor(lengths)
    expected = everything(cell, "eager", x, lengths)
    with loops_by(EXECUTORS[executor]), memory_of_nan():
        agree(everything(cell, "native", x, lengths), expected)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_odd_cells_in_float32_with_one_sequence(odd):
    cell = odd().float()
    x = torch.randn(3, 1, N, generator=torch.Generator().manual_seed(1))
    agree(everything(cell, "native", x), everything(cell, "eager", x), torch.float32)


class RowsTimesTransposed(Cell):
    """h (3, 4) -> tanh(h U^T + x): a product of rows with the transpose of a weight, which is made once a call."""

    def __init__(self) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) / 2)

    def initial_state(self) -> Tensor:
        return self.U.new_zeros(3, 4)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(state @ self.U.t() + x)
        return h.sum(0), h


def test_rows_times_a_transposed_weight() -> None:
    cell = RowsTimesTransposed().double()
    x = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.double).transpose(0, 1)  # not contiguous
    found = []
    for backend in ("native", "eager"):
        outputs, state = scan(cell, x, backend=backend)
        found.append((outputs, state, torch.autograd.grad(outputs.square().sum(), cell.U)))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)
