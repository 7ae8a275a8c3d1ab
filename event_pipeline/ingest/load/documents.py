"""JSON, read exactly: JSON Lines, an array, or objects one after the other. Each is a record.

Numbers keep their spelling, whatever their length. A key that first appears in the last record is
a column like any other. Nested values are JSON text.
"""

import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from event_pipeline.ingest.load.reading import BATCH, ReadSummary, texts, undecodable, unique_names
from event_pipeline.lake.fields import Number, compact, is_too_deep
from event_pipeline.lake.text import LONGEST_TOKEN, elements, records

if TYPE_CHECKING:
    import pyarrow as pa

# What Python and others write for numbers that JSON cannot express.
NO_VALUES = ("NaN", "Infinity", "-Infinity")

Record = dict[str, str | None]

_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=Number, parse_float=Number, parse_constant=Number
)


class _Bad(Exception):
    """A record that cannot be read; the message says why."""


def batches(text: IO[str], start: str, found: ReadSummary) -> Iterator["pa.Table"]:
    """Yields the records of a JSON text in batches, as tables of text columns.

    `start` is how the text begins. Records that cannot be read are added to `found`.
    """
    columns: dict[str, str] = {}  # the column of each key
    rows: list[Record] = []
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(_records(text, start), 1):
        if not line.strip():
            continue
        try:
            rows.append(_record(line, found))
        except _Bad as bad:
            found.lose(number, line, undecodable(line) or str(bad))
            continue
        lines.append((number, line))
        if len(rows) == BATCH:
            yield from _tables(rows, lines, columns, found)
            rows, lines = [], []
    if rows:
        yield from _tables(rows, lines, columns, found)


def _records(text: IO[str], start: str) -> Iterator[str]:
    first = start.lstrip("\ufeff \t\r\n")
    if first.startswith("["):
        return records(text, array=True)
    try:
        end = _DECODER.raw_decode(first)[1]
    except RecursionError:
        return records(text, array=False)
    except json.JSONDecodeError as error:
        # If the object is long and laid out in lines, `start` holds only its beginning.
        goes_on = error.msg.startswith("Unterminated") or len(first) - error.pos < LONGEST_TOKEN
        return elements(text) if goes_on and "\n" in first else records(text, array=False)
    after = first[end:].lstrip(" \t,")
    if "\n" in first[:end] or "\r" in first[:end] or after[:1] == "{":
        # Objects are laid out in lines for people, or follow each other within a line.
        return elements(text)
    return records(text, array=False)


def _record(line: str, found: ReadSummary) -> Record:
    if is_too_deep(line):
        raise _Bad("nested deeper than 100 levels")
    try:
        pairs = _DECODER.decode(line)
    except ValueError as error:
        raise _Bad(f"not JSON: {error}") from None
    if type(pairs) is not tuple:
        raise _Bad("not a JSON object")
    record: Record = {}
    for name, value in pairs:
        if value is None or type(value) is str:
            record[name] = value
        elif type(value) is Number:
            if value in NO_VALUES:
                found.nulls += 1
                record[name] = None
            else:
                record[name] = str(value)
        else:
            record[name] = _nested(value, found)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Bad(f"names {twice} twice, so it is not clear which value is meant")
    return record


def _nested(value: object, found: ReadSummary) -> str:
    return compact(_without_no_values(value, found))


def _without_no_values(value: object, found: ReadSummary) -> object:
    match value:
        case Number() if value in NO_VALUES:
            found.nulls += 1
            return None
        case tuple():
            return tuple((name, _without_no_values(each, found)) for name, each in value)
        case list():
            return [_without_no_values(each, found) for each in value]
    return value


def _tables(
    rows: list[Record], lines: list[tuple[int, str]], columns: dict[str, str], found: ReadSummary
) -> Iterator["pa.Table"]:
    try:
        yield _table(rows, columns)
    except UnicodeEncodeError:
        kept = []
        for row, (number, line) in zip(rows, lines, strict=True):
            content = "".join((*row, *(value for value in row.values() if value)))
            if why := undecodable(line) or undecodable(content):
                found.lose(number, line, why)
            else:
                kept.append(row)
        if kept:
            yield _table(kept, columns)


def _table(rows: list[Record], columns: dict[str, str]) -> "pa.Table":
    seen = dict.fromkeys(columns)
    for row in rows:
        if row.keys() != seen.keys():
            seen |= dict.fromkeys(row)
    if len(seen) > len(columns):
        columns |= dict(zip(seen, unique_names(list(seen)), strict=True))
    return texts({column: [row.get(key) for row in rows] for key, column in columns.items()})
