"""Prints what commands say, and tables. Nothing in the data can command a terminal.

Everything that a command prints goes through a console of `stdout` or `stderr`, or `write`. A
field, a file's name or an error's text may hold escape sequences, letters that reverse the order of
others, and words that rich takes for markup; they are shown, not obeyed. Only what `write` sends to
a file or a pipe is unchanged.
"""

import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

# Where the output goes to a file or a pipe, there is no screen to fit.
PIPE_WIDTH = 160
# Characters that are not printable but do no harm: line ends, tabs, and what joins letters.
KEPT = frozenset("\n\t\u200c\u200d")


def harmless(text: str) -> str:
    r"""A text whose control characters are visible, as \x1b, and have no effect."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in KEPT or unicodedata.category(c) == "Zs" else _visible(c)
        for c in text
    )


def _visible(letter: str) -> str:
    return (
        letter.encode("ascii", "backslashreplace").decode()
        if letter > "\x7f"
        else (f"\\x{ord(letter):02x}")
    )


class _Console(Console):
    """Shows texts as they are: no markup, no emoji codes, no control characters of theirs."""

    def render_str(self, text: str, **how: Any) -> Text:
        """A string as Text; made harmless first, since Text drops some control characters."""
        return super().render_str(harmless(text), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders: keeps rich's own control codes and styles, and makes the text harmless."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


def stdout() -> Console:
    """The console that commands print to."""
    console = _Console(markup=False, emoji=False)
    return console if console.is_terminal else _Console(markup=False, emoji=False, width=PIPE_WIDTH)


def stderr() -> Console:
    """The console for errors and remarks."""
    return _Console(stderr=True, markup=False, emoji=False, highlight=False)


def write(text: str) -> None:
    """Prints a line: unchanged to a file or a pipe, made harmless to a terminal."""
    print(harmless(text) if sys.stdout.isatty() else text)


def encode_anything() -> None:
    """Lets the standard streams escape what their encoding lacks, as in names of files."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_records(
    records: Sequence[Mapping[str, Any]],
    title: str | None,
    console: Console,
    names: Sequence[str] = (),
) -> None:
    """Prints records as a table; `names` are its columns, by default the first record's."""
    names = names or list(records[0] if records else ())
    print_rows([[record[name] for name in names] for record in records], title, console, names)


def print_rows(
    rows: Sequence[Sequence[Any]], title: str | None, console: Console, names: Sequence[str]
) -> None:
    """Prints rows as a table whose columns have these names, some of which may be the same."""
    if title:
        console.print(Text(harmless(f"\n{title}"), style="bold"))
    if names:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for n, name in enumerate(names):
            number = any(isinstance(row[n], int | float | Decimal) for row in rows)
            table.add_column(
                Text(_line(name)), justify="right" if number else "left", overflow="fold"
            )
        for row in rows:
            # Text, not markup: a row may hold anything.
            table.add_row(*(Text(_shown(value)) for value in row))
        console.print(table)
    if not rows:
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
            return _line(str(value))


def _line(text: str) -> str:
    """A text in one line."""
    return harmless(text).replace("\n", "\\n").replace("\t", "\\t")
