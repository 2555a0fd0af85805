"""The plain recursive network and the recursive neural tensor network on the Stanford Sentiment Treebank.

Socher, Perelygin, Wu, Chuang, Manning, Ng & Potts, "Recursive deep models for semantic compositionality over a sentiment
treebank", EMNLP 2013: section 5 and table 1. AdaGrad as there; what differs is in the rows' deviations.
"""

from __future__ import annotations

from carousel.recipes.recipe import Claim, Recipe, Row
from carousel.recipes.sst import SEEDS, run_row

_SOURCE = "Socher et al. 2013, table 1, roots"
_DEVIATIONS = (
    "Batches of 25 trees are drawn with replacement; the half epoch with the best validation accuracy counts.",
    "Vectors of 100 numbers (RNTN 64; paper 25 to 35) from U(-.5, .5), dropout .2, W begins near half the sum of two children.",
    "Settings were chosen on one seed by validation, in four tries whose test accuracy was seen.",
)


def _row(name: str, classes: int, figure: float, *notes: str) -> Row:
    claims = (Claim("accuracy", figure, "%", _SOURCE),)
    return Row(f"{name}-{classes}", units=SEEDS, claims=claims, deviations=(*_DEVIATIONS, *notes))


RECIPE = Recipe(
    name="socher2013",
    paper="Socher et al., Recursive deep models for semantic compositionality over a sentiment treebank, EMNLP 2013",
    about="The sentiment of sentences by recursive networks on their trees.",
    rows=(_row("recursive", 5, 43.2), _row("recursive", 2, 82.4), _row("rntn", 5, 45.7), _row("rntn", 2, 85.4)),
    run_unit=run_row,
    curve="accuracy on validation (%)",
)
