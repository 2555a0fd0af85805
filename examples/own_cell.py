"""A cell of your own at native speed: write one step, and scan runs it over time, forward and backward, as machine code."""

import time

import torch
from torch import Tensor, nn

import carousel


class LeakyUnit(carousel.Cell):
    """h = (1 - a) * h' + a * tanh(W x + U h'), with a = sigmoid(l) learned for each unit."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, hidden_size
        self.W = nn.Parameter(torch.randn(hidden_size, input_size) / input_size**0.5)
        self.U = nn.Parameter(torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.l = nn.Parameter(torch.zeros(hidden_size))

    def initial_state(self) -> Tensor:
        return torch.zeros_like(self.l)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        a = torch.sigmoid(self.l)
        h = (1 - a) * h + a * torch.tanh(self.W @ x + self.U @ h)
        return h, h


torch.manual_seed(0)
cell = LeakyUnit(8, 32)
inputs = torch.randn(200, 16, 8)  # 200 steps of 16 sequences

gradients, milliseconds = {}, {}
for backend in ("eager", "native"):  # PyTorch, one step after the other; and machine code
    for _ in range(2):  # the first call compiles
        start = time.perf_counter()
        outputs, final_state = carousel.scan(cell, inputs, backend=backend)
        gradients[backend] = torch.autograd.grad(outputs.square().mean(), list(cell.parameters()))
        milliseconds[backend] = 1000 * (time.perf_counter() - start)
    print(f"{backend}: {milliseconds[backend]:.1f} ms forward and backward")

torch.testing.assert_close(gradients["native"], gradients["eager"])
print("the gradients agree")
