"""The experiments of the LSTM paper, by its own rule: online, one sequence a time, plain SGD, error cut as in 1997.

Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, section 5. `lstm1997_trials` runs the trials of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from carousel.cell import Cell
from carousel.cells import LSTM1997
from carousel.network import StepLoss
from carousel.recipes.drawing import finish_lines
from carousel.recipes.lstm1997_population import run_population
from carousel.recipes.lstm1997_trials import PAPER, STEPS, TESTED, TIMES, Criterion, Experiment, OnFresh, OnSets, Recent, run_group
from carousel.recipes.recipe import Goal, Recipe, Row
from carousel.tasks import Adding, EmbeddedReber, LongLag, Multiplication, TemporalOrder, TwoSequences, VeryLongLag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANGE = ("fewest sequences", "most sequences")
COLOURS = ("#0072B2", "#D55E00")
INPUTS_ONLY = "-inputs-only"  # ends the name of a row whose hidden units see no activations of the step before


def run_unit(row: str, unit: int | str, budget: int | None = None) -> dict[str, Any]:
    """A group of a row's trials; `budget`: at most so many sequences a trial in place of the recipe's."""
    experiment = EXPERIMENTS[row]
    last = list(experiment.criteria.values())[-1]
    most = budget or int(experiment.times * last.sequences)
    run = run_population if row.endswith(INPUTS_ONLY) else run_group
    return run(experiment, int(unit), most)


# --- The paper's table -----------------------------------------------------------------------------

LOGISTIC = (
    "With the logistic output unit of the paper's equations the weights settle on sums that are right but for those near 2 and -2: "
    "targets near 0 and 1, for which a logistic unit needs a net input without bound. The rows -linear have a linear unit."
)
RECURRENT = (
    "What the cells see of the step before drowns the symbol to be kept: without the recurrent weights all trials learn (rows "
    "-inputs-only). Twice the error, an error without the slope of the output units, or activations that start at .5 did not help "
    "in short looks that are not recorded."
)
NOT_RECURRENT = (
    "Hidden units see the inputs alone: 6(p+4)+4 weights, where the paper counts 6(p+10)+4. With its recurrent weights "
    "most trials fail (rows 2c-50-50, 2c-100-100)."
)
TOO_FEW_CELLS = (
    "Most trials seem to fail for want of cells: the output units have no bias, and a block whose input gate stays open "
    "becomes one. With a block more, and output gates that begin anywhere, 80 % learn (recipe lstm-facts/spare-blocks). Updates at "
    "a string's end, activations that start at .5, both together, biases on all units, all legal symbols as targets, an error "
    "without the slope of the output units or twice as large did not bring the row near the paper in short looks that are not "
    "recorded."
)
LINEAR = (
    "The output unit is linear, where the paper's equations have a logistic one: with that no trial of ten meets the criterion in "
    "370,000 sequences (row 4-100). With a linear one T = 100 comes near the published figures; T = 500 takes four times as many "
    "sequences, and T = 1000 is not learned in 1.6 million. Why is not known."
)
SLOPE = (
    "After 300,000 sequences most answers still are about the same, whatever the factors. Without the slope of the output unit in "
    "its error all trials learn, in fewer sequences than published (row 5-cross-entropy). A linear output unit did not help in a "
    "short look that is not recorded."
)
NO_SLOPE = (
    "The loss is the cross-entropy, whose error at the output unit is target less output; the paper's error is that times the "
    "unit's slope."
)
ORDER = (
    "By cross-entropy (row 6b-cross-entropy) learning takes a quarter of the sequences, and two trials of ten fail all the same. "
    "Why is not known."
)
RUNAWAY = (
    "With g in [0, 1] and no output gate what a cell keeps only grows, by some 25 in a hundred steps, and all output units see it; "
    "at a rate of 1 their weights run away. With g in [-2, 2] one of ten trials learned 2a, in a short look that is not recorded."
)


def _pairs(in_bias: tuple[float, ...] | None = None, output: str = "sigmoid") -> Callable[[], Cell]:
    return lambda: LSTM1997(2, 1, blocks=2, block_size=2, biases="all", in_bias=in_bias, output=output, bound=0.1)


def _two() -> Cell:
    return LSTM1997(1, 1, blocks=3, biases="hidden", in_bias=(-1, -3, -5), out_bias=(-2, -4, -6), bound=0.1)


def _cut(times: float) -> tuple[str, ...]:
    """What is said of a budget, in published means, that is less than in other rows."""
    return (
        ()
        if times == TIMES
        else (f"A trial has failed after {times:g} times the published sequences, in other rows after {TIMES}.",)
    )


def _two_sequences(
    variant: Any, T: int, N: int, st1: float | None, st2: float, fraction: float, times: float = TIMES
) -> Experiment:
    bound = {"3a": 0.01, "3b": 0.04, "3c": 0.015}[variant]
    first = {} if st1 is None else {"ST1": Criterion(OnFresh(wrong=5 if variant == "3b" else 0), st1)}
    second = Criterion(OnFresh(wrong=5 if variant == "3b" else 0, error=bound), st2, fraction * TESTED)
    every = STEPS // (T + T // 10)
    told = [f"Looked at every {every} sequences; the paper does not say how often."]
    if T == 100:
        told.append("The criteria are met after fewer sequences than in the paper; of more wrong tests no other reason is known.")
    if (variant, T) == ("3b", 1000):
        told.append("Why no trial meets ST1 is not known; 3a with as many steps, and 3b with a tenth of them, are learned by all.")
    return Experiment(
        TwoSequences(T, N, variant),
        _two,
        rate=0.1 if variant == "3c" else 1.0,
        criteria={**first, "ST2": second},
        every=every,
        times=times,
        deviations=(*told, *_cut(times)),
    )


def _adding(T: int, sequences: float, wrong: float, output: str = "sigmoid", groups: int = 1, times: float = TIMES) -> Experiment:
    return Experiment(
        Adding(T),
        _pairs((-3, -6), output),
        rate=0.5,
        criteria={"": Criterion(Recent(error=0.01), sequences, wrong)},
        groups=groups,
        times=times,
        deviations=(LOGISTIC if output == "sigmoid" else LINEAR, *_cut(times)),
    )


def cross_entropy(y: Tensor, target: Tensor) -> Tensor:
    """Of outputs and targets in 0..1: the error of a logistic unit k is (t_k - y_k), without the slope of the unit."""
    y = y.clamp(1e-6, 1 - 1e-6)
    return -(target * torch.log(y) + (1 - target) * torch.log(1 - y)).sum()


def _multiplication(loss: StepLoss | None = None) -> Experiment:
    return Experiment(
        Multiplication(100),
        _pairs(),
        rate=0.1,
        criteria={"n=140": Criterion(Recent(wrong=139), 482_000, 139), "n=13": Criterion(Recent(wrong=12), 1_273_000, 14)},
        deviations=(SLOPE,) if loss is None else (NO_SLOPE,),
        loss=loss,
    )


def _temporal_order(
    blocks: int,
    in_bias: tuple[float, ...],
    rate: float,
    sequences: float,
    wrong: float,
    trials: int,
    deviation: str | None = None,
    loss: StepLoss | None = None,
) -> Experiment:
    return Experiment(
        TemporalOrder(blocks),
        lambda: LSTM1997(8, 2**blocks, blocks=blocks, block_size=2, biases="all", in_bias=in_bias, bound=0.1),
        rate=rate,
        criteria={"": Criterion(Recent(error=0.1), sequences, wrong)},
        trials=trials,
        loss=loss,
        deviations=() if deviation is None else (deviation,),
    )


def _reber(blocks: int, size: int, rate: float, sequences: float, solved: float = 100) -> Experiment:
    every = 500 if rate < 0.2 else 200
    sets = tuple(EmbeddedReber(pair) for pair in range(3))
    return Experiment(
        sets[0],
        lambda: LSTM1997(7, 7, blocks=blocks, block_size=size, biases="gates", out_bias=range(-1, -blocks - 1, -1), bound=0.2),
        rate=rate,
        criteria={"": Criterion(OnSets(), sequences, solved=solved)},
        trials=30,
        sets=sets,
        every=every,
        deviations=(f"Looked at every {every} strings; the paper does not say how often.", TOO_FEW_CELLS),
    )


def _lag(variant: Any, sequences: float) -> Experiment:
    return Experiment(
        LongLag(100, variant),
        lambda: LSTM1997(101, 101, blocks=1, biases="none", simple=True, bound=0.2),
        rate=1.0,
        criteria={"": Criterion(OnFresh(sequences=10_000), sequences)},
        trials=18,
        every=100,
        starts_with=0,
        deviations=("Looked at every 100 sequences; the paper does not say how often.", RUNAWAY),
    )


def _very_long_lag(q: int, p: int, sequences: float, recurrent: bool = True) -> Experiment:
    every = max(10, min(500, 40_000_000 // (20 * q * p))) if recurrent else 100  # a chunk of all trials fits in memory
    told = f"Looked at every {every} sequences; the paper does not say how often."
    return Experiment(
        VeryLongLag(q, p),
        lambda: LSTM1997(p + 4, 2, blocks=2, biases="none", recurrent=recurrent, bound=0.2),
        rate=0.01,
        criteria={"": Criterion(OnFresh(sequences=10_000), sequences)},
        trials=20,
        every=every,
        deviations=(told, RECURRENT if recurrent else NOT_RECURRENT),
    )


VERY_LONG_LAGS = {
    (50, 50): 30_000,
    (100, 100): 31_000,
    (200, 200): 33_000,
    (500, 500): 38_000,
    (1000, 1000): 49_000,
    (1000, 500): 49_000,
    (1000, 200): 75_000,
    (1000, 100): 135_000,
    (1000, 50): 203_000,
}
"""(q, p) -> the paper's mean of training sequences in 2c."""

