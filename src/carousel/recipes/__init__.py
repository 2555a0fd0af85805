"""Recipes: what is to be reproduced, one paper (or demonstration) a file, and what makes results of it."""

from __future__ import annotations

from importlib import import_module

from carousel.errors import InputError
from carousel.recipes.recipe import Claim, Goal, Recipe, Row

__all__ = ["RECIPES", "Claim", "Goal", "Recipe", "Row", "load"]

RECIPES: dict[str, str] = {
    "sunspots": "carousel.recipes.sunspots",
    "error-flow": "carousel.recipes.error_flow",
    "own-data": "carousel.recipes.own_data",
    "compression": "carousel.recipes.compression",
    "treelstm2015": "carousel.recipes.treelstm2015",
    "socher2013": "carousel.recipes.socher2013",
    "nested": "carousel.recipes.nested",
    "lstm1997": "carousel.recipes.lstm1997",
    "lstm1997-today": "carousel.recipes.lstm1997_today",
    "lstm1997-competitors": "carousel.recipes.lstm1997_competitors",
    "guessing": "carousel.recipes.guessing",
    "lstm-facts/error-flow": "carousel.recipes.lstm_facts",
    "lstm-facts/weight-conflict": "carousel.recipes.lstm_facts",
    "lstm-facts/state-drift": "carousel.recipes.lstm_facts",
    "lstm-facts/abuse": "carousel.recipes.lstm_facts",
    "lstm-facts/spare-blocks": "carousel.recipes.lstm_facts",
    "lstm-facts/short-lags": "carousel.recipes.lstm_facts",
    "lstm-facts/learning-rate": "carousel.recipes.lstm_facts",
    "lstm-facts/cost": "carousel.recipes.lstm_facts",
    "ntm2014/copy": "carousel.recipes.ntm2014",
    "ntm2014/repeat-copy": "carousel.recipes.ntm2014",
    "ntm2014/associative-recall": "carousel.recipes.ntm2014",
    "ntm2014/dynamic-n-grams": "carousel.recipes.ntm2014",
    "ntm2014/priority-sort": "carousel.recipes.ntm2014",
}
"""name -> module with a RECIPE, or for "paper/experiment" with RECIPES by name; loaded only when it is asked for."""


def load(name: str) -> Recipe:
    """The recipe of that name; InputError names those there are."""
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}, expected one of: {', '.join(RECIPES)}")
    module = import_module(RECIPES[name])
    recipe: Recipe = module.RECIPES[name] if "/" in name else module.RECIPE
    return recipe
