"""Tables that lose nothing: wider than the terminal rather than cut off."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_WIDEST = 100_000


def print_whole(table: Table) -> None:
    """Prints a table on standard output with every cell on one line, whatever the width there is."""
    for column in table.columns:
        column.no_wrap = True
    console = Console(markup=False, highlight=False)
    wanted = console.measure(table, options=console.options.update(width=_WIDEST, max_width=_WIDEST)).maximum
    Console(width=max(wanted, console.width), markup=False, highlight=False).print(table)


def print_folded(table: Table) -> None:
    """The same for long texts: on a terminal they go on in the next line of their cell."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        print_whole(table)
        return
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)
