"""Every kind of operation that a step is captured in: its value and its adjoint against PyTorch's own.

Each function stands for a step; it is captured, its adjoint is made on the operations, and both are
run for one row (no leading axis) and for several at once.
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from carousel.cell import Cell
from carousel.engine import batched, ir
from carousel.engine.adjoint import adjoint
from carousel.engine.build import Builder
from carousel.engine.capture import capture
from carousel.engine.kinds import KINDS

N = 5


class Step(Cell):
    """y = next h = function(cell, x, h)."""

    def __init__(self, function):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.function = function
        self.W = nn.Parameter(torch.randn(N, N, generator=generator, dtype=torch.float64))
        self.v = nn.Parameter(torch.rand(N, generator=generator, dtype=torch.float64))

    def step(self, x, h):
        y = self.function(self, x, h)
        return y, y


def _assigned(c, x, h):
    a = h.clone()
    a[1:3] += x[:2]
    a[::2] = 0
    return a.mul_(2)


STEPS = {
    "affine": lambda c, x, h: F.linear(x, c.W, c.v) + c.W.t() @ h - 2 * x + (1 - h),
    "products": lambda c, x, h: (
        (torch.outer(x, h) @ c.W + c.W @ torch.outer(h, x)).sum(0) + (torch.outer(x, h) @ torch.outer(h, x))[0]
    ),
    "batched products": lambda c, x, h: torch.bmm(torch.stack([c.W, c.W * x]), torch.stack([torch.outer(x, h)] * 2)).sum((0, 1)),
    "dot": lambda c, x, h: torch.dot(x, h) * x + torch.addmv(h, c.W, x, beta=0.5, alpha=2) + torch.outer(x, h) @ c.v,
    "smooth": lambda c, x, h: (
        torch.exp(-x) + torch.expm1(h) + torch.log(h.abs() + 1) + torch.log1p(x.abs()) + torch.sin(h) * torch.cos(x) + torch.erf(x)
    ),
    "other functions": lambda c, x, h: (
        torch.tan(x)
        + torch.asin(h / 4)
        + torch.acos(x / 4)
        + torch.atan(h)
        + torch.sinh(x)
        + torch.cosh(h)
        + torch.asinh(x)
        + torch.acosh(h.abs() + 1.5)
        + torch.atanh(x / 4)
        + torch.erfc(h)
        + torch.exp2(x)
        + torch.atan2(x, h)
        + torch.hypot(x, c.v)
        + torch.copysign(x, h)
    ),
    "remainders": lambda c, x, h: (
        torch.fmod(5 * x, c.v)
        + torch.remainder(5 * h, x)
        + torch.ceil(3 * x) * h
        + torch.trunc(2 * h) * x
        + torch.round(3 * h) * x
        + torch.frac(x)
    ),
    "running products": lambda c, x, h: torch.cumprod(x, 0) + torch.logcumsumexp(h, 0) + torch.outer(x, h).prod(1) + h.prod(),
    "windows": lambda c, x, h: (
        F.conv1d(x[None, None], h[None, None, :3], padding=1)[0, 0]
        + F.conv1d(torch.outer(x, h)[None], c.W[:, None, :2], stride=2, groups=N)[0].sum(1)
        + F.conv2d(torch.outer(x, h)[None], c.W[:2, :2][None, None], c.v[:1])[0].sum()
        + F.conv1d(torch.stack([x, h])[:, None], c.W[:2, None, :4], dilation=1).sum((0, 1)).sum()
        + x.unfold(0, 2, 1).sum() * h
        + F.unfold(torch.outer(x, h)[None, None], 2, padding=1, stride=2)[0].sum(0)[:N]
        + F.max_pool1d(h[None], 3, 1, 1)[0]
        + F.avg_pool1d(x[None], 3, 1, 1)[0]
        + F.max_pool2d(torch.outer(x, h)[None], 2)[0].sum()
        + F.adaptive_avg_pool1d(torch.cat([x, h])[None], N)[0]
    ),
    "two indices": lambda c, x, h: (
        torch.outer(x, h)[torch.tensor([0, -1, 2, 2, 4]), torch.tensor([1, 1, -2, 2, 0])]
        + c.W[torch.argsort(h), torch.argsort(x)]
        + torch.stack([torch.outer(x, h)] * 2)[:, torch.tensor([[0], [1]]), torch.tensor([[0, 2]])].sum() * x
    ),
    "roots": lambda c, x, h: torch.sqrt(h.abs() + 0.1) + torch.rsqrt(x.abs() + 1) + torch.reciprocal(h.abs() + 1) / (x * x + 1),
    "squashed": lambda c, x, h: torch.tanh(x) + torch.sigmoid(h) + F.softplus(30 * x) + F.gelu(h) + F.silu(x) + F.elu(h),
    "powers": lambda c, x, h: h**2 + h**3 + (x.abs() + 0.1) ** 0.5 + (h.abs() + 0.1) ** c.v + c.v**x + 2**h + torch.square(x),
    "steps": lambda c, x, h: (
        h.sign() * x.floor() + h.abs() * (x > 0) + F.relu(h - x) + torch.div(x, c.v, rounding_mode="floor") * h
    ),
    "choice": lambda c, x, h: torch.where((x > 0) & ~(h < 0) | (x == h), h, x * c.v).masked_fill(h >= 1, 0.3) + (h != x) * x,
    "bounds": lambda c, x, h: (
        torch.maximum(x, h) + torch.minimum(x, c.v) + x.clamp(-0.5, 0.5) + h.clamp_min(0) + torch.clamp(x, min=h)
    ),
    "ties": lambda c, x, h: torch.maximum(x, x * 1) + torch.minimum(h, h + 0) + torch.stack([x, x]).amax(0) + F.relu(h * 0),
    "sums": lambda c, x, h: (
        x.sum() + h.mean() * x + torch.outer(x, h).sum(1) + torch.outer(h, x).mean(0) + x.var() + h.std(correction=0)
    ),
    "extremes": lambda c, x, h: h.max() * x + h.amax(0) + x.min(0)[0] + torch.outer(x, h).amin(1) + torch.outer(x, h).max(0)[0],
    "norms": lambda c, x, h: F.layer_norm(c.W @ h + x, (N,), c.v) + x.norm() + h.norm(1) + F.cosine_similarity(x, h, dim=0),
    "softmax": lambda c, x, h: torch.softmax(c.W @ h, 0) * x + F.log_softmax(x + h, 0) + torch.logsumexp(h, 0),
    "quantifiers": lambda c, x, h: x * (h > 0).any() + h * (x > -9).all() + (x > 0).sum() * h,
    "views": lambda c, x, h: (
        torch.outer(x, h).t().reshape(-1)[::N]
        + (torch.outer(x, h) * c.W).permute(1, 0).sum(1)
        + h.expand(2, N).sum(0)
        + torch.stack(torch.outer(x, h).unbind(1))[3]
        + torch.cat([x[3:], h.chunk(2)[0]])
    ),
    "moves": lambda c, x, h: (
        h.flip(0).roll(2) + F.pad(x[1:3], (1, 2)) + x.repeat(2)[3:8] + torch.outer(x, h).roll((1, 2), (0, 1))[1]
    ),
    "assigned": _assigned,
    "triangles": lambda c, x, h: (
        (c.W * torch.tril(torch.ones(N, N))).to(x) @ h + torch.outer(x, h).triu(1).sum(0) + torch.outer(x, h).diagonal()
    ),
    "running": lambda c, x, h: torch.cumsum(x * h, 0) + torch.outer(x, h).cumsum(1)[2],
    "sorted": lambda c, x, h: torch.sort(h + x, descending=True)[0] + h[torch.argsort(x)] + torch.topk(x, 3)[0].sum() * h,
    "gathered": lambda c, x, h: (
        torch.gather(h, 0, torch.argsort(x)) * x + torch.outer(x, h).index_select(1, torch.tensor([3, 0]))[:, 1]
    ),
    "scattered": lambda c, x, h: (
        x * torch.scatter(h, 0, torch.argmax(x)[None], 2.0) + torch.zeros_like(x).index_add(0, torch.argsort(h), x)
    ),
    "looked up": lambda c, x, h: F.embedding((x > 0).sum().clamp(max=4), c.W) + F.one_hot(torch.argmin(h), N).to(h) * x,
    "cut": lambda c, x, h: x.detach() * h,
}


def test_the_documents_count_the_kinds_of_the_table():
    page = Path(__file__).parents[2] / "docs" / "engine.md"
    assert f"one of {len(KINDS)} kinds" in " ".join(page.read_text().split())


def test_every_kind_is_used_here():
    used = set()
    for function in STEPS.values():
        b, _, _ = with_adjoint(function)
        used |= {op.kind for op in b.ops}
    assert used == set(KINDS)


def with_adjoint(function):
    """(builder with the operations of a step and their adjoint, graph, cotangents by value)."""
    like = torch.empty(N, dtype=torch.float64)
    graph, _ = capture(Step(function), like, like, (), {}, {})
    b = Builder.resumed(graph)
    g = b.input("g", (N,), torch.float64, ir.STEP)
    return b, graph, adjoint(b, graph.ops, {graph.outputs[0]: g}, [*graph.weights, *graph.inputs, *graph.state])


@pytest.mark.parametrize("name", STEPS)
def test_value_and_adjoint_are_pytorchs(name):
    cell = Step(STEPS[name])
    weights = list(cell.parameters())
    generator = torch.Generator().manual_seed(1)
    xs, hs, gs = (torch.randn(3, N, generator=generator, dtype=torch.float64) for _ in range(3))
    b, graph, cotangents = with_adjoint(STEPS[name])
    rows = dict(zip((*graph.weights, *graph.inputs, *graph.state), (*weights, xs, hs), strict=True))
    rows |= b.constants
    (g,) = [value for value in b.lead if value.name == "g"]
    rows[g] = gs
    one = {value: tensor[0] if b.lead[value] == ir.STEP else tensor for value, tensor in rows.items()}
    with torch.no_grad():
        batched.run(batched.instructions(b.ops, lambda value: b.lead[value] == ir.STEP), rows)
        batched.run(batched.instructions(b.ops, lambda value: False), one)
    for row, env in ((None, one), (0, rows), (2, rows)):
        x, h, cotangent = (tensor[row or 0].clone().requires_grad_() for tensor in (xs, hs, gs))
        y, _ = cell.step(x, h)
        expected = torch.autograd.grad(y, (*weights, x, h), cotangent.detach(), allow_unused=True)
        pick = (lambda value, env=env: env[value]) if row is None else (lambda value, env=env, row=row: env[value][row])
        torch.testing.assert_close(pick(graph.outputs[0]), y.detach(), rtol=1e-12, atol=1e-12)
        for value, want in zip((*graph.weights, *graph.inputs, *graph.state), expected, strict=True):
            if value not in cotangents:
                assert want is None or not want.any()
            else:
                torch.testing.assert_close(pick(cotangents[value]), want, rtol=1e-11, atol=1e-12)
