"""Run a cell on two backends and compare everything that comes out: outputs, states, every gradient."""

from contextlib import contextmanager

import torch
from torch.utils import _pytree as pytree

import carousel
from carousel import engine
from carousel.engine import reference

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@contextmanager
def loops_by(lowering):
    """The native backend with another executor of loops."""
    kept, engine.LOWERING = engine.LOWERING, lowering
    try:
        yield
    finally:
        engine.LOWERING = kept


@contextmanager
def memory_of_nan():
    """Whatever PyTorch allocates without filling it is NaN, so that reading it shows."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def everything(cell, backend, inputs, lengths=None, seed=0, frozen=()):
    """All results of a scan and all gradients of a random loss on them, as a flat dict."""
    torch.manual_seed(seed)
    dtype = next((leaf.dtype for leaf in pytree.tree_leaves(inputs) if leaf.is_floating_point()), torch.float64)
    B = pytree.tree_leaves(inputs)[0].shape[1]

    def leaf_of(tensor):
        tensor = tensor.detach().clone()
        return tensor.requires_grad_() if tensor.is_floating_point() else tensor

    inputs = pytree.tree_map(leaf_of, inputs)
    start = pytree.tree_map(
        lambda leaf: leaf_of(
            leaf + torch.randn(B, *leaf.shape, dtype=leaf.dtype) / 2
            if leaf.is_floating_point()
            else leaf.repeat(B, *[1] * leaf.dim())
        ),
        cell.initial_state(),
    )
    result = carousel.scan(cell, inputs, start, lengths=lengths, return_states=True, backend=backend)
    found = {f"result{path}": leaf for path, leaf in pytree.tree_leaves_with_path(result)}
    sources = {f"d {name}": p for name, p in cell.named_parameters() if name not in frozen}
    sources |= {
        f"d {kind}{pytree.keystr(path)}": leaf
        for kind, tree in (("x", inputs), ("state", start))
        for path, leaf in pytree.tree_leaves_with_path(tree)
    }
    sources = {name: leaf for name, leaf in sources.items() if leaf.requires_grad}
    differentiable = [leaf for leaf in found.values() if leaf.requires_grad]
    cotangents = [torch.randn(leaf.shape, dtype=dtype) for leaf in differentiable]
    gradients = torch.autograd.grad(differentiable, list(sources.values()), cotangents, allow_unused=True)
    found |= {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in zip(sources.items(), gradients, strict=True)}
    return {name: leaf.detach() for name, leaf in found.items()}


def agree(given, expected, dtype=torch.float64):
    """Every tensor equal to TOLERANCE, as the largest error over the largest entry."""
    assert given.keys() == expected.keys()
    for name, want in expected.items():
        have = given[name]
        assert have.shape == want.shape, name
        assert have.dtype == want.dtype, name
        if not want.is_floating_point():
            assert torch.equal(have, want), name
        elif want.numel():
            error = (have - want).abs().max() / want.abs().max().clamp_min(1e-3)
            assert error <= TOLERANCE[dtype], f"{name}: {error:.2e}"


EXECUTORS = {"native": engine.LOWERING, "reference": reference.Reference()}
"""What runs the loops of a plan: machine code, or PyTorch step by step."""
