"""Memory cell blocks that are added one after another, whenever the error has stopped decreasing.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, section 4: the first remedy for cells that are abused as biases early in
training. Trials side by side have weights of the same shapes, so a block that is still to come stands in them already, shut: its
gates and cells are exactly 0, no unit hears of it, and no weight of it or to it learns. It is then as if it were not there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from carousel.cells import LSTM1997

SHUT = -1e4  # net input at which a logistic unit is 0 in every float format
LESS = 0.99  # an error that is not below this share of the one before has stopped decreasing


@torch.no_grad()
def shut(network: LSTM1997, block: int) -> None:
    """Shut a block of the network: biases on its gates do it, or in the simple network, which has none, their weights, as one
    of its inputs is always 1."""
    gates, cells = _units(network, block)
    network.W[gates + cells] = SHUT if network.simple else 0
    network.V[:, _columns(network, block)] = 0
    if network.b is not None:
        network.b[gates] = SHUT
        network.b[_biased(network, cells)] = 0


@torch.no_grad()
def add_block(drawn: LSTM1997, block: int, parameters: dict[str, Tensor]) -> None:
    """Give the block, in these parameters, the weights that it has in the network as drawn."""
    gates, cells = _units(drawn, block)
    parameters["W"][gates + cells] = drawn.W[gates + cells]
    columns = _columns(drawn, block)
    parameters["V"][:, columns] = drawn.V[:, columns]
    if drawn.b is not None:
        biased = _biased(drawn, gates + cells)
        parameters["b"][biased] = drawn.b[biased]


def has_stopped_decreasing(errors: Sequence[float]) -> bool:
    """Of mean errors since the last block was added, one a look."""
    return len(errors) > 1 and errors[-1] > LESS * errors[-2]


def _units(network: LSTM1997, block: int) -> tuple[list[int], list[int]]:
    """The rows of W that are the block's gates, and those that are its cells."""
    N, S = network.blocks, network.block_size
    first = len(network.gated) * N + block * S
    return [gate * N + block for gate in range(len(network.gated))], list(range(first, first + S))


def _biased(network: LSTM1997, units: list[int]) -> list[int]:
    return [unit for unit in units if network.b is not None and unit < len(network.b)]


def _columns(network: LSTM1997, block: int) -> list[int]:
    """The columns of V that see the block's cells."""
    S = network.block_size
    first = network.V.shape[1] - network.blocks * S + block * S
    return list(range(first, first + S))
