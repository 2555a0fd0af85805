"""Stream: one step at a time, with the state carried from call to call, to the outputs that the whole sequence gives."""

import torch

import carousel
from carousel.cells import LSTM

torch.manual_seed(0)
cell = LSTM(3, 16, peepholes=True)
inputs = torch.randn(100, 3)

stepper = carousel.Stepper(cell)
for x in inputs[:60]:
    y = stepper(x)

state = stepper.state  # may be kept, and set again
for x in inputs[60:]:
    y = stepper(x)

stepper.state = state  # go on from step 60 once more
again = [stepper(x) for x in inputs[60:]][-1]
assert torch.equal(again, y)

with torch.no_grad():
    outputs, _ = carousel.scan(cell, inputs[:, None])  # the same at once: (T, B, I)
difference = float((outputs[-1, 0] - y).abs().max())
print(f"after {len(inputs)} steps: {difference:.1e} from the outputs of the whole sequence")
