"""LSTM: long short-term memory with a forget gate, and its options.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, with the forget gate of Gers, Schmidhuber
& Cummins, Neural Computation 12(10), 2000. One step, without options (as torch.nn.LSTM has it)::

    i  = sigmoid(W_i x + U_i h' + b_i)           input gate
    f  = sigmoid(W_f x + U_f h' + b_f)           forget gate
    g  = tanh(W_g x + U_g h' + b_g)              candidate
    c  = f * c' + i * g                          cell state
    o  = sigmoid(W_o x + U_o h' + b_o)           output gate
    h  = o * tanh(c)

with h', c' the previous state; y is h. W, U and b hold the rows of i, f, g and o in this order.
Options:

- ``forget_gate=False``: f = 1 and no rows for it (the constant error carousel of 1997).
- ``peepholes=True``: + p_i * c' inside i, + p_f * c' inside f, + p_o * c inside o
  (Gers, Schraudolph & Schmidhuber, JMLR 3, 2002; diagonal). p holds those of i, f and o in this order.
- ``coupled=True``: f = 1 - i and no rows for it (Greff et al., arXiv 1503.04069v2, CIFG).
- ``proj_size=P``: h = V (o * tanh(c)) with V (P, H) (Sak, Senior & Beaufays, arXiv 1402.1128v1,
  without their second, non-recurrent projection).
- ``layer_norm=True``: LN(W x) + LN(U h') + b inside the gates and tanh(LN(c)) in h, each LN with a
  gain, the last with a shift too (Ba, Kiros & Hinton, arXiv 1607.06450v1, equations 20-22).
- ``forget_bias=v``: b_f starts at v.
- ``zoneout_h=q, zoneout_c=q``: in training each entry of h (c) keeps its previous value with
  probability q; in evaluation the expected value is taken (Krueger et al., arXiv 1606.01305v4).
- ``dropout_x=q, dropout_h=q``: one mask a sequence on x and on h', scaled by 1 / (1 - q)
  (variational dropout, Gal & Ghahramani, arXiv 1512.05287v5, with one mask for the four gates).

Not here: the 1997 memory cell blocks with their own squashing functions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from carousel.cell import Cell, NoiseShapes
from carousel.cells._common import check_probability, check_sizes, dropped, uniform_, zoned_out
from carousel.errors import InputError


class LSTMState(NamedTuple):
    """h: (P or H,) output; c: (H,) cell state."""

    h: Tensor
    c: Tensor


class LSTM(Cell):
    """One LSTM step; the module's docstring has the equations and the options.

    Args:
        input_size:   I, length of x.
        hidden_size:  H, number of cells; y is h, of length H, or proj_size P where that is given.
        bias:         whether there is a b.

    Parameters W (4H, I), U (4H, H or P), b (4H,), less H rows without a forget gate of its own, and
    p (3H or 2H,) and V (P, H) start as U(-1/sqrt(H), 1/sqrt(H)), as in torch.nn.LSTM; norms at gain 1, shift 0.
    """

    input_size: int
    output_size: int
    carries = ("c",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        forget_gate: bool = True,
        peepholes: bool = False,
        coupled: bool = False,
        proj_size: int = 0,
        layer_norm: bool = False,
        forget_bias: float | None = None,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        dropout_x: float = 0.0,
        dropout_h: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_sizes("LSTM", input_size=input_size, hidden_size=hidden_size)
        if coupled and not forget_gate:
            raise InputError("LSTM: coupled=True makes the forget gate 1 - i; it cannot go with forget_gate=False")
        if forget_bias is not None and (coupled or not forget_gate or not bias):
            raise InputError("LSTM: forget_bias needs a forget gate with a bias of its own")
        if not 0 <= proj_size < hidden_size:
            raise InputError(f"LSTM: expected proj_size in 0..{hidden_size - 1} (smaller than hidden_size), got {proj_size}")
        check_probability("LSTM", zoneout_h=zoneout_h, zoneout_c=zoneout_c, dropout_x=dropout_x, dropout_h=dropout_h)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.output_size = proj_size or hidden_size
        self.coupled, self.layer_norm = coupled, layer_norm
        self.zoneout_h, self.zoneout_c, self.dropout_x, self.dropout_h = zoneout_h, zoneout_c, dropout_x, dropout_h
        self.row_order = ("i", "f", "g", "o") if forget_gate and not coupled else ("i", "g", "o")

        H, rows = hidden_size, len(self.row_order) * hidden_size
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.W = nn.Parameter(torch.empty(rows, input_size, **like))
        self.U = nn.Parameter(torch.empty(rows, self.output_size, **like))
        self.b = nn.Parameter(torch.empty(rows, **like)) if bias else None
        self.V = nn.Parameter(torch.empty(proj_size, H, **like)) if proj_size else None
        self.p = nn.Parameter(torch.empty(rows - H, **like)) if peepholes else None
        if layer_norm:
            self.norm_x = nn.LayerNorm(rows, bias=False, **like)
            self.norm_h = nn.LayerNorm(rows, bias=False, **like)
            self.norm_c = nn.LayerNorm(H, **like)
        uniform_([self.W, self.U, self.b, self.V, self.p], H**-0.5)
        if forget_bias is not None and self.b is not None:
            nn.init.constant_(self.b[H : 2 * H], forget_bias)

    def initial_state(self) -> LSTMState:
        return LSTMState(self.W.new_zeros(self.output_size), self.W.new_zeros(self.hidden_size))

    def noise_shapes(self) -> NoiseShapes:
        shapes: NoiseShapes = {}
        if self.zoneout_h:
            shapes["zoneout_h"] = ("step", (self.output_size,))
        if self.zoneout_c:
            shapes["zoneout_c"] = ("step", (self.hidden_size,))
        if self.dropout_x:
            shapes["dropout_x"] = ("sequence", (self.input_size,))
        if self.dropout_h:
            shapes["dropout_h"] = ("sequence", (self.output_size,))
        return shapes

    def gates(self, x: Tensor, state: LSTMState) -> dict[str, Tensor]:
        """i, f, g, o, each (H,), and the cell state c they give, before zoneout."""
        Wx, Uh = self.W @ x, self.U @ state.h
        a = self.norm_x(Wx) + self.norm_h(Uh) if self.layer_norm else Wx + Uh
        if self.b is not None:
            a = a + self.b
        net = dict(zip(self.row_order, a.chunk(len(self.row_order)), strict=True))
        gates = [name for name in self.row_order if name != "g"]
        peephole = {} if self.p is None else dict(zip(gates, self.p.chunk(len(gates)), strict=True))

        def gate(name: str, c: Tensor) -> Tensor:
            return torch.sigmoid(net[name] + peephole[name] * c if peephole else net[name])

        i = gate("i", state.c)
        if "f" in net:
            f = gate("f", state.c)
        elif self.coupled:
            f = 1 - i
        else:
            f = torch.ones_like(i)
        g = torch.tanh(net["g"])
        c = f * state.c + i * g
        o = gate("o", c)
        return {"i": i, "f": f, "g": g, "o": o, "c": c}

    def step(self, x: Tensor, state: LSTMState, *, noise: dict[str, Tensor] | None = None) -> tuple[Tensor, LSTMState]:
        x = dropped(x, self.dropout_x, noise, "dropout_x")
        h_in = dropped(state.h, self.dropout_h, noise, "dropout_h")
        gates = self.gates(x, LSTMState(h_in, state.c))
        c = zoned_out(gates["c"], state.c, self.zoneout_c, noise, "zoneout_c")
        h = gates["o"] * torch.tanh(self.norm_c(c) if self.layer_norm else c)
        if self.V is not None:
            h = self.V @ h
        h = zoned_out(h, state.h, self.zoneout_h, noise, "zoneout_h")
        return h, LSTMState(h, c)
