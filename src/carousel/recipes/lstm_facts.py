"""What the LSTM paper states as facts and does not show: each a recipe, with a picture.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, sections 3 to 6.

Error flow (sections 3.2 and 4): error that has come to a memory cell's internal state stays as it is, over a
thousand steps as over one. Every network reads the same numbers, and to the state of each step a nudge of nothing is
added: the gradient with respect to it is the error that arrives at that state. Rows: a fully recurrent network; the
network of 1997, once with the error cut as its learning rule cuts it, once with all error; today's LSTM, whose forget gate
multiplies the error by its activation, with a bias of 1 and of 7 at the start.

Weight conflict (section 3.2): a cell without an input gate has one weight to let in what is to be kept and to keep out
what is not, and without an output gate one weight to be of use and not to disturb. Networks with both gates, one or none
learn experiment 3a with one telling number, at short lags and at longer ones.

State drift (section 4): where what comes in is mostly of one sign, the internal state drifts, h(s) saturates and its slope,
a factor of the error, vanishes. Untrained networks read numbers from 0 to 1; rows differ in the input gates' biases.

Abuse (section 4): early in training an error falls fastest where a cell is used as a bias, and what it should keep is found later,
or much later. Output gates that begin nearly closed are the paper's remedy; rows are without it and with it, twenty trials
each, since it is the unlucky ones that it is for.

Spare blocks (sections 4 and 5.1): in experiment 1 output units have no bias and need one, so that a block becomes it. Networks
of the paper's three blocks and of more learn the grammar, their output gates nearly closed at first, as the paper has them, or
not.

Short lags (sections 1 and 6): the same network learns a lag of 5, a lag of 20, and lags of 3 to 20 mixed. What the long
lag needs does not take the short ones away.

Learning rate (section 6): experiment 3a with one telling number, 10 steps, at rates from 0.01 to 10.

Cost (sections 4 and 6): time of a step with its gradient, a weight, for networks of more and more memory cells, by the rule
of 1997, by BPTT and by exact RTRL. The rule's and BPTT's time is proportional to the number of weights W, RTRL's to W times the
square of the number of units, as good as W squared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from carousel.batch import Batch
from carousel.cell import Cell, State
from carousel.cells import LSTM, LSTM1997, FullyRecurrent
from carousel.learn import BPTT, RTRL, Learner, Truncated1997, half_squared_error
from carousel.loop import scan
from carousel.recipes.drawing import finish_lines
from carousel.recipes.lstm1997 import EXPERIMENTS
from carousel.recipes.lstm1997_trials import Criterion, Experiment, OnFresh, OnSets, run_group
from carousel.recipes.recipe import Goal, Recipe, Row
from carousel.tasks import TwoSequences
from carousel.tasks.lag import answered_at_the_end

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

# --- What trained networks show --------------------------------------------------------------------

IN_BIAS, OUT_BIAS = (-1, -3, -5), (-2, -4, -6)
EVERY = 200
LOOKED = f"Looked at every {EVERY} sequences, until 256 fresh ones are right. A trial that was not by then counts with its budget."


def two_sequences(
    T: int,
    *,
    rate: float = 1.0,
    gated: Sequence[str] = ("in", "out"),
    in_bias: Sequence[float] | None = IN_BIAS,
    out_bias: Sequence[float] | None = OUT_BIAS,
    most: int = 50_000,
    trials: int = 10,
) -> Experiment:
    """Experiment 3a at a lag of T with one telling number, the paper's network but for what is given."""

    def network() -> Cell:
        return LSTM1997(
            1,
            1,
            blocks=3,
            biases="hidden",
            gated=gated,
            in_bias=in_bias if "in" in gated else None,
            out_bias=out_bias if "out" in gated else None,
        )

    return Experiment(TwoSequences(T, 1), network, rate, {"": Criterion(OnFresh(), most)}, trials, every=EVERY)


