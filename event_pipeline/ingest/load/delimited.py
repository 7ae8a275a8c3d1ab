"""Delimited text: read by RFC 4180, or in another common way if that fits the file better.

Python's csv reader, in its strict mode, reports what RFC 4180 does not allow. A bad record ends
with its first line, so that a quote which is never closed costs one line and not the rest of the
file.
"""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from event_pipeline.errors import LoadError
from event_pipeline.ingest.load.reading import (
    BATCH,
    ReadSummary,
    Spelling,
    printable,
    texts,
    undecodable,
    unique_names,
)
from event_pipeline.lake.text import LONGEST_LINE

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = (",", ";", "\t", "|")
# How many lines are sampled to find the delimiter, the header and what stands above it.
SAMPLE = 500
LONGEST_SAMPLE = 1 << 20  # characters
# Another way to read is taken only if the share of the sample that it can read is so much larger.
SLIGHTLY, CLEARLY = 0.001, 0.02
# The first line `sep=;` in which Excel names the delimiter.
_SEP = re.compile(r'"?sep=(.)"?\r?\n?$', re.I)
# A text that looks like a value rather than like the name of a column.
_VALUE = re.compile(
    r"[+-]?[0-9]+([.,:/ T-]?[0-9]+)*( ?(Z|UTC|GMT))?|[0-9a-f]{8}-[0-9a-f-]{27}|.+@.+[.].+", re.I
)
HEADERLESS = "column"


def batches(
    text: IO[str], name: str, spelling: Spelling, found: ReadSummary
) -> Iterator["pa.Table"]:
    """Yields the records of a delimited text in batches, as tables of text columns.

    An empty field is null. Records that cannot be read, and notes, are added to `found`.
    """
    csv.field_size_limit(LONGEST_LINE)
    sample = _sample(text)
    if not any(line.strip() for line in sample):
        return
    above = _lines_above(sample, spelling, name)
    format_, width, title = _format(sample[above:], name, spelling)
    above += title
    if spelling.skip is None and above:
        shown = "; ".join(printable(line).strip() for line in sample[:above])[:100]
        found.notes.append(
            f"{name}: {above} lines above the header are not read ({shown}); to read them: --skip 0"
        )
    if "escapechar" in format_:
        found.notes.append(f"{name}: a backslash before a letter or quote is read as an escape")
    # The limit bounds what is read at once of a line that does not end.
    rest = iter(partial(text.readline, LONGEST_LINE), "")
    records = _Records(itertools.chain(sample[above:], rest), above, format_, found)
    header = None
    if spelling.header:
        header = next(records.rows(None), None)
        if header is None:
            return
        while len(header) > 1 and not header[-1].strip() and len(header) > width:
            header.pop()
        _warn_of_values(header, name, found)
        width = len(header)
    names = unique_names(header or [f"{HEADERLESS}{n}" for n in range(width)])
    yield texts({each: [] for each in names})  # a header alone is a table too
    rows: list[list[str]] = []
    numbers: list[int] = []
    for row in records.rows(width):
        rows.append(row)
        numbers.append(records.number)
        if len(rows) == BATCH:
            yield _table(names, rows, numbers, format_, found)
            rows, numbers = [], []
    if rows:
        yield _table(names, rows, numbers, format_, found)


class _Records:
    """The records in lines. Bad ones are added to `found` and skipped."""

    def __init__(
        self, lines: Iterator[str], above: int, format_: dict[str, Any], found: ReadSummary
    ) -> None:
        self.number = above  # of the line at which the last record ends
        self._lines, self._format, self._found = lines, format_, found
        self._held: list[str] = []  # the lines of the record that is being read
        self._again: list[str] = []  # lines to be read once more, the next one last

    def rows(self, width: int | None) -> Iterator[list[str]]:
        """Yields the records that have `width` fields; with None only the next, of any width."""
        held = self._held
        while True:
            try:
                for row in csv.reader(self._feed(), **self._format):
                    if len(row) != width:
                        if not row or (len(row) == 1 and not row[0].strip() and width != 1):
                            held.clear()  # a blank line is no record
                            continue
                        if width is not None and not _fits(row, width):
                            count = f"{len(row)} fields where the header has {width}"
                            if len(held) > 1:
                                self._skip_record(f"a quote that is not closed, or {count}")
                                break  # reading goes on after its first line
                            self._skip_record(count)
                            continue
                    held.clear()
                    yield row
                    if width is None:
                        return
                else:
                    return
            except csv.Error as error:
                self._skip_record(_reason(error))

    def _feed(self) -> Iterator[str]:
        while self._again:
            self.number += 1
            self._held.append(self._again[-1])
            yield self._again.pop()
        hold = self._held.append
        for line in self._lines:
            self.number += 1
            hold(line)
            yield line

    def _skip_record(self, why: str) -> None:
        """Reports the first held line as lost. The lines after it are read again."""
        first, *rest = self._held or [""]
        self.number -= len(rest)
        self._again += reversed(rest)
        self._held.clear()
        self._found.lose(self.number, first, undecodable(first) or why)


def _fits(row: list[str], width: int) -> bool:
    """Whether a record has `width` fields. Removes surplus empty fields from its end first."""
    while len(row) > width and not row[-1]:
        row.pop()
    return len(row) == width


def _reason(error: csv.Error) -> str:
    message = str(error)
    if "expected after" in message:
        return "a quote within a quoted field, or after it: RFC 4180 requires it to be doubled"
    if "unexpected end" in message or "field limit" in message:
        return "a quote that is not closed"
    return message