EXPERIMENTS: dict[str, Experiment] = {
    "1-4x1-0.1": _reber(4, 1, 0.1, 39_740),
    "1-3x2-0.1": _reber(3, 2, 0.1, 21_730),
    "1-3x2-0.2": _reber(3, 2, 0.2, 14_060, solved=97),
    "1-4x1-0.5": _reber(4, 1, 0.5, 9_500, solved=97),
    "1-3x2-0.5": _reber(3, 2, 0.5, 8_440),
    "2a": _lag("2a", 5_040),
    "2b": _lag("2b", 5_680),
    "2c-50-50": _very_long_lag(50, 50, 30_000),
    "2c-100-100": _very_long_lag(100, 100, 31_000),
    **{f"2c-{q}-{p}{INPUTS_ONLY}": _very_long_lag(q, p, n, recurrent=False) for (q, p), n in VERY_LONG_LAGS.items()},
    "3a-100-3": _two_sequences("3a", 100, 3, 27_380, 39_850, 0.000195),
    "3a-100-1": _two_sequences("3a", 100, 1, 58_370, 64_330, 0.000117),
    "3a-1000-3": _two_sequences("3a", 1000, 3, 446_850, 452_460, 0.000078),
    "3b-100-3": _two_sequences("3b", 100, 3, 41_740, 43_250, 0.00828),
    "3b-100-1": _two_sequences("3b", 100, 1, 74_950, 78_430, 0.01500),
    "3b-1000-1": _two_sequences("3b", 1000, 1, 481_060, 485_080, 0.01207, times=1.5),
    "3c-100-3": _two_sequences("3c", 100, 3, None, 269_650, 0.00558),
    "3c-100-1": _two_sequences("3c", 100, 1, None, 565_640, 0.00441),
    "4-100": _adding(100, 74_000, 1),
    "4-100-linear": _adding(100, 74_000, 1, "identity"),
    "4-500-linear": _adding(500, 209_000, 0, "identity", groups=2),
    "4-1000-linear": _adding(1000, 853_000, 1, "identity", times=2),
    "5": _multiplication(),
    "5-cross-entropy": _multiplication(cross_entropy),
    "6a": _temporal_order(2, (-2, -4), 0.5, 31_390, 1, 20),
    "6b": _temporal_order(3, (-2, -4, -6), 0.1, 571_100, 2, 10, ORDER),
    "6b-cross-entropy": _temporal_order(3, (-2, -4, -6), 0.1, 571_100, 2, 10, NO_SLOPE, cross_entropy),
}
"""Rows of the paper's tables: the experiment's number, and after it what tells several apart: blocks x size and rate in 1,
q and p in 2c, T and N in 3, T in 4."""


