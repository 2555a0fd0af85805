"""How cyclopts shows and reads the options of a command, besides what it does by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, get_args

from cyclopts import App, ArgumentCollection, CoercionError, Group, Parameter

from carousel.jobs.settings import ALIASES, Section


class Sectioned(App):
    """An app whose help shows each setting in the section that its annotation names, and that takes its aliases."""

    def assemble_argument_collection(self, **options: Any) -> ArgumentCollection:
        arguments = super().assemble_argument_collection(**options)
        for argument in arguments:
            own = [
                _group(mark) for mark in getattr(argument.field_info.annotation, "__metadata__", ()) if isinstance(mark, Section)
            ]
            if own:
                argument.parameter = Parameter.combine(argument.parameter, Parameter(group=own))
            if argument.field_info.name in ALIASES:
                names = (*argument.names, ALIASES[argument.field_info.name])
                argument.parameter = Parameter.combine(argument.parameter, Parameter(name=names))
            if argument.field_info.default == ():  # the help says in words what none means
                argument.parameter = Parameter.combine(argument.parameter, Parameter(show_default=False))
        return arguments


@cache
def _group(section: Section) -> Group:
    return Group(section.name, sort_key=section.rank)


def whole_numbers(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuse 3.5 where a whole number is asked for; cyclopts would round it."""
    for argument in arguments:
        if int in (argument.hint, *get_args(argument.hint)):
            for token in argument.tokens:
                if "." in token.value:
                    raise CoercionError(token=token, argument=argument, target_type=int)


DASH = "\u2010\u2011\u2010"
"""Stands for a word "-", which cyclopts would take for an option."""


def hide_dashes(words: Sequence[str]) -> list[str]:
    """The words with a stand-in for each lone "-", which is a value (`--missing - .`)."""
    return [DASH if word == "-" else word for word in words]


def show_dashes(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """The inverse, before the values are read."""
    for argument in arguments:
        argument.tokens[:] = [token.evolve(value="-") if token.value == DASH else token for token in argument.tokens]
