"""Tree-LSTMs on the Stanford Sentiment Treebank.

Tai, Socher & Manning, "Improved semantic representations from tree-structured long short-term memory networks", ACL 2015:
section 5.1 and table 2. The treebank's constituency trees, a label at every node; words' vectors begin at random, where the
paper begins from GloVe vectors of 300 numbers, which gain it about six points.
"""

from __future__ import annotations

from carousel.recipes.recipe import Claim, Goal, Recipe, Row
from carousel.recipes.sst import SEEDS, draw, run_row

_TABLE = "Tai et al. 2015, table 2, with GloVe vectors tuned"
_RANDOM = "Tai et al. 2015, vectors from random (second hand)"
_DEVIATIONS = (
    "Words' vectors have 150 numbers, begin at random and learn by AdaGrad, as the rest does (paper: GloVe of 300 by SGD).",
    "Batches are drawn with replacement; an epoch is as many trees as the training part has.",
)


def _row(name: str, classes: int, claims: tuple[Claim, ...], at_least: float | None = None, *notes: str) -> Row:
    goals = (Goal("accuracy", "%", at_least=at_least),) if at_least is not None else ()
    return Row(f"{name}-{classes}", units=SEEDS, claims=claims, goals=goals, deviations=(*_DEVIATIONS, *notes))


def _claims(table: float, random: float | None = None) -> tuple[Claim, ...]:
    others = () if random is None else (Claim("accuracy", random, "%", _RANDOM),)
    return (Claim("accuracy", table, "%", _TABLE), *others)


_DEPENDENCY = "The paper's child-sum network reads dependency trees; these are constituency trees, as those of the other rows."
_PHRASES = "The network is trained on every labeled phrase."

RECIPE = Recipe(
    name="treelstm2015",
    paper="Tai, Socher & Manning, Improved semantic representations from tree-structured LSTM networks, ACL 2015",
    about="The sentiment of sentences by Tree-LSTMs on their trees, and by an LSTM on their words.",
    rows=(
        _row("tree-lstm", 5, _claims(51.0, 43.9), 43.9),
        _row("tree-lstm", 2, _claims(88.0, 82.0), 82.0),
        _row("child-sum", 5, _claims(48.4), None, _DEPENDENCY),
        _row("child-sum", 2, _claims(85.7), None, _DEPENDENCY),
        _row("lstm", 5, _claims(46.4), None, _PHRASES),
        _row("lstm", 2, _claims(84.9), None, _PHRASES),
    ),
    run_unit=run_row,
    curve="accuracy on validation (%)",
    pictures={"A sentence as the Tree-LSTM reads it": draw},
)