def _row(name: str, experiment: Experiment) -> Row:
    goals: list[Goal] = []
    for criterion, paper in experiment.criteria.items():
        suffix = experiment.suffix(criterion)
        goals += [
            # 97 % of 30 trials are 29.
            Goal(f"solved{suffix}", "%", at_least=100 if paper.solved == 100 else 100 * 29 / 30 - 0.001),
            Goal(f"sequences{suffix}", "sequences", at_most=1.5 * paper.sequences),
        ]
        if paper.wrong is not None:
            goals.append(Goal(f"wrong of {TESTED}{suffix}", "sequences", at_most=round(1.2 * paper.wrong + 2, 2)))
    return Row(
        name,
        units=tuple(range(experiment.groups)),
        claims=experiment.claims(),
        goals=tuple(goals),
        deviations=experiment.deviations,
    )


Line = tuple[str, float, Mapping[str, Mapping[str, Any]]]
"""A line of the picture: its name, the paper's figure, and by label what `recorded` gives."""


def recorded(row: dict[str, Any], criterion: str) -> dict[str, Any]:
    """What a row's summary has of a criterion: sequences, the fewest, the most, and how many trials met it (None: nothing)."""
    return {measure: row["summary"].get(measure + criterion) for measure in ("sequences", *RANGE, "solved")}


