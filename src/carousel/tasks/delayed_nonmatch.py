"""Delayed nonmatch to sample: does each bit differ from the one that was last marked?

Williams & Zipser, Neural Computation 1(2), 1989. One input is a bit, drawn at random at every step; the other, the cue, is 1
where that bit is to be remembered until the next cue comes. The answer is 1 where a bit differs from the remembered one and 0
where it matches. It takes a latch and an exclusive or, and is due `delay` updates of the units after its bit, as in
the pipelined exclusive or. A sequence is right where every output is on the right side of 1/2.

Ours, since the paper leaves them open: sequences of 100 steps that begin with a cue, of which every later step has one with
probability 1/5; a marked bit matches itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from carousel.batch import Batch
from carousel.errors import InputError
from carousel.tasks.lag import LagTask, drawn_lengths
from carousel.tasks.pipelined_xor import STEPS, answered_later, bits_over_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUE = 0.2  # its probability


class DelayedNonmatch(LagTask):
    """Inputs: a bit and the cue. Output: 1 where the bit differs from the remembered one. Lengths: `length`, in steps.

    Args:
        delay:  updates of the units between a bit and its answer.
    """

    input_size, output_size = 2, 1
    tolerance = 0.5
    channels = ("bit", "cue")

    def __init__(self, delay: int = 2) -> None:
        if not 1 <= delay <= STEPS:
            raise InputError(f"DelayedNonmatch: expected delay in 1..{STEPS}, got {delay}")
        self.delay = delay

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        """B sequences of 100 steps, or of `length`."""
        steps = drawn_lengths("DelayedNonmatch", STEPS, STEPS, B, generator, lengths, shortest=self.delay)
        T = int(steps.max())
        bits = torch.randint(2, (T, B), generator=generator).to(torch.get_default_dtype())
        cues = torch.rand(T, B, generator=generator) < CUE
        cues[0] = True
        latest = torch.where(cues, torch.arange(T)[:, None], 0).cummax(0).values  # the step of the last cue
        differ = (bits != bits.gather(0, latest)).to(bits.dtype)
        return answered_later(torch.stack([bits, cues.to(bits.dtype)], 2), differ[..., None], self.delay, steps)

    def draw(self, batch: Batch, outputs: Any = None) -> Figure:
        """The first sequence over time: bit and cue, the answers that are asked for and, with outputs, the network's."""
        return bits_over_time(batch, outputs, self.channels, ("differs",))
