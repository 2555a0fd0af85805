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
}
"""name -> module with a RECIPE; a recipe is loaded only when it is asked for."""


def load(name: str) -> Recipe:
    """The recipe of that name; InputError names those there are."""
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}, expected one of: {', '.join(RECIPES)}")
    recipe: Recipe = import_module(RECIPES[name]).RECIPE
    return recipe
