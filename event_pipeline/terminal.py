"""Tables in the terminal."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Where the output goes to a file or a pipe, there is no screen to fit.
PIPE_WIDTH = 160


def stdout() -> Console:
    """The console that commands print to."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def print_records(
    records: Sequence[Mapping[str, Any]],
    title: str | None,
    console: Console,
    names: Sequence[str] = (),
) -> None:
    """Prints records as a table; `names` are its columns, by default the first record's."""
    if title:
        console.print(Text(f"\n{title}", style="bold"))
    names = names or list(records[0] if records else ())
    if names:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in names:
            number = any(isinstance(r[name], int | float | Decimal) for r in records)
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for record in records:
            # Text, not markup: a row may hold anything.
            table.add_row(*(Text(_shown(record[name])) for name in names))
        console.print(table)
    if not records:
        console.print("no rows")


def _shown(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "NO"
        case float():
            return f"{value:.4f}"
        case _:
            return "".join(
                c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value)
            )
