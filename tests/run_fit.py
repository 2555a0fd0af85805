"""Run one training in a process of its own, so that tests can kill it: run_fit.py FOLDER OPTIMIZER RESUME."""

import sys
from pathlib import Path

from tiny import RunningMean, network

import carousel.train

if __name__ == "__main__":
    folder, optimizer, resume = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume"
    carousel.train.CHECKPOINT_EVERY = 0.01  # between evaluations too
    carousel.fit(
        network(zoneout_h=0.1),
        RunningMean(),
        optimizer=optimizer,
        rate=0.01,
        batch_size=7,
        sequences=600,
        evaluate_every=50,
        patience=9,
        monitor="MAE",
        out=folder,
        resume=resume,
    )
