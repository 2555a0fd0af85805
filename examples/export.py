"""Export: a trained network as a folder for other machines, with one step as an ONNX model (pip install 'carousel-rnn[onnx]')."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch

import carousel
from carousel.data import example
from carousel.export import export, load
from carousel.jobs import forecast

settings = forecast.Settings(
    example("sunspots"), target="Sunspots", model="lstm", hidden=8, base="naive", sequences=320, baseline="none"
)
inputs = torch.randn(30, 2, 1)  # scaled values: 30 steps of 2 sequences

with TemporaryDirectory() as folder:
    run, shared = Path(folder) / "run", Path(folder) / "shared"
    forecast.train(settings, run, progress=False)
    export(run, shared)
    print(", ".join(sorted(path.name for path in shared.iterdir())))

    network = load(shared)  # in Python, with carousel
    with torch.no_grad():
        outputs, _ = carousel.scan(network, inputs)

    session = onnxruntime.InferenceSession(shared / "step.onnx")  # anywhere, without carousel or PyTorch
    x_name, *state = session.get_inputs()
    feeds = {given.name: np.zeros((2, *given.shape[1:]), np.float32) for given in state}
    for x in inputs.numpy():
        y, *after = session.run(None, {x_name.name: x, **feeds})
        feeds = dict(zip(feeds, after, strict=True))
    print(f"largest difference at the last step: {np.abs(y - outputs[-1].numpy()).max():.1e}")
