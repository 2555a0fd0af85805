"""The five experiments of the Neural Turing Machine, with its two controllers and the LSTM that it was compared with.

Graves, Wayne & Danihelka, arXiv 1410.5401v2, section 4. Heads, units and rates are those of the paper's
tables 1 to 3, the optimiser and the clipping those of its section 4.6. A unit is a training from one seed. Every
"... by 17k" is of the weights that had the fewest bits on 256 validation sequences until then; the weights that had
the fewest in all are measured on fresh sequences, at the lengths of training and beyond. A unit is solved with less
than half a wrong bit a sequence at the lengths of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from carousel.batch import Batch
from carousel.cell import Cell, Stack
from carousel.cells import LSTM, NTM, LearnedStart
from carousel.learn import BPTT
from carousel.loop import scan
from carousel.recipes.ntm2014_pictures import BEST, draw_answers, draw_curves, draw_heads, draw_predictions, picture
from carousel.recipes.ntm2014_starts import GrowingSort, asking, looking_up, remembering, writing_in_turn
from carousel.recipes.recipe import Claim, Goal, Recipe, Row
from carousel.tasks import AssociativeRecall, Copy, DynamicNGrams, PrioritySort, RepeatCopy
from carousel.tasks.binary import BinaryTask
from carousel.train import Fit, fit

PAPER = "Graves, Wayne & Danihelka, Neural Turing Machines, arXiv 1410.5401v2, 2014"
SEEDS = tuple(range(10))
CURVE = 200  # points of a learning curve, where an experiment has no number of its own
AT_LEAST = 250  # sequences between two of them
FRESH, BEYOND = 1000, 100  # sequences that a trained network is measured on, at the lengths of training and at each beyond


def lstm(input_size: int, output_size: int, hidden_size: int) -> Cell:
    """The paper's baseline: three layers, each reading the input too and all read by the readout; learned initial states.

    That this is its architecture follows from table 3: with 10 inputs, 9 outputs and 256 units it has the table's 1,352,969
    parameters, and the next three lines of the table fit as well.
    """
    sizes = (input_size, input_size + hidden_size, input_size + hidden_size)
    readout = nn.Linear(3 * hidden_size, output_size)
    return LearnedStart(Stack(*(LSTM(size, hidden_size) for size in sizes), readout=readout, skips=True))


GRAVES: Mapping[str, Any] = {"batch_size": 16, "rate": 1e-3}
ADAM: Mapping[str, Any] = {"batch_size": 8, "rate": 2e-3, "optimizer": "adam", "clip_norm": 1.0, "decay": True}
"""The best settings that we know: with the paper's optimiser the programs that go through the memory row by row are found
soonest, and with Adam what looks up by content is found for good."""


@dataclass(frozen=True)
class Training:
    """How one model is trained on one task.

    clip_norm:  of the gradient, beside the paper's clipping of each entry.
    window:     steps that the error goes back through, with an update each; None: the whole sequence.
    practice:   makes what is trained on, where it is not the task as it is measured.
    decay:      whether the rate falls evenly, to nothing at the end.
    """

    make: Callable[[int, int], Cell]
    rate: float
    sequences: int
    batch_size: int = 1
    optimizer: str = "rmsprop-graves"
    clip_norm: float | None = None
    window: int | None = None
    practice: Callable[[], BinaryTask] | None = None
    decay: bool = False
    claims: tuple[Claim, ...] = ()
    goals: tuple[Goal, ...] = ()
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class NTMExperiment:
    """A task, what is measured on it beyond training and what is drawn.

    by:      sequences at which the learning curve is read.
    beyond:  name of a test -> its lengths.
    shown:   title -> lengths of the sequences in the picture.
    heads:   the title of which the heads' work is drawn.
    paper:   model -> points [sequences, bits] that the paper tells; 0 stands for "about 0".
    points:  of a learning curve.
    best:    model -> what is changed of its training in the row of our settings.
    """

    task: BinaryTask
    about: str
    by: tuple[int, ...]
    beyond: Mapping[str, Mapping[str, int]]
    shown: Mapping[str, Mapping[str, int]]
    heads: str
    paper: Mapping[str, Sequence[tuple[int, float]]]
    models: Mapping[str, Training] = field(default_factory=dict)
    points: int = CURVE
    best: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"ntm-lstm": GRAVES, "ntm-ff": GRAVES})


def ntm(
    controller: Literal["lstm", "feedforward"], hidden_size: int, heads: int, layers: int = 1, **options: Any
) -> Callable[[int, int], NTM]:
    """(inputs, outputs) -> an NTM with so many read heads and as many write heads, and a memory of 128 x 20."""
    sizes: dict[str, Any] = {"layers": layers, "N": 128, "M": 20, "read_heads": heads, "write_heads": heads}
    return partial(NTM, hidden_size=hidden_size, controller=controller, **sizes, **options)


# --- One unit --------------------------------------------------------------------------------------


def run_unit(name: str, row: str, unit: int | str, budget: int | None = None) -> dict[str, Any]:
    """Train one model on one task from one seed; `budget`: on so many sequences in place of the recipe's."""
    experiment, seed = EXPERIMENTS[name], int(unit)
    task, training = experiment.task, experiment.models[row]
    sequences = training.sequences if budget is None else budget
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cell = training.make(task.input_size, task.output_size)
    trained = fit(
        cell,
        training.practice() if training.practice else task,
        learner=BPTT(training.window, clip_value=10, clip_norm=training.clip_norm),
        optimizer=training.optimizer,
        rate=training.rate,
        decay=training.decay,
        batch_size=training.batch_size,
        sequences=sequences,
        evaluate_every=max(sequences // experiment.points, AT_LEAST),
        monitor="bits",
        seed=seed,
        progress=False,
    )
    measures = by_figures(trained, experiment.by) | tested(trained.cell, experiment)
    entry = {
        "seed": seed,
        "solved": measures["wrong bits"] < 0.5 if "wrong bits" in measures else None,
        "sequences": trained.sequences,
        "seconds": round(trained.seconds, 1),
        "backend": "auto",
        "measures": {measure: float(f"{value:.5g}") for measure, value in measures.items()},
        "curve": [[sequences, float(f"{value:.4g}")] for sequences, value in _history(trained, "bits")],
    }
    if seed == SEEDS[0]:
        entry["picture"] = picture(trained.cell, task, experiment.shown, experiment.heads)
    return entry


def by_figures(trained: Fit, by: Sequence[int]) -> dict[str, float]:
    """The figures on validation of the best weights until so many sequences, where training went as far."""
    figures = {}
    bits = _history(trained, "bits")
    for limit in by:
        if trained.sequences < limit:
            continue
        at, value = min((point for point in bits if point[0] <= limit), key=lambda point: point[1])
        figures[f"bits by {_short(limit)}"] = value
        wrong = dict(_history(trained, "wrong bits"))
        if wrong:
            figures[f"wrong bits by {_short(limit)}"] = wrong[at]
    return figures


def tested(cell: Cell, experiment: NTMExperiment) -> dict[str, float]:
    """The task's score on fresh sequences: of training's lengths, and "... at TEST" of each set of lengths beyond."""
    generator = torch.Generator().manual_seed(0xF4E5)  # not the validation's
    task = experiment.task
    figures = _score(cell, task, task.sample(FRESH, generator))
    for test, lengths in experiment.beyond.items():
        score = _score(cell, task, task.sample(BEYOND, generator, **lengths))
        figures |= {f"{name} at {test}": value for name, value in score.items() if name != "wrong bits"}
    return figures


@torch.no_grad()
def _score(cell: Cell, task: BinaryTask, batch: Batch) -> dict[str, float]:
    return task.score(scan(cell, batch.inputs, lengths=batch.lengths)[0], batch)


def _history(trained: Fit, name: str) -> list[tuple[int, float]]:
    rows = [row for row in trained.history if row["split"] == "validation" and row["name"] == name]
    return [(row["sequences"], row["value"]) for row in rows]


def _short(sequences: int) -> str:
    return f"{sequences // 1_000_000}M" if sequences % 1_000_000 == 0 else f"{sequences // 1000}k"


# --- The experiments -------------------------------------------------------------------------------

_STARTS = "The memory starts at 1e-6 and the heads on row 0, both fixed; in the paper all that a sequence starts with is learned."
_EARLY = "Trained on fewer sequences than the paper's 1,000,000."


_LOOKING_UP = (
    "The memory that a sequence starts with is learned, as in the paper, from random rows; the heads start on row 0. "
    "Before training their biases are set to look up by content: strength + 8, gate + 2, no shift + 2, sharpening + 1."
)
_ASKING = (
    "Before training the controller's weights for the input are multiplied by 8; write heads are set to go a row further each "
    "step: gate - 10, shift by one row + 4, sharpening + 1; and read heads to ask for what was written: their keys are made by "
    "the weights of what is added (of several write heads: their sum), strength + 8, shift by one row + 1, sharpening + 1."
)
_SPREAD = (
    "At the end the read head is spread over the rows, in the sequence of the picture, where that of the row ntm-ff-best is sharp, "
    "so that little is known of the bits before."
)
_REMEMBERING = (
    "Before training the LSTM is set to remember the latest inputs: the weights of its candidates are 4 times an orthogonal "
    "matrix for its outputs and drawn from N(0, 2^2) for the bit, which counts as -1/2 or 1/2; the biases are 0, of the forget "
    "gate -2."
)

RECALL: Mapping[str, Any] = {**ADAM, "sequences": 60_000, "deviations": (_STARTS, _ASKING)}
N_GRAMS: Mapping[str, Any] = {
    **ADAM,
    "window": 100,
    "sequences": 200_000,
    "deviations": (_LOOKING_UP,),
}
"""Rows of memory that all start equal are the trouble here: a weighting spread evenly over them stays so, and sharpening
multiplies whatever differs, gradients too, by gamma (1 - g) a step: by 1e20 and more in 200 steps. Where each row differs from
the start there is no such balance to sit on, and the rows are a table where the counts of each context are looked up.

The next trouble is the key. An LSTM as it usually starts has all but lost a bit after two steps, and its keys, the cosine
between those of two contexts being 0.97, find the same row in all contexts: 42 bits over the optimum after 7,000 sequences, in a
trial that is not recorded. One that remembers six bits from the start has a key for each context: 7.8 bits over by 4,000.

From there the error is that of weightings that are not quite sharp, and counts of other contexts are read along. Twice the rate,
and updates from 8 sequences in place of 16, bring it down a little faster; with windows of 25 it falls more slowly."""


_WALKING = (
    "Before training the write heads' biases are set to go a row further each step: gate - 10, shift by one row + 4, "
    "sharpening + 1."
)
COPY: Mapping[str, Any] = {**GRAVES, "deviations": (_STARTS, _WALKING)}
"""What spoils copies of 120 vectors is the write head while the answer is given, when nothing is left to write. As heads start
otherwise it learns to do least harm by looking up the rows that are still empty, spread over all of them: over 20 rows of 128 that
is as good as nothing, but with 120 rows in use it writes over what is kept, a little at each step. A head that walks on
meets no row that is still to be read."""


SORT: Mapping[str, Any] = {
    **GRAVES,
    "practice": GrowingSort,
    "sequences": 240_000,
    "deviations": (
        _STARTS,
        "The first 108,800 sequences are batches of 1 to 3 vectors, all asked for, and one more every 6,400 sequences "
        "(at most 16 asked for).",
        "Two trainings of three find how to sort; when is chance. Write heads that set out walking, or a rate that falls, did not "
        "make it more certain in single looks and three more trainings that are not recorded.",
    ),
}


def _batches(size: int) -> str:
    return f"Batches of {size}, at the paper's rate times the square root of that; sequences are counted, not updates."


def _with_best(experiment: NTMExperiment) -> NTMExperiment:
    """The experiment with a second row for each network with a memory, of our settings."""
    models = dict(experiment.models)
    for row, changed in experiment.best.items():
        settings = {name: value for name, value in changed.items() if name not in ("sequences", "make", "practice", "deviations")}
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
        own = changed.get("deviations", (_STARTS,))
        early = [_EARLY] if _EARLY in experiment.models[row].deviations else []
        deviations = (*own, f"Other settings than the paper's: {said}. Sequences are counted, not updates.", *early)
        models[row + BEST] = replace(experiment.models[row], **{**changed, "deviations": deviations})
    return replace(experiment, models=models)


def _claim(measure: str, bits: float, figure: int) -> Claim:
    return Claim(measure, bits, "bits", f"arXiv 1410.5401v2, figure {figure}")


EXPERIMENTS: dict[str, NTMExperiment] = {
    "copy": NTMExperiment(
        Copy(),
        about="Give back a sequence of 1 to 20 binary vectors; then up to 120.",
        by=(17_000, 50_000, 100_000, 1_000_000),
        beyond={"120": {"length": 120}},
        shown={f"{length} vectors": {"length": length} for length in (10, 20, 30, 50, 120)},
        heads="20 vectors",
        best={
            "ntm-lstm": {**COPY, "make": writing_in_turn(ntm("lstm", 100, heads=1))},
            "ntm-ff": {**COPY, "make": writing_in_turn(ntm("feedforward", 100, heads=1))},
        },
        paper={"ntm-lstm": [(100_000, 0)], "ntm-ff": [(100_000, 0)], "lstm": [(100_000, 4.8), (1_000_000, 0.5)]},
        models={
            "ntm-lstm": Training(
                ntm("lstm", 100, heads=1),
                rate=1e-4,
                sequences=50_000,
                claims=(_claim("bits", 0, 3),),
                goals=(
                    Goal("wrong bits by 17k", "", at_most=0.5, statistic="median"),
                    Goal("bits by 50k", "bits", at_most=0.01, statistic="median"),
                    Goal("wrong bits by 50k", "", at_most=0.5, statistic="max"),
                    Goal("perfect at 120", "%", at_least=95, statistic="median"),
                ),
                deviations=(_STARTS,),
            ),
            "ntm-ff": Training(
                ntm("feedforward", 100, heads=1),
                rate=1e-4,
                sequences=50_000,
                claims=(_claim("bits", 0, 3),),
                goals=(
                    Goal("bits by 50k", "bits", at_most=0.01, statistic="median"),
                    Goal("perfect at 120", "%", at_least=95, statistic="median"),
                ),
                deviations=(_STARTS,),
            ),
            "lstm": Training(
                partial(lstm, hidden_size=256),
                rate=3e-5 * 32**0.5,
                batch_size=32,
                sequences=1_000_000,
                claims=(_claim("bits by 100k", 4.8, 3), _claim("bits by 1M", 0.5, 3)),
                deviations=(
                    _batches(32),
                    "9 inputs and 8 outputs, as the paper's text has them; its table's 1,352,969 parameters are those "
                    "of 10 and 9, here 1,349,128.",
                ),
            ),
        },
    ),
    "repeat-copy": NTMExperiment(
        RepeatCopy(),
        about="Give back a sequence of 1 to 10 binary vectors 1 to 10 times, then an end marker; then longer and more often.",
        by=(50_000, 100_000, 150_000),
        beyond={"length 20": {"length": 20, "repeats": 10}, "20 repeats": {"length": 10, "repeats": 20}},
        shown={
            "5 vectors, 4 times": {"length": 5, "repeats": 4},
            "10 vectors, 10 times": {"length": 10, "repeats": 10},
            "10 vectors, 20 times": {"length": 10, "repeats": 20},
        },
        heads="5 vectors, 4 times",
        best={
            "ntm-lstm": GRAVES,
            # At the rate of the others this one learns, and then falls back for good.
            "ntm-ff": {
                "make": writing_in_turn(ntm("feedforward", 100, heads=1)),
                "batch_size": 2,
                "rate": 3e-4,
                "clip_norm": 1.0,
                "decay": True,
                "deviations": (_STARTS, _WALKING),
            },
        },
        paper={"ntm-lstm": [(50_000, 0)], "ntm-ff": [(100_000, 0)], "lstm": [(150_000, 0)]},
        models={
            "ntm-lstm": Training(
                ntm("lstm", 100, heads=1),
                rate=1e-4,
                sequences=100_000,
                claims=(_claim("bits by 50k", 0, 7),),
                goals=(Goal("bits by 50k", "bits", at_most=0.1),),
                deviations=(_STARTS,),
            ),
            "ntm-ff": Training(
                ntm("feedforward", 100, heads=1),
                rate=1e-4,
                sequences=100_000,
                claims=(_claim("bits by 100k", 0, 7),),
                goals=(Goal("bits by 100k", "bits", at_most=0.1),),
                deviations=(_STARTS,),
            ),
            "lstm": Training(
                partial(lstm, hidden_size=512),
                rate=3e-5 * 32**0.5,
                batch_size=32,
                sequences=200_000,
                claims=(_claim("bits by 150k", 0, 7),),
                deviations=(_batches(32),),
            ),
        },
    ),
    "associative-recall": NTMExperiment(
        AssociativeRecall(),
        about="Shown 2 to 6 items and one of them again, say the next item; then up to 20 items.",
        by=(30_000, 200_000, 1_000_000),
        beyond={f"{items} items": {"items": items} for items in (12, 15, 20)},
        shown={f"{items} items": {"items": items} for items in (6, 12, 20)},
        heads="6 items",
        best={
            "ntm-lstm": {**RECALL, "make": asking(ntm("lstm", 100, heads=1))},
            "ntm-ff": {
                **RECALL,
                "make": asking(ntm("feedforward", 256, heads=4)),
                "batch_size": 16,
                "rate": 1e-3,
            },
        },
        paper={"ntm-lstm": [(30_000, 0)], "ntm-ff": [(30_000, 0)]},
        models={
            "ntm-lstm": Training(
                ntm("lstm", 100, heads=1),
                rate=1e-4,
                sequences=100_000,
                claims=(_claim("bits by 30k", 0, 10), _claim("bits at 15 items", 1, 11), _claim("bits at 20 items", 7, 11)),
                goals=(Goal("bits by 30k", "bits", at_most=0.1), Goal("bits at 20 items", "bits", at_most=1)),
                deviations=(_STARTS,),
            ),
            "ntm-ff": Training(
                ntm("feedforward", 256, heads=4),
                rate=1e-4,
                sequences=100_000,
                claims=(_claim("bits by 30k", 0, 10), _claim("bits at 15 items", 1, 11), _claim("bits at 20 items", 8, 11)),
                goals=(Goal("bits by 30k", "bits", at_most=0.1), Goal("bits at 20 items", "bits", at_most=1)),
                deviations=(_STARTS,),
            ),
            "lstm": Training(
                partial(lstm, hidden_size=256),
                rate=1e-4 * 32**0.5,
                batch_size=32,
                sequences=200_000,
                claims=(_claim("bits at 20 items", 38, 11),),
                deviations=(_batches(32), _EARLY),
            ),
        },
    ),
    "dynamic-n-grams": NTMExperiment(
        DynamicNGrams(),
        about="Predict 200 bits that follow a table of 6-grams, a new one in each sequence; beside it the best that can be done.",
        by=(100_000, 200_000, 1_000_000),
        beyond={},
        shown={"200 bits": {"length": 200}},
        heads="200 bits",
        points=100,  # a validation of 1000 sequences, as in the paper, takes a while
        best={
            "ntm-lstm": {
                **N_GRAMS,
                "make": remembering(looking_up(ntm("lstm", 100, heads=1, memory="learned-random"))),
                "deviations": (_LOOKING_UP, _REMEMBERING),
            },
            "ntm-ff": {**N_GRAMS, "make": looking_up(ntm("feedforward", 100, heads=1, memory="learned-random"))},
        },
        paper={"ntm-lstm": [(1_000_000, 133.5)], "ntm-ff": [(1_000_000, 134)], "lstm": [(1_000_000, 136)]},
        models={
            "ntm-lstm": Training(
                ntm("lstm", 100, heads=1),
                rate=3e-5 * 16**0.5,
                batch_size=16,
                sequences=200_000,
                claims=(_claim("bits", 133.5, 13),),
                goals=(Goal("over the optimum", "bits", at_most=0.5),),
                deviations=(_STARTS, _batches(16), _EARLY),
            ),
            "ntm-ff": Training(
                ntm("feedforward", 100, heads=1),
                rate=3e-5 * 16**0.5,
                batch_size=16,
                sequences=200_000,
                claims=(_claim("bits", 134, 13),),
                goals=(Goal("over the optimum", "bits", at_most=0.5),),
                deviations=(_STARTS, _batches(16), _EARLY, _SPREAD),
            ),
            "lstm": Training(
                partial(lstm, hidden_size=128),
                rate=1e-4 * 32**0.5,
                batch_size=32,
                sequences=200_000,
                claims=(_claim("bits", 136, 13),),
                deviations=(_batches(32), _EARLY),
            ),
        },
    ),
    "priority-sort": NTMExperiment(
        PrioritySort(),
        about="Put 20 binary vectors in the order of their priorities and give the 16 highest.",
        by=(100_000, 200_000, 1_000_000),
        beyond={},
        shown={"20 vectors, 16 asked for": {"vectors": 20, "answers": 16}},
        heads="20 vectors, 16 asked for",
        best={"ntm-lstm": SORT},
        paper={"ntm-lstm": [(1_000_000, 18)], "ntm-ff": [(1_000_000, 20)], "lstm": [(1_000_000, 58)]},
        models={
            "ntm-lstm": Training(
                ntm("lstm", 100, heads=5, layers=2),
                rate=3e-5 * 16**0.5,
                batch_size=16,
                sequences=200_000,
                claims=(_claim("bits", 18, 18),),
                goals=(Goal("bits", "bits", at_most=18),),
                deviations=(_STARTS, _batches(16), _EARLY),
            ),
            "ntm-ff": Training(
                ntm("feedforward", 512, heads=8),
                rate=3e-5 * 16**0.5,
                batch_size=16,
                sequences=200_000,
                claims=(_claim("bits", 20, 18),),
                goals=(Goal("bits", "bits", at_most=18),),
                deviations=(_STARTS, _batches(16), _EARLY),
            ),
            "lstm": Training(
                partial(lstm, hidden_size=128),
                rate=3e-5 * 32**0.5,
                batch_size=32,
                sequences=200_000,
                claims=(_claim("bits", 58, 18),),
                deviations=(_batches(32), _EARLY, "The paper's 384,424 parameters fit no whole widths of its architecture."),
            ),
        },
    ),
}
EXPERIMENTS = {name: _with_best(experiment) for name, experiment in EXPERIMENTS.items()}


def _recipe(name: str) -> Recipe:
    experiment = EXPERIMENTS[name]
    rows = [
        Row(row, SEEDS if row != "lstm" else SEEDS[:2], training.claims, training.goals, training.deviations)
        for row, training in experiment.models.items()
    ]
    if isinstance(experiment.task, DynamicNGrams):
        answers = {"Prediction against the optimum": draw_predictions}
    else:
        answers = {"Answers": draw_answers}
    return Recipe(
        name=f"ntm2014/{name}",
        paper=PAPER,
        about=experiment.about,
        rows=tuple(rows),
        run_unit=partial(run_unit, name),
        curve="bits per sequence on validation",
        pictures={"Learning curves": partial(draw_curves, experiment.paper), **answers, "What the heads do": draw_heads},
    )


RECIPES = {f"ntm2014/{name}": _recipe(name) for name in EXPERIMENTS}