def _table(
    names: Sequence[str],
    rows: list[list[str]],
    numbers: list[int],
    format_: dict[str, Any],
    found: ReadSummary,
) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        table = texts(dict(zip(names, zip(*rows, strict=True), strict=True)))
    except UnicodeEncodeError:
        kept = []
        for row, number in zip(rows, numbers, strict=True):
            text = format_["delimiter"].join(row)
            if why := undecodable(text):
                found.lose(number, text, why)
            else:
                kept.append(row)
        columns = zip(*kept, strict=True) if kept else ([] for _ in names)
        table = texts(dict(zip(names, columns, strict=True)))
    null = pa.scalar(None, pa.string())
    filled = [pc.if_else(pc.not_equal(column, ""), column, null) for column in table.columns]
    return pa.table(filled, schema=table.schema)


# --- What the file is ---------------------------------------------------------------------------


def _sample(text: IO[str]) -> list[str]:
    lines, length = list[str](), 0
    while len(lines) < SAMPLE and length < LONGEST_SAMPLE:
        line = text.readline(LONGEST_LINE)
        if not line:
            break
        lines.append(line)
        length += len(line)
    return lines


def _lines_above(sample: Sequence[str], spelling: Spelling, name: str) -> int:
    """How many lines at the top are certainly not data: those to skip, or Excel's `sep=` line."""
    if spelling.skip is not None:
        if spelling.skip >= len(sample) and len(sample) < SAMPLE:
            raise LoadError(f"{name}: --skip {spelling.skip} leaves no line")
        return spelling.skip
    return 1 if _SEP.match(sample[0]) else 0


def _format(
    sample: Sequence[str], name: str, spelling: Spelling
) -> tuple[dict[str, Any], int, int]:
    """How to read the sample: the csv reader's parameters, and what they show.

    Also returns the width of most records, and the number of lines above the header. The parameters
    are those that read most of the sample's lines as records of one width. Another way than RFC
    4180's is taken only if it is clearly better.
    """
    if spelling.delimiter:
        delimiters: tuple[str, ...] = (spelling.delimiter,)
    elif name.lower().endswith((".tsv", ".tab")):
        delimiters = ("\t", *(d for d in DELIMITERS if d != "\t"))
    else:
        delimiters = DELIMITERS
    best: tuple[float, dict[str, Any], int, int] | None = None
    for delimiter in delimiters:
        for more in ({}, {"skipinitialspace": True}, {"escapechar": "\\", "doublequote": True}):
            format_ = {"delimiter": delimiter, "strict": True, **more}
            if spelling.quote:
                format_["quotechar"] = spelling.quote
            else:
                format_["quoting"] = csv.QUOTE_NONE
            share, width, above = _fit(sample, format_, spelling)
            if width > 1 and (best is None or share > best[0] + (CLEARLY if more else SLIGHTLY)):
                best = (share, format_, width, above)
    if best is None:
        format_ = {"delimiter": delimiters[0], "strict": True}
        format_ |= {"quotechar": spelling.quote} if spelling.quote else {"quoting": csv.QUOTE_NONE}
        return format_, 1, _comments(sample) if spelling.skip is None else 0
    return best[1:]


def _fit(
    sample: Sequence[str], format_: dict[str, Any], spelling: Spelling
) -> tuple[float, int, int]:
    """How well parameters fit the sample.

    Returns the share of its lines that are records of the commonest width, that width, and the
    number of lines above the header.
    """
    found = ReadSummary()
    records = _Records(iter(sample), 0, format_, found)
    rows: list[tuple[int, list[str]]] = []  # each record, and the line at which it ends
    while row := next(records.rows(None), None):
        rows.append((records.number, row))
    counts = Counter(len(row) for _, row in rows)
    width = max(counts, key=lambda each: (counts[each], each), default=0)
    above = _comments(sample) if spelling.skip is None else 0
    if spelling.skip is None and spelling.header and width > 1:
        header = _header([row for _, row in rows], width)
        above = max(above, rows[header - 1][0] if header else 0)
    return counts[width] / max(len(rows) + found.lost, 1), width, above


def _header(rows: Sequence[Sequence[str]], width: int) -> int:
    """The index of the header's record. Those before it are titles, which have few fields."""
    wide = [n for n, row in enumerate(rows) if len(row) == width]
    # A title in a spreadsheet's first cell has as many fields as other rows, but most are blank.
    named = (n for n in wide if sum(bool(each.strip()) for each in rows[n]) > width // 2)
    whole = next(named, wide[0])
    if not _are_values(rows[whole]):
        return whole
    # The header may have fewer fields than the records below it.
    return next(n for n, row in enumerate(rows) if len(row) > width // 2)


def _comments(sample: Sequence[str]) -> int:
    """How many lines at the top are comments: they begin with `#`, and the header is below."""
    count = 0
    for line in sample:
        if not line.startswith("#") and line.strip():
            break
        count += 1
    while count and not sample[count - 1].strip():
        count -= 1  # blank lines are skipped anyway
    # A header may begin with `#` too: then values follow it.
    last = sample[count - 1] if count else ""
    after = sample[count] if count < len(sample) else ""
    cells = re.split(r"[,;\t|]", after.strip())
    if count and len(re.split(r"[,;\t|]", last)) == len(cells) and _are_values(cells):
        count -= 1
    return count


def _are_values(cells: Sequence[str]) -> bool:
    return any(_VALUE.fullmatch(cell.strip().strip('"')) for cell in cells)


def _warn_of_values(header: Sequence[str], name: str, found: ReadSummary) -> None:
    values = [each for each in header if _VALUE.fullmatch(each.strip())]
    if values:
        shown = ", ".join(values[:3])
        found.notes.append(
            f"{name}: the names of the columns look like values ({shown}); if the first line is a"
            " record: --no-header"
        )
