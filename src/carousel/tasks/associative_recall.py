"""AssociativeRecall: shown a list of items and one of them again, say the next.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, section 4.3. An item is three random binary vectors of six
bits. Shown are `items` items, each after a step with a one on the item delimiter's input; then the query,
one of the items but not the last, between two steps with a one on the query delimiter's input. Asked for,
without input, is the item that followed the query in the list. Training draws the number of items from
2..6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from carousel.errors import InputError
from carousel.tasks.binary import BinaryTask, random_bits


class AssociativeRecall(BinaryTask):
    """Inputs: the vector's bits, the item delimiter, the query delimiter. Outputs: the vector's bits. Lengths: `items`.

    Args:
        bits:     of a vector.
        vectors:  of an item.
        most:     items that training goes up to.
    """

    def __init__(self, bits: int = 6, vectors: int = 3, most: int = 6) -> None:
        self.vectors = vectors
        self.input_size, self.output_size = bits + 2, bits
        self.ranges = {"items": (2, most)}

    def sequence(self, generator: torch.Generator, **lengths: int) -> tuple[Tensor, Tensor]:
        count, size = lengths["items"], self.vectors
        if count < 2:
            raise InputError(f"AssociativeRecall: expected items of at least 2, got {count}")
        items = random_bits(count * size, self.output_size, generator).reshape(count, size, self.output_size)
        query = int(torch.randint(0, count - 1, (), generator=generator))
        listed = items.new_zeros(count, 1 + size, self.input_size)
        listed[:, 0, -2] = 1
        listed[:, 1:, :-2] = items
        asked = items.new_zeros(size + 2, self.input_size)
        asked[[0, -1], -1] = 1
        asked[1:-1, :-2] = items[query]
        return torch.cat([listed.flatten(0, 1), asked]), items[query + 1]