def criteria_of(row: dict[str, Any]) -> list[tuple[str, float]]:
    """(what the names of its measures end in, the paper's sequences) of each of a row's criteria."""
    claims = [claim for claim in row["claims"] if claim["measure"].startswith("sequences")]
    return [(claim["measure"].removeprefix("sequences"), claim["figure"]) for claim in claims]


def draw_sequences(rows: Sequence[dict[str, Any]]) -> Figure | None:
    """Training sequences until a criterion is met, on a logarithmic axis: the paper's mean (open circle), ours (dot: the mean of
    the trials that met it; line: from the fewest to the most), and how many of ours did.
    """
    pairs = [(row, criterion, paper) for row in rows for criterion, paper in criteria_of(row)]
    return draw_lines([(row["row"] + criterion, paper, {"ours": recorded(row, criterion)}) for row, criterion, paper in pairs])


def draw_lines(lines: Sequence[Line]) -> Figure | None:
    """The picture of `draw_sequences`; how many met the criterion is told of each line's first label."""
    from matplotlib.figure import Figure

    if not lines:
        return None
    figure = Figure(figsize=(7.2, 0.9 + 0.27 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for n, (_, paper, by_label) in enumerate(lines):
        axes.plot(paper, n, "o", color="black", markerfacecolor="none", label="paper, mean")
        for k, (label, one) in enumerate(by_label.items()):
            if one["sequences"] is not None:
                at, colour = n + 0.24 * (k - (len(by_label) - 1) / 2), COLOURS[k]  # side by side, so that none hides another
                axes.plot(
                    [one[RANGE[0]]["min"], one[RANGE[1]]["max"]], [at, at], color=colour, linewidth=1.5, label=f"{label}, range"
                )
                axes.plot(one["sequences"]["mean"], at, "o", color=colour, markersize=4, label=f"{label}, mean")
        solved = next(iter(by_label.values()))["solved"]["mean"]
        axes.annotate(f"{solved:.0f} %", (1.01, n), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    finish_lines(figure, axes, [name for name, _, _ in lines], "training sequences", right="solved", ncols=3, fontsize=8)
    return figure


RECIPE = Recipe(
    name="lstm1997",
    paper=PAPER,
    about="The paper's network, rule, settings and stopping criteria; a row's trials differ in weights and sequences.",
    rows=tuple(_row(name, experiment) for name, experiment in EXPERIMENTS.items()),
    run_unit=run_unit,
    pictures={"Published and ours": draw_sequences},
)