def run_trained(fact: str, row: str, unit: int | str, budget: int | None = None) -> dict[str, Any]:
    """A row's trials, each of at most `budget` sequences in place of the row's own. Measures: those of the recipe lstm1997, and
    "until learned", the mean of all trials, one that was not learned with the sequences that it was given."""
    experiment = TRAINED[fact][row]
    (criterion,) = experiment.criteria.values()
    entry = run_group(experiment, int(unit), budget or int(criterion.sequences))
    counts = [trial["met"].get("", trial)["sequences"] for trial in entry["trials"]]
    return {**entry, "measures": {"solved": entry["measures"]["solved"], "until learned": fmean(counts)}}


def draw_trained(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """Training sequences until a network had learned its task, on a logarithmic axis: a dot a trial, a bar for their mean; a
    triangle where it had not learned by then. At the right, the percentage of the trials that learned.
    """
    from matplotlib.figure import Figure

    if not rows:
        return None
    figure = Figure(figsize=(7.2, 1.1 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    counts = []
    for n, row in enumerate(rows):
        trials = [trial for run in row["runs"] for trial in run["trials"]]
        met = [trial["met"][""]["sequences"] for trial in trials if trial["met"]]
        axes.plot(met, [n] * len(met), "o", color="#0072B2", markersize=5, alpha=0.5, label="learned")
        failed = [trial["sequences"] for trial in trials if not trial["met"]]
        if failed:
            axes.plot(failed, [n] * len(failed), ">", color="#D55E00", markersize=7, label="not learned by then")
        counts += met + failed
        mean = row["summary"]["until learned"]["mean"]
        axes.plot(mean, n, "|", color="black", markersize=13, markeredgewidth=2, label="mean of all")
        solved = row["summary"]["solved"]["mean"]
        axes.annotate(f"{solved:.0f} %", (1.01, n), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    whole_decades = 10.0 ** math.floor(math.log10(min(counts))), 10.0 ** (math.floor(math.log10(max(counts))) + 1)
    finish_lines(figure, axes, [row["row"] for row in rows], "training sequences", right="learned", ncols=3, fontsize=9)
    axes.set_xlim(whole_decades)
    return figure


CONFLICT_LAGS = (5, 10, 20, 50)
GATED = {"both-gates": ("in", "out"), "input-gate": ("in",), "output-gate": ("out",), "no-gate": ()}
CONFLICTS = {f"lag-{T}-{name}": two_sequences(T, gated=gated) for T in CONFLICT_LAGS for name, gated in GATED.items()}


CONFLICT_NOTES = {
    "lag-5": "The conflict does not show: every network learns, and those without gates, which have none to open, sooner.",
    "lag-10": "An input gate alone does as well: the task asks once, at the end, and what a cell holds disturbs little until then.",
}


def _conflict_row(name: str) -> Row:
    lag, gates = name.rsplit("-", 2)[0], name.split("-", 2)[2]
    if gates != "both-gates":
        return Row(name, (0,), deviations=(LOOKED,))
    rivals = tuple(f"{lag}-{other}" for other in GATED if other != gates)
    goals = (Goal("solved", "%", at_least=100), Goal("until learned", "sequences", rivals=rivals))
    deviations = (LOOKED, CONFLICT_NOTES[lag]) if lag in CONFLICT_NOTES else (LOOKED,)
    return Row(name, (0,), goals=goals, deviations=deviations)


WEIGHT_CONFLICT = Recipe(
    name="lstm-facts/weight-conflict",
    paper=f"{PAPER}, section 3.2",
    about="Experiment 3a with one telling number, at four lags, by networks with both gates, one, or none; ten trials each.",
    rows=tuple(_conflict_row(name) for name in CONFLICTS),
    run_unit=partial(run_trained, "weight-conflict"),
    pictures={"With and without gates": draw_trained},
)


# --- State drift -----------------------------------------------------------------------------------

DRIFT_STEPS = 1000
DRIFTS = {"bias-0": 0.0, "bias-minus-1": -1.0, "bias-minus-3": -3.0, "bias-minus-6": -6.0}


def drift(bias: float, seed: int) -> Tensor:
    """(DRIFT_STEPS, cells) internal states of an untrained network that reads numbers from 0 to 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cell = LSTM1997(1, 1, blocks=UNITS, in_bias=[bias] * UNITS)
    numbers = torch.rand(DRIFT_STEPS, 1, 1, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        _, _, states = scan(cell, numbers, return_states=True)
    return states.s[:, 0]


def run_drift(row: str, unit: int | str) -> dict[str, Any]:
    """One network. Measures: "state", the mean size of the internal states at the end; "slope", that of h there, as
    a share of its greatest."""
    began = time.perf_counter()
    s = drift(DRIFTS[row], int(unit))
    y = torch.sigmoid(s[-1])
    sizes = s.abs().mean(1)
    measures = {"state": float(sizes[-1]), "slope": float((4 * y * (1 - y)).mean())}
    shown = [[t + 1, float(f"{sizes[t]:.4g}")] for t in range(0, DRIFT_STEPS, 10)]
    return _entry(unit, began, measures, {"sizes": shown})


def draw_drift(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """Left: mean size of the internal states of untrained networks that read numbers from 0 to 1, a line a network. Right: the
    slope of h at the states after a thousand steps, by which an error on its way into the state is multiplied, as a
    share of the greatest: a dot a network.
    """
    from matplotlib.figure import Figure

    if not rows:
        return None
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    sizes, slopes = figure.subplots(1, 2, width_ratios=[3, 2])
    for n, row in enumerate(rows):
        colour = COLOURS[list(DRIFTS).index(row["row"])]
        for run in row["runs"]:
            label = f"input-gate bias {DRIFTS[row['row']]:g}" if run is row["runs"][0] else None
            sizes.plot(*zip(*run["picture"]["sizes"], strict=True), color=colour, linewidth=1.2, label=label)
            slopes.plot(n, run["measures"]["slope"], "o", color=colour, alpha=0.6, clip_on=False)
    sizes.set(xlabel="step", ylabel="size of the internal states", xlim=(0, DRIFT_STEPS), ylim=(0, None))
    slopes.set(xlabel="input-gate bias", ylabel="slope of h (share of the greatest)", ylim=(0, 1), xlim=(-0.5, len(rows) - 0.5))
    slopes.set_xticks(range(len(rows)), [f"{DRIFTS[row['row']]:g}" for row in rows])
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    return figure


STATE_DRIFT = Recipe(
    name="lstm-facts/state-drift",
    paper=f"{PAPER}, section 4",
    about="Internal states of untrained networks that read a thousand numbers of one sign, by the bias of the input gates.",
    rows=(
        Row("bias-0", SEEDS, goals=(Goal("slope", "of the greatest", at_most=0.2),)),
        Row("bias-minus-1", SEEDS),
        Row("bias-minus-3", SEEDS, goals=(Goal("state", "", rivals=("bias-0", "bias-minus-1")),)),
        Row("bias-minus-6", SEEDS, goals=(Goal("slope", "of the greatest", at_least=0.9),)),
    ),
    run_unit=run_drift,
    pictures={"States and slopes": draw_drift},
)

# --- Abuse of memory cells ------------------------------------------------------------------------

NO_ABUSE = (
    "Abuse does not hold learning up here, so the remedy only costs time. With targets of .5 and 1 in place of 0 and 1 and no bias "
    "on the output unit, where a cell is wanted as a bias, it cost more, in a short look that is not recorded."
)
ABUSES = {
    "random-output-bias": two_sequences(20, in_bias=None, out_bias=None, trials=20),
    "negative-output-bias": two_sequences(20, in_bias=None, trials=20),
    "blocks-added": replace(two_sequences(20, in_bias=None, out_bias=None, trials=20), starts_with=1),
}

_ABUSE_GOALS = (Goal("solved", "%", at_least=100), Goal("until learned", "sequences", rivals=("random-output-bias",)))

ABUSE = Recipe(
    name="lstm-facts/abuse",
    paper=f"{PAPER}, section 4",
    about="Experiment 3a with one telling number, 20 steps: output gates that begin anywhere, nearly closed, or with blocks added "
    "one after another; twenty trials.",
    rows=(
        Row("random-output-bias", (0,), deviations=(LOOKED,)),
        Row("negative-output-bias", (0,), goals=_ABUSE_GOALS, deviations=(LOOKED, NO_ABUSE)),
        Row(
            "blocks-added",
            (0,),
            goals=_ABUSE_GOALS,
            deviations=(
                LOOKED,
                "One block at first, the next whenever the mean error of 200 sequences is not 1 % below that of the 200 before.",
            ),
        ),
    ),
    run_unit=partial(run_trained, "abuse"),
    pictures={"Without and with the remedy": draw_trained},
)


# --- A block to spare ------------------------------------------------------------------------------


def reber(blocks: int, out_bias: Sequence[float] | None) -> Experiment:
    """Experiment 1 at a rate of .5 with so many blocks of two cells, and output gates that begin with these biases."""

    def network() -> Cell:
        return LSTM1997(7, 7, blocks=blocks, block_size=2, biases="gates", out_bias=out_bias, bound=0.2)

    published = EXPERIMENTS["1-3x2-0.5"]
    return replace(published, network=network, criteria={"": Criterion(OnSets(), 5 * published.criteria[""].sequences)})


SETS_LOOKED = (
    f"Looked at every {EVERY} strings, until all of both sets are right. A trial that was not by then counts with its budget."
)
SPARE = {
    f"{blocks}x2-{name}": reber(blocks, range(-1, -blocks - 1, -1) if name == "closed" else None)
    for blocks in (3, 4, 5)
    for name in ("closed", "open")
}

SPARE_BLOCKS = Recipe(
    name="lstm-facts/spare-blocks",
    paper=f"{PAPER}, sections 4 and 5.1",
    about="The embedded Reber grammar by three blocks of two cells, as in the paper, and by more; output gates begin nearly "
    "closed, as in the paper, or anywhere; thirty trials.",
    rows=tuple(Row(name, (0,), deviations=(SETS_LOOKED,)) for name in SPARE),
    run_unit=partial(run_trained, "spare-blocks"),
    pictures={"With blocks to spare": draw_trained},
)


# --- Short lags beside long ones -------------------------------------------------------------------


class AnyLag(TwoSequences):
    """Two sequences of 3 to T steps, each length alike."""

    def sample(self, B: int, generator: torch.Generator, **lengths: int) -> Batch:
        if lengths:
            return super().sample(B, generator, **lengths)
        longest = super().sample(B, generator, length=self.T)
        steps = torch.randint(3, self.T + 1, (B,), generator=generator)
        return answered_at_the_end(longest.inputs, longest.targets[-1], steps)


LAGS_MIXED = {
    "lag-5": two_sequences(5),
    "lag-20": two_sequences(20),
    "lags-3-to-20": replace(two_sequences(20), task=AnyLag(20, 1)),
}

SHORT_LAGS = Recipe(
    name="lstm-facts/short-lags",
    paper=f"{PAPER}, sections 1 and 6",
    about="Experiment 3a with one telling number: a short lag alone, a long one alone, and all lags mixed; ten trials each.",
    rows=(
        Row("lag-5", (0,), deviations=(LOOKED,)),
        Row("lag-20", (0,), deviations=(LOOKED,)),
        Row(
            "lags-3-to-20",
            (0,),
            goals=(Goal("solved", "%", at_least=100), Goal("until learned", "sequences", rivals=("lag-20",))),
            deviations=(LOOKED,),
        ),
    ),
    run_unit=partial(run_trained, "short-lags"),
    pictures={"Short, long and mixed": draw_trained},
)


# --- Learning rate ---------------------------------------------------------------------------------

LEARNING_RATES = {
    f"rate-{rate:g}": two_sequences(10, rate=rate, most=int(most), trials=5)
    for rate, most in ((0.01, 1e6), (0.1, 1e5), (1.0, 5e4), (10.0, 5e4))
}

LEARNING_RATE = Recipe(
    name="lstm-facts/learning-rate",
    paper=f"{PAPER}, section 6",
    about="Experiment 3a with one telling number, 10 steps, at learning rates over three decades; five trials each.",
    rows=tuple(Row(name, (0,), goals=(Goal("solved", "%", at_least=100),), deviations=(LOOKED,)) for name in LEARNING_RATES),
    run_unit=partial(run_trained, "learning-rate"),
    pictures={"Rates over three decades": draw_trained},
)


# --- Cost ------------------------------------------------------------------------------------------

BLOCKS = (8, 16, 32, 64)
RULES: dict[str, tuple[Learner, int]] = {"rule-of-1997": (Truncated1997(), 1000), "bptt": (BPTT(), 1000), "rtrl": (RTRL(), 20)}
"""row -> (the rule, steps of the sequence that it is timed on)."""


def seconds_a_step(rule: Learner, steps: int, blocks: int, seed: int) -> tuple[int, float]:
    """(weights, processor time of a step with its gradient) of one network, the least of three sequences."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cell = LSTM1997(INPUTS, 1, blocks=blocks)
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(steps, 1, INPUTS, generator=generator)
    batch = Batch(numbers, numbers[..., :1], torch.ones(steps, 1, dtype=torch.bool), torch.tensor([steps]))
    optimizer = torch.optim.SGD(cell.parameters(), 1e-6)
    times = []
    for _ in range(4):
        began = time.process_time()
        rule.train_on(cell, batch, half_squared_error, optimizer)
        times.append(time.process_time() - began)
    # The first compiles.
    return sum(weights.numel() for weights in cell.parameters()), min(times[1:]) / steps


def run_cost(row: str, unit: int | str) -> dict[str, Any]:
    """All sizes by one rule. Measures: "exponent", by which power of the number of weights the time of a step and
    weight grows; "nanoseconds", that time of the largest network."""
    began = time.perf_counter()
    sizes = [seconds_a_step(*RULES[row], blocks, int(unit)) for blocks in BLOCKS]
    weights, seconds = torch.tensor(sizes, dtype=torch.float64).T
    each = 1e9 * seconds / weights
    x, y = (values.log() - values.log().mean() for values in (weights, each))
    measures = {"exponent": float((x @ y) / (x @ x)), "nanoseconds": float(each[-1])}
    shown = [[int(W), float(f"{value:.4g}")] for W, value in zip(weights, each, strict=True)]
    return _entry(unit, began, measures, {"costs": shown})


def draw_cost(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """Processor time of a step with its gradient, divided by the number of weights, against that number, both on logarithmic
    axes: a line a repetition. A level line is a cost proportional to the weights.
    """
    from matplotlib.figure import Figure

    if not rows:
        return None
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        for n, run in enumerate(row["runs"]):
            colour = COLOURS[list(RULES).index(row["row"])]
            costs = zip(*run["picture"]["costs"], strict=True)
            axes.plot(*costs, "o-", color=colour, linewidth=1.2, markersize=4, label=row["row"] if n == 0 else None)
    axes.set(xscale="log", yscale="log", xlabel="weights", ylabel="nanoseconds a step and weight")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return figure


FALLS = "The time of a weight falls, where the paper's count of operations has it level: a step has work that all weights share."

COST = Recipe(
    name="lstm-facts/cost",
    paper=f"{PAPER}, sections 4 and 6",
    about="Processor time of a step with its gradient, a weight, as the network grows from 8 to 64 memory cells.",
    rows=(
        Row("rule-of-1997", SEEDS[:3], goals=(Goal("exponent", "", at_most=0.3),), deviations=(FALLS,)),
        Row("bptt", SEEDS[:3], goals=(Goal("exponent", "", at_most=0.3),), deviations=(FALLS,)),
        Row("rtrl", SEEDS[:3]),  # what the others are compared with
    ),
    run_unit=run_cost,
    pictures={"Time a step and weight": draw_cost},
)

TRAINED: dict[str, dict[str, Experiment]] = {
    "weight-conflict": CONFLICTS,
    "abuse": ABUSES,
    "spare-blocks": SPARE,
    "short-lags": LAGS_MIXED,
    "learning-rate": LEARNING_RATES,
}
"""fact -> row -> what is trained."""

RECIPES = {
    recipe.name: recipe
    for recipe in (ERROR_FLOW, WEIGHT_CONFLICT, STATE_DRIFT, ABUSE, SPARE_BLOCKS, SHORT_LAGS, LEARNING_RATE, COST)
}
