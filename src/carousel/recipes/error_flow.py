"""Error flow: errors that vanish, explode or last on their way back, and weights that oscillate in training.

Hochreiter's diploma thesis (1991), and Hochreiter & Schmidhuber 1997, section 3.1: the error of
unit v that arrives at unit u q steps earlier is a sum of products of q factors f'(net) w, so its
size grows or shrinks like a q-th power. Rows "radius-R": a fully recurrent network of tanh units
whose self-connections have spectral radius R; every unit has an input of its own, so the gradient
with respect to the input at time t is the error that arrives at the unit's net input at t. The
inputs are small (tanh nearly linear), so the weights alone decide.

Rows "weight-...": one linear unit with one trained weight, its self-connection w, learns to hold
its first input for LAG steps. The loss (w^LAG - 1)^2 is a flat floor below w = 1 and a steep wall
above it: with one learning rate the weight settles, with a larger one it is thrown from one side
to the other, again and again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from carousel.cells import FullyRecurrent
from carousel.loop import scan
from carousel.recipes.recipe import Goal, Recipe, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = 32
LAGS = 100
SEEDS = (0, 1, 2, 3, 4)
RADII = {"radius-0.9": 0.9, "radius-1.0": 1.0, "radius-1.1": 1.1}

LAG = 20
UPDATES = 60
START = 0.9
# The loss is curved by 2 LAG^2 at w = 1, so plain gradient descent settles below a rate of 1 / LAG^2 only.
RATES = {"weight-steady": 0.4 / LAG**2, "weight-oscillating": 2 / LAG**2}


def error_norms(radius: float, seed: int) -> list[float]:
    """Norm of the error at lags 0..LAGS, of an error of norm 1 at the last step."""
    generator = torch.Generator().manual_seed(seed)
    cell = FullyRecurrent(UNITS, UNITS, f="tanh", dtype=torch.float64)
    own_inputs, no_bias = torch.eye(UNITS), torch.zeros(UNITS, 1)
    U = torch.randn(UNITS, UNITS, generator=generator, dtype=torch.float64)
    U *= radius / torch.linalg.eigvals(U).abs().max()
    with torch.no_grad():
        cell.V.copy_(torch.cat([own_inputs, U, no_bias], dim=1))
    x = 1e-6 * torch.randn(LAGS + 1, 1, UNITS, generator=generator, dtype=torch.float64)
    error = torch.randn(UNITS, generator=generator, dtype=torch.float64)
    outputs, _ = scan(cell, x.requires_grad_())
    (gradient,) = torch.autograd.grad(outputs[-1, 0] @ (error / error.norm()), x)
    return gradient[:, 0].norm(dim=1).flip(0).tolist()


def train_weight(rate: float) -> tuple[list[float], list[float]]:
    """The weight before each update and after the last, and the loss at each update."""
    only_itself = torch.tensor([[False, True, False]])  # columns: input, unit, bias
    cell = FullyRecurrent(1, 1, f="identity", trained=only_itself, dtype=torch.float64)
    with torch.no_grad():
        cell.fixed.copy_(torch.tensor([[1.0, 0.0, 0.0]]))
        cell.V[0, 1] = START
    pulse = torch.zeros(LAG + 1, 1, 1, dtype=torch.float64)
    pulse[0] = 1
    optimizer = torch.optim.SGD(cell.parameters(), lr=rate)
    weights, losses = [float(cell.V.detach()[0, 1])], []
    for _ in range(UPDATES):
        outputs, _ = scan(cell, pulse)
        loss = (outputs[-1] - 1).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        weights.append(float(cell.V.detach()[0, 1]))
        losses.append(float(loss.detach()))
    return weights, losses


def turns(weights: Sequence[float]) -> int:
    """How often the weight changes direction."""
    moves = [after - before for before, after in pairwise(weights)]
    return sum(one * other < 0 for one, other in pairwise(moves))


def run_unit(row: str, unit: int | str) -> dict[str, Any]:
    """One network's error against lag, or the training of one weight.

    Measures: "factor", what a step back multiplies the error's norm by (for the weight: its size in
    the second half of training, on average); "turns" of the weight.
    """
    start = time.perf_counter()
    if row in RADII:
        norms = error_norms(RADII[row], int(unit))
        # The first lags hold what the direction of the error does.
        first = LAGS // 4
        measures = {"factor": math.exp(math.log(norms[LAGS] / norms[first]) / (LAGS - first))}
        picture, curve = {"norms": [float(f"{norm:.5g}") for norm in norms]}, []
    else:
        weights, losses = train_weight(RATES[row])
        second_half = weights[len(weights) // 2 :]
        measures = {"factor": sum(second_half) / len(second_half), "turns": turns(weights)}
        picture = {"weights": [round(weight, 6) for weight in weights]}
        curve = [[update, float(f"{loss:.5g}")] for update, loss in enumerate(losses)]
    return {
        "seed": unit,
        "solved": None,
        "sequences": len(curve),
        "seconds": round(time.perf_counter() - start, 2),
        "backend": "auto",
        "measures": measures,
        "curve": curve,
        "picture": picture,
    }


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Left: norm of the error against lag, a line a network. Right: the weight against updates, a line a learning rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    errors, training = figure.subplots(1, 2)
    for row in rows:
        for n, run in enumerate(row["runs"]):
            picture = run["picture"]
            if "norms" in picture:
                colour = f"C{list(RADII).index(row['row'])}"
                label = f"spectral radius {RADII[row['row']]}" if n == 0 else None
                errors.plot(picture["norms"], color=colour, linewidth=1, label=label)
            else:
                colour = f"C{list(RATES).index(row['row']) + len(RADII)}"
                label = f"learning rate {RATES[row['row']]:.4f}"
                training.plot(picture["weights"], color=colour, marker=".", linewidth=1, label=label)
    errors.set(yscale="log", xlabel="lag (steps back)", ylabel="norm of the error", title="Errors on their way back")
    errors.yaxis.set_major_formatter("{x:g}")  # reports read no mathematics in text
    training.axhline(1, color="0.6", linewidth=0.8)
    training.set(ylim=(0.8, 1.08), xlabel="updates", ylabel="weight", title=f"A weight that learns to hold an input {LAG} steps")
    for axes, place, columns in ((errors, "upper left", 1), (training, "upper center", 2)):
        if axes.get_legend_handles_labels()[1]:  # rows may have been left out
            axes.legend(frameon=False, loc=place, ncols=columns)
    return figure


RECIPE = Recipe(
    name="error-flow",
    paper="Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, section 3.1 (after Hochreiter's thesis, 1991)",
    about="How an error grows or shrinks on its way back in time, and how a weight oscillates when it grows.",
    rows=(
        Row("radius-0.9", units=SEEDS, goals=(Goal("factor", "a step", at_most=0.95),)),
        Row("radius-1.0", units=SEEDS),
        Row("radius-1.1", units=SEEDS, goals=(Goal("factor", "a step", at_least=1.05),)),
        Row("weight-steady", units=(0,), goals=(Goal("turns", "", at_most=0),)),
        Row("weight-oscillating", units=(0,), goals=(Goal("turns", "", at_least=10),)),
    ),
    run_unit=run_unit,
    curve="squared error",
    pictures={"What it shows": draw},
)
