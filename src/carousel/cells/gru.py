"""GRU: the gated recurrent unit, its two places for the reset, and its gate variants.

Cho et al., arXiv 1406.1078v3, equations 5-8. One step, without options::

    r = sigmoid(W_r x + U_r h' + b_r)             reset gate
    z = sigmoid(W_z x + U_z h' + b_z)             update gate
    n = tanh(W_n x + U_n (r * h') + b_n)          candidate
    h = (1 - z) * n + z * h'

with h' the previous state; y is h. This z keeps the old state, as in Cho et al. and torch.nn.GRU;
Dey & Salem (and Chung et al., arXiv 1412.3555) write h = (1 - z) * h' + z * n, whose z is one
minus this one. W, U and b hold the rows of r, z and n in this order. Options:

- ``reset_after=True``: n = tanh(W_n x + b_n + r * (U_n h' + b_hn)), the reset after the product
  and one more bias, as cuDNN and torch.nn.GRU have it.
- ``gates_see="xhb"``: which of input, previous state and bias the two gates are computed from; rows
  of the others are not there. Dey & Salem, arXiv 1701.05923v1: "xhb" is their GRU0, "hb" GRU1,
  "h" GRU2, "b" GRU3. "xb": gates driven by the input only, for comparison.
- ``activation="relu"``: n = relu(...), as Dey & Salem had it on MNIST.
- ``zoneout=q``: in training each entry of h keeps its previous value with probability q; in
  evaluation the expected value is taken (Krueger et al., arXiv 1606.01305v4).
- ``dropout_x=q, dropout_h=q``: one mask a sequence on x and on the h' inside the products, scaled
  by 1 / (1 - q) (variational dropout, Gal & Ghahramani, arXiv 1512.05287v5, one mask for all rows).

Not here: layer norm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from carousel.cell import Cell, NoiseShapes
from carousel.cells._common import check_probability, check_sizes, dropped, squashing, uniform_, zoned_out
from carousel.errors import InputError

GATES_SEE = ("xhb", "hb", "h", "b", "xb")


class GRU(Cell):
    """One GRU step; the module's docstring has the equations and the options. The state is the tensor h (H,).

    Args:
        input_size:   I, length of x.
        hidden_size:  H, number of units; y is h.
        bias:         False: no bias anywhere.

    Parameters W (3H, I), U (3H, H), b (3H,), less 2H rows of what the gates do not see, and b_hn
    (H,) with reset_after, start as U(-1/sqrt(H), 1/sqrt(H)), as in torch.nn.GRU.
    """

    input_size: int
    output_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        reset_after: bool = False,
        gates_see: str = "xhb",
        activation: str = "tanh",
        zoneout: float = 0.0,
        dropout_x: float = 0.0,
        dropout_h: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("GRU", input_size=input_size, hidden_size=hidden_size)
        if gates_see not in GATES_SEE:
            raise InputError(f"GRU: expected gates_see to be one of {', '.join(GATES_SEE)}, got {gates_see!r}")
        if gates_see == "b" and not bias:
            raise InputError("GRU: gates_see='b' leaves the gates a bias only; it cannot go with bias=False")
        check_probability("GRU", zoneout=zoneout, dropout_x=dropout_x, dropout_h=dropout_h)
        self.f = squashing("GRU", "activation", activation, ("tanh", "relu"))
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, hidden_size
        self.gates_see, self.reset_after = gates_see, reset_after
        self.zoneout, self.dropout_x, self.dropout_h = zoneout, dropout_x, dropout_h

        H = hidden_size
        rows = {source: 3 * H if source in gates_see else H for source in "xhb"}
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.W = nn.Parameter(torch.empty(rows["x"], input_size, **like))
        self.U = nn.Parameter(torch.empty(rows["h"], H, **like))
        self.b = nn.Parameter(torch.empty(rows["b"], **like)) if bias else None
        self.b_hn = nn.Parameter(torch.empty(H, **like)) if bias and reset_after else None
        uniform_([self.W, self.U, self.b, self.b_hn], H**-0.5)

    def initial_state(self) -> Tensor:
        return self.W.new_zeros(self.hidden_size)

    def noise_shapes(self) -> NoiseShapes:
        shapes: NoiseShapes = {}
        if self.zoneout:
            shapes["zoneout"] = ("step", (self.hidden_size,))
        if self.dropout_x:
            shapes["dropout_x"] = ("sequence", (self.input_size,))
        if self.dropout_h:
            shapes["dropout_h"] = ("sequence", (self.hidden_size,))
        return shapes

    def gates(self, x: Tensor, state: Tensor) -> dict[str, Tensor]:
        """r, z and the candidate n, each (H,)."""
        H = self.hidden_size
        U_n = self.U[-H:]
        from_x = self.W @ x
        seen = []
        if "x" in self.gates_see:
            seen.append(from_x[:-H])
        if "h" in self.gates_see:
            seen.append(self.U[:-H] @ state)
        if "b" in self.gates_see and self.b is not None:
            seen.append(self.b[:-H])
        r, z = torch.sigmoid(sum(seen[1:], start=seen[0])).chunk(2)

        net = from_x[-H:]
        if self.b is not None:
            net = net + self.b[-H:]
        if self.reset_after:
            product = U_n @ state
            n = self.f(net + r * (product if self.b_hn is None else product + self.b_hn))
        else:
            n = self.f(net + U_n @ (r * state))
        return {"r": r, "z": z, "n": n}

    def step(self, x: Tensor, state: Tensor, *, noise: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        x = dropped(x, self.dropout_x, noise, "dropout_x")
        gates = self.gates(x, dropped(state, self.dropout_h, noise, "dropout_h"))
        z, n = gates["z"], gates["n"]
        h = (1 - z) * n + z * state
        h = zoned_out(h, state, self.zoneout, noise, "zoneout")
        return h, h
