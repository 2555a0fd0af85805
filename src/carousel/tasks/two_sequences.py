"""Two sequences: which of two classes began, when only noise came since.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, experiment 3, after Bengio, Simard & Frasconi (1994). The first N
numbers are 1 (class 1) or -1 (class 2), the others Gaussian noise of mean 0 and variance 0.2; the length is from T to
1.1 T, and the class is asked at the last step.

- 3a: target 1 for class 1, 0 for class 2.
- 3b: the same, and noise of variance 0.2 is added to the first N numbers too.
- 3c: as 3a, with targets 0.2 for class 1 and 0.8 for class 2, and noise of variance 0.1 on the targets. A sequence is
  wrong where the output is further than 0.1 from the target without noise.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import LagTask, answered_at_the_end, drawn_lengths

Variant = Literal["3a", "3b", "3c"]
INPUT_VARIANCE, TARGET_VARIANCE = 0.2, 0.1


class TwoSequences(LagTask):
    """Input: a number. Output: the class. Lengths: `length`, in steps.

    Args:
        T:        the least length in training.
        N:        numbers that tell the class.
        variant:  "3a", "3b" or "3c".
    """

    input_size, output_size = 1, 1
    channels = ("number",)

    def __init__(self, T: int = 100, N: int = 3, variant: Variant = "3a") -> None:
        if not 1 <= N < T:
            raise InputError(f"TwoSequences: expected N in 1..{T - 1} (less than T), got {N}")
        if variant not in get_args(Variant):
            raise InputError(f"TwoSequences: expected variant to be one of {', '.join(get_args(Variant))}, got {variant!r}")
        self.T, self.N, self.variant = T, N, variant
        self.tolerance = 0.1 if variant == "3c" else 0.2

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences; their lengths are drawn, or all `length`."""
        steps = drawn_lengths("TwoSequences", self.T, self.T + self.T // 10, B, generator, lengths)
        sign = 2.0 * torch.randint(2, (B,), generator=generator) - 1
        numbers = torch.randn(int(steps.max()), B, generator=generator) * INPUT_VARIANCE**0.5
        numbers[: self.N] = sign + (numbers[: self.N] if self.variant == "3b" else 0.0)
        target = self._clean(sign)
        if self.variant == "3c":
            target = target + torch.randn(B, generator=generator) * TARGET_VARIANCE**0.5
        return answered_at_the_end(numbers[..., None], target[:, None], steps)

    def distances(self, outputs: Tensor, batch: Batch) -> Tensor:
        """abs(target - y) (T, B, 1) at the steps that count, from the target without noise."""
        if self.variant != "3c":
            return super().distances(outputs, batch)
        target = self._clean(batch.inputs[0, :, 0])[:, None]
        return torch.where(batch.mask[..., None], (outputs - target).abs(), 0.0)

    def _clean(self, sign: Tensor) -> Tensor:
        """The target (B,) without noise, of what a sequence begins with."""
        return 0.5 - 0.3 * sign if self.variant == "3c" else 0.5 + 0.5 * sign
