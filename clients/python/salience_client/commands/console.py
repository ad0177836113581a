"""Where tables go: the terminal, or whatever reads in its place."""

from rich.console import Console

_UNCUT = 240
"""Columns of a table that is not read on a terminal."""


def table_console() -> Console:
    """Stdout, as wide as its terminal; what is no terminal cuts no line, nor a number in it."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=_UNCUT)
