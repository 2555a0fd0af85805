"""Whether what was captured is the step: both are run once on random numbers, and their results and gradients compared.

Capturing sees the operations that PyTorch dispatches. What goes past them (a write through an alias that an operation gives
without a word, a number read from a tensor, a backward of one's own) would stand in the graph as something else; here it
shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from carousel.torch_private import is_wrapped, with_forward_derivatives

_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""Of the largest entry: sums may be made in another order."""

_DRAWS = 3


class Drawn(NamedTuple):
    """What to draw for a tensor that the step takes. A weight is drawn near what it is."""

    name: str
    shape: Sequence[int]
    dtype: torch.dtype
    device: torch.device
    is_noise: bool = False
    weight: Tensor | None = None


def difference(
    captured: Callable[[list[Tensor]], list[Tensor]],
    step: Callable[[list[Tensor]], list[Tensor]],
    inputs: Sequence[Drawn],
    with_gradients: bool = True,
) -> str | None:
    """What `captured` gives that the step does not; None where they agree.

    Numbers may lie on an edge (a tie, a jump), where rounding decides: what differs once is drawn twice more.

    Args:
        captured, step:  tensors for the inputs -> the leaves of y and of the next state, of one sequence.
        with_gradients:  compare gradients too.

    Raises:
        RuntimeError: PyTorch cannot run the step.
    """
    found: list[str | None] = []
    for seed in range(_DRAWS):
        generator = torch.Generator().manual_seed(seed)
        given = [_draw(item, generator) for item in inputs]
        wanted, got = step(given), captured(given)
        pairs = [(f"result {n}", a, b) for n, (a, b) in enumerate(zip(wanted, got, strict=True))]
        if with_gradients:
            pairs += _gradients(given, inputs, wanted, got, generator)
        found.append(next((name for name, a, b in pairs if not _agree(a.detach(), b.detach())), None))
        if found == [None] or found.count(None) == 2:
            return None
    return next(filter(None, found))


def _draw(item: Drawn, generator: torch.Generator) -> Tensor:
    like = item.weight
    if like is not None and (
        type(like) not in (Tensor, nn.Parameter, nn.Buffer) or like.is_meta or is_wrapped(like) or with_forward_derivatives()
    ):
        like = None  # tells shape and dtype only
    if not item.dtype.is_floating_point:  # an index, of which 0 is always there, or a flag
        return torch.zeros(item.shape, dtype=item.dtype, device=item.device) if like is None else like.detach()
    draw = torch.rand if item.is_noise else torch.randn
    drawn = draw(item.shape, generator=generator, dtype=item.dtype).to(item.device)
    if item.is_noise:
        return drawn
    return (drawn if like is None else like.detach() + 0.1 * drawn).requires_grad_()


def _gradients(
    given: list[Tensor], inputs: Sequence[Drawn], wanted: list[Tensor], got: list[Tensor], generator: torch.Generator
) -> list[tuple[str, Tensor, Tensor]]:
    """(what of, by PyTorch, as captured) of a random sum of all results."""
    leaves = [tensor for tensor in given if tensor.requires_grad]
    names = [f"the gradient of {item.name}" for item, tensor in zip(inputs, given, strict=True) if tensor.requires_grad]
    if not leaves:
        return []
    weights = [torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf) for leaf in wanted]
    both = []
    for results in (wanted, got):
        parts = [(leaf * w).sum() for leaf, w in zip(results, weights, strict=True) if leaf.requires_grad]
        if parts:
            both.append(torch.autograd.grad(sum(parts[1:], parts[0]), leaves, allow_unused=True, materialize_grads=True))
        else:
            both.append(tuple(torch.zeros_like(tensor) for tensor in leaves))
    return list(zip(names, *both, strict=True))


def _agree(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype not in _TOLERANCE:
        return torch.equal(a, b)
    same = (a == b) | (a.isnan() & b.isnan())
    finite = a[a.isfinite()].abs()
    scale = 1 + (finite.max().item() if len(finite) else 0.0)
    return bool((same | ((a - b).abs() <= _TOLERANCE[a.dtype] * scale)).all())
