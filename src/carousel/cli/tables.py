"""Tables on the standard output: fitted to a terminal, whole in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

_ENDLESS = 10_000  # columns: in a pipe nothing is cut or wrapped


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under their column names, the first column to the left, numbers to the right."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for n, name in enumerate(columns):
        numbers = n > 0 and all(_is_number(row[n]) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold", no_wrap=n == 0 or numbers)
    for row in rows:
        table.add_row(*row)
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table, width=_ENDLESS)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _is_number(text: str) -> bool:
    return text.strip()[:1] in ("", "-", *"0123456789")
