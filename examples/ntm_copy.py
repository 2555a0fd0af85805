"""A Neural Turing Machine learns to copy: sequences of up to 5 vectors here, in a few seconds.

`carousel reproduce ntm2014/copy` does the experiment of the paper, with sequences of 20 vectors and tests on 120.
"""

import torch

import carousel
from carousel.cells import NTM
from carousel.learn import BPTT
from carousel.tasks import Copy

task = Copy(bits=4, longest=5)
torch.manual_seed(0)
cell = NTM(task.input_size, task.output_size, hidden_size=40, N=16, M=8)

trained = carousel.fit(
    cell,
    task,
    learner=BPTT(clip_value=10),
    optimizer="rmsprop-graves",
    rate=2e-3,
    batch_size=16,
    sequences=8000,
    evaluate_every=2000,
    monitor="bits",
    progress=False,
)
for row in trained.history:
    if row["split"] == "validation" and row["name"] == "bits":
        print(f"{row['sequences']:5} sequences: {row['value']:.3f} bits a sequence")
