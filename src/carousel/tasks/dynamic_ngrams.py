"""DynamicNGrams: predict bits whose statistics are new in every sequence.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, section 4.4. Each sequence has a table of its own: the
probability of a one after each of the 32 contexts of five bits, drawn from Beta(1/2, 1/2). The first five
bits are fair coins. At every step the network sees the bit before (0 at the first step) and predicts the
next: `length` predictions, 200 in training. The best that can be done, having seen N0 zeros and N1 ones
after the context at hand, is the Bayesian estimate

    P(1) = (N1 + 1/2) / (N0 + N1 + 1)                                                       (10)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.tasks.binary import BinaryTask
from carousel.tasks.drawing import predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class DynamicNGrams(BinaryTask):
    """One input: the bit before. One output: the logit of the next. Lengths: `length`, in predictions.

    Args:
        context:  bits that the next one depends on.
        length:   of a sequence in training.
    """

    def __init__(self, context: int = 5, length: int = 200) -> None:
        self.context = context
        self.input_size, self.output_size = 1, 1
        self.ranges = {"length": (length, length)}

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        self._refuse_others(lengths)
        steps = lengths.get("length", self.ranges["length"][0])
        dtype = torch.get_default_dtype()
        # If u is uniform, sin^2(pi u / 2) is Beta(1/2, 1/2).
        table = torch.sin(torch.rand(B, 2**self.context, generator=generator, dtype=dtype) * (math.pi / 2)).square()
        draws = torch.rand(steps, B, generator=generator, dtype=dtype)
        bits = torch.zeros(steps, B, dtype=torch.int64)
        seen = torch.zeros(B, dtype=torch.int64)
        for t in range(steps):
            ones = table.gather(1, seen[:, None])[:, 0] if t >= self.context else torch.full((B,), 0.5)
            bits[t] = draws[t] < ones
            seen = self._next_context(seen, bits[t])
        targets = bits[:, :, None].to(dtype)
        inputs = torch.cat([torch.zeros(1, B, 1, dtype=dtype), targets[:-1]])
        return Batch(inputs, targets, torch.ones(steps, B, dtype=torch.bool), torch.full((B,), steps))

    def validation(self) -> Batch:
        """1000 sequences, as in the paper."""
        return self.sample(1000, torch.Generator().manual_seed(0x5EED))

    def optimum(self, batch: Batch) -> Tensor:
        """Logits (T, B, 1) of the best prediction (equation 10) from the inputs before it; outputs of a reference model."""
        steps, B = batch.mask.shape
        bits = batch.inputs[:, :, 0].long().cpu()
        counts = torch.full((B, 2**self.context, 2), 0.5, dtype=torch.float64)
        rows = torch.arange(B)
        logits = torch.zeros(steps, B, 1, dtype=torch.float64)
        seen = torch.zeros(B, dtype=torch.int64)
        for t in range(steps):
            if t > 0:
                if t > self.context:  # the bit that is seen now came after a whole context
                    counts[rows, seen, bits[t]] += 1
                seen = self._next_context(seen, bits[t])
            if t >= self.context:
                zeros, ones = counts[rows, seen].unbind(1)
                logits[t, :, 0] = torch.log(ones / zeros)
        return logits

    def score(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        """Means over sequences: bits of all predictions, and how many more these are than the optimum's on the same sequences."""
        bits = self.bits(outputs, batch).cpu()
        best = self.bits(self.optimum(batch), batch.to("cpu"))
        return {"bits": float(bits.mean()), "over the optimum": float((bits - best).mean())}

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence: its bits, the best prediction and, with outputs, the network's."""
        steps = int(batch.lengths[0])
        bits = batch.targets[:steps, 0, 0].cpu().numpy()
        lines = {"optimum": torch.sigmoid(self.optimum(batch)[:steps, 0, 0]).numpy()}
        if outputs is not None:
            lines["network"] = torch.sigmoid(outputs[:steps, 0, 0].detach()).cpu().numpy()
        return predictions(bits, lines)

    def _next_context(self, seen: Tensor, bit: Tensor) -> Tensor:
        """The latest `context` bits as a number, the latest bit last."""
        return (2 * seen + bit) % 2**self.context
