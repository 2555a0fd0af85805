"""One training, to be run in a process of its own that a test kills."""

import os
from pathlib import Path

import torch

import carousel.train
from tiny import RunningMean, network

# Tracing imports much when it is first used: a process forked from one that has this module need not.
carousel.scan(network(), torch.zeros(1, 2, 1))


def train(folder: Path, optimizer: str, resume: bool) -> None:
    """Train into `folder`, or go on there; checkpoints come thick."""
    os.close(2)
    os.open(os.devnull, os.O_WRONLY)
    torch.set_num_threads(1)
    carousel.train.CHECKPOINT_EVERY = 0.03  # between evaluations too
    carousel.fit(
        network(zoneout_h=0.1),
        RunningMean(),
        optimizer=optimizer,
        rate=0.01,
        batch_size=7,
        sequences=400,
        evaluate_every=50,
        patience=6,
        monitor="MAE",
        out=folder,
        resume=resume,
    )
