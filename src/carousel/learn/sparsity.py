"""Which derivatives of a network's step are always zero, and how those that are not are kept in few rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.func import functional_call, jacrev

from carousel.cell import Cell, State
from carousel.learn.online import Parameters, entries, with_entries
from carousel.torch_private import pytree

DRAWS = 20
"""Random places; more than a few, since a rectifier's derivative is zero in half of them."""


def dependences(network: Cell, marked: Sequence[bool], parameters: Parameters) -> tuple[Tensor, Parameters]:
    """Where the derivatives of a step's s are not always zero: ds/ds' (n, n) and, by parameter's name, ds/dw (n, ...).

    s are the entries of the marked leaves of the state. The derivatives are looked at in random places, once for a
    network and its options: a learner asks again with every batch.
    """
    options = (repr(network), tuple(marked), next(iter(parameters.values())).dtype)
    if _found.get(network, (None,))[0] != options:
        _found[network] = (options, _dependences(network, marked, parameters))
    return _found[network][1]


_found: WeakKeyDictionary[Cell, Any] = WeakKeyDictionary()


def _dependences(network: Cell, marked: Sequence[bool], parameters: Parameters) -> tuple[Tensor, Parameters]:
    def carry(parameters: Parameters, s: Tensor, x: Tensor, state: State) -> Tensor:
        return entries(functional_call(network, parameters, (x, with_entries(state, marked, s)))[1], marked)

    generator = torch.Generator().manual_seed(0)

    def drawn(leaf: Tensor) -> Tensor:
        return torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf)

    slopes: Any = 0
    patterns: dict[str, Any] = dict.fromkeys(parameters, 0)
    for _ in range(DRAWS):
        weights = {name: drawn(parameter) for name, parameter in parameters.items()}
        state = pytree.tree_map(drawn, network.initial_state())
        x = drawn(next(iter(weights.values())).new_empty(network.input_size or 0))
        of_weights, of_s = jacrev(carry, argnums=(0, 1))(weights, entries(state, marked), x, state)
        slopes = slopes + of_s.detach().abs()
        patterns = {name: patterns[name] + of_weights[name].detach().abs() for name in patterns}
    return slopes > 0, {name: pattern > 0 for name, pattern in patterns.items()}


def colouring(patterns: Parameters) -> list[list[int]]:
    """The entries of s in groups ("colours") such that no two entries of a group depend on one weight.

    Args:
        patterns:  by parameter's name, ds/dw (n, ...) bool, as `dependences` gives them.
    """
    of_all = torch.cat([pattern.flatten(1) for pattern in patterns.values()], 1).double()
    together = of_all @ of_all.T > 0
    colours: list[list[int]] = []
    for entry in range(len(together)):
        for colour in colours:
            if not together[entry, colour].any():
                colour.append(entry)
                break
        else:
            colours.append([entry])
    return colours
