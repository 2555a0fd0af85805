"""What the LSTM paper states as facts and does not show: each a recipe, with a picture.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, sections 3 to 6.

Error flow (sections 3.2 and 4): error that has come to a memory cell's internal state stays as it is, over a
thousand steps as over one. Every network reads the same numbers, and to the state of each step a nudge of nothing is
added: the gradient with respect to it is the error that arrives at that state. Rows: a fully recurrent network; the
network of 1997, once with the error cut as its learning rule cuts it, once with all error; today's LSTM, whose forget gate
multiplies the error by its activation, with a bias of 1 and of 7 at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from carousel.cell import Cell, State
from carousel.cells import LSTM, LSTM1997, FullyRecurrent
from carousel.loop import scan
from carousel.recipes.recipe import Goal, Recipe, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = "Hochreiter & Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997"
SEEDS = (0, 1, 2, 3, 4)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def _entry(seed: int | str, began: float, measures: dict[str, float], picture: dict[str, Any]) -> dict[str, Any]:
    """What a unit without training gives."""
    return {
        "seed": seed,
        "solved": None,
        "sequences": 0,
        "seconds": round(time.perf_counter() - began, 2),
        "backend": "auto",
        "measures": {name: float(f"{value:.6g}") for name, value in measures.items()},
        "curve": [],
        "picture": picture,
    }


# --- Error flow over a thousand steps --------------------------------------------------------------

LAGS = 1000
INPUTS, UNITS = 4, 16

Error = Literal["all", "cut"]


class Nudged(Cell):
    """A network with a nudge added to what it carries from step to step; the input is [x, nudge].

    Args:
        network:  a cell whose state is one tensor, or names in `carries` the field that carries error.
        error:    "all", or "cut" for what flows back by that field alone, as in the paper's rule.
    """

    def __init__(self, network: Cell, error: Error = "all") -> None:
        super().__init__()
        self.network, self.error = network, error
        assert network.input_size is not None
        self.carried = network.carries[0] if network.carries else None
        state = network.initial_state()
        self.size = len(getattr(state, self.carried) if self.carried else state)
        self.input_size, self.output_size = network.input_size + self.size, network.output_size

    def initial_state(self) -> State:
        return self.network.initial_state()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        numbers, nudge = x[: -self.size], x[-self.size :]
        if self.carried is None:
            return self.network.step(numbers, state + nudge)
        if self.error == "cut":
            state = type(state)(*(leaf.detach() if name != self.carried else leaf for name, leaf in state._asdict().items()))
        return self.network.step(numbers, state._replace(**{self.carried: getattr(state, self.carried) + nudge}))


FLOWS: dict[str, tuple[Callable[[], Cell], Error]] = {
    "fully-recurrent": (lambda: FullyRecurrent(INPUTS, UNITS, f="tanh"), "all"),
    "lstm1997-rule": (lambda: LSTM1997(INPUTS, 4, blocks=UNITS), "cut"),
    "lstm1997-all-error": (lambda: LSTM1997(INPUTS, 4, blocks=UNITS), "all"),
    "lstm-forget-bias-1": (lambda: LSTM(INPUTS, UNITS, forget_bias=1), "all"),
    "lstm-forget-bias-7": (lambda: LSTM(INPUTS, UNITS, forget_bias=7), "all"),
}
"""row -> (network at its start, which error)."""


def error_norms(row: str, seed: int, lags: int = LAGS) -> list[float]:
    """The norm of the error at the state, 0 to `lags` steps before the last, as a share of that at 0."""
    build, error = FLOWS[row]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cell = Nudged(build().double(), error)
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(lags + 1, 1, INPUTS, generator=generator, dtype=torch.float64)
    nudge = torch.zeros(lags + 1, 1, cell.size, dtype=torch.float64, requires_grad=True)
    # The reference lowering keeps what is cut cut; a thousand steps are few.
    outputs, _ = scan(cell, torch.cat([numbers, nudge], 2), backend="eager")
    wrong = torch.randn(outputs.shape[2], generator=generator, dtype=torch.float64)
    (arrived,) = torch.autograd.grad(outputs[-1, 0] @ wrong, nudge)
    norms = arrived[:, 0].norm(dim=1).flip(0)
    return (norms / norms[0]).tolist()


def run_error_flow(row: str, unit: int | str) -> dict[str, Any]:
    """One network's error against lag. Measures: "left", the share of the error at the last state that arrives LAGS
    steps earlier; "factor", what a step back multiplies it by, over the first 100."""
    began = time.perf_counter()
    norms = error_norms(row, int(unit))
    measures = {"left": norms[-1], "factor": norms[100] ** (1 / 100)}
    shown = [[lag, float(f"{norms[lag]:.5g}")] for lag in range(0, LAGS + 1, 10)]
    return _entry(unit, began, measures, {"norms": shown})


def draw_error_flow(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """The error that arrives at the state so many steps before the last, as a share of the error there, on a logarithmic
    axis: a line a network. What is below 10 to the -30 is not shown.
    """
    from matplotlib.figure import Figure

    if not rows:
        return None
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        colour = COLOURS[list(FLOWS).index(row["row"])]
        width = 3.5 if FLOWS[row["row"]][1] == "cut" else 1.2  # a straight line that others lie upon
        for n, run in enumerate(row["runs"]):
            lags, norms = zip(*((lag, norm) for lag, norm in run["picture"]["norms"] if norm > 1e-30), strict=True)
            axes.plot(lags, norms, color=colour, linewidth=width, label=row["row"] if n == 0 else None)
    axes.set(yscale="log", xlabel="lag (steps back)", ylabel="share of the error that arrives", xlim=(0, LAGS))
    axes.yaxis.set_major_formatter("{x:g}")  # reports read no mathematics in text
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    return figure


ERROR_FLOW = Recipe(
    name="lstm-facts/error-flow",
    paper=f"{PAPER}, sections 3 and 4",
    about="The error that arrives at a network's state up to a thousand steps before the last, weights as at the start.",
    rows=(
        Row("fully-recurrent", SEEDS, goals=(Goal("left", "of the error", at_most=1e-6),)),
        Row(
            "lstm1997-rule",
            SEEDS,
            goals=(Goal("left", "of the error", at_least=0.999, statistic="min"), Goal("factor", "a step", at_most=1.000001)),
        ),
        Row(
            "lstm1997-all-error",
            SEEDS,
            goals=(Goal("left", "of the error", at_least=0.1, statistic="median"),),
            deviations=("No claim of the paper, whose rule cuts this error: what comes back through gates and cells adds to it.",),
        ),
        Row("lstm-forget-bias-1", SEEDS, goals=(Goal("left", "of the error", at_most=1e-6),)),
        Row("lstm-forget-bias-7", SEEDS, goals=(Goal("factor", "a step", at_least=0.97),)),
    ),
    run_unit=run_error_flow,
    pictures={"Error against lag": draw_error_flow},
)

RECIPES = {recipe.name: recipe for recipe in (ERROR_FLOW,)}
