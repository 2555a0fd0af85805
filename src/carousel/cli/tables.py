"""Tables on the standard output: fitted to a terminal, whole in a pipe."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from carousel.printable import printable

_NUMBER = re.compile(r"(-?[\d.,e+-]+( ± [\d.,e+-]+)?|nan|-?inf)?")
_ENDLESS = 10_000  # columns: in a pipe nothing is cut or wrapped


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], best: Sequence[int] = ()) -> None:
    """Print rows of text under their column names, columns of numbers to the right, the rows `best` in bold."""
    width = None if sys.stdout.isatty() else _ENDLESS
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    columns, rows = list(map(printable, columns)), [list(map(printable, row)) for row in rows]
    for n, name in enumerate(columns):
        numbers = all(_NUMBER.fullmatch(row[n]) for row in rows)
        words = any(" " in row[n] for row in rows) and not numbers
        table.add_column(name, justify="right" if numbers else "left", overflow="fold", no_wrap=not words)
    for n, row in enumerate(rows):
        table.add_row(*row, style="bold" if n in best else None)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def for_reader(text: str) -> str:
    """The text for the standard output: as it is into a pipe, without what a terminal would obey onto one."""
    return printable(text, lines=True) if sys.stdout.isatty() else text
