"""Tells from an object's content how it is spelled (its format), and reads its records as JSON.

Spellings: JSON Lines, one JSON array, JSON objects one after the other in any layout, CSV with a
header, and Parquet; plain, gzip or zstd. Uses the standard library only, and PyArrow for zstd and
Parquet, since Spark's workers run this too.
"""

import codecs
import csv
import gzip
import io
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import IO, Any

from event_pipeline.lake.fields import Number, compact, object_of
from event_pipeline.lake.text import (
    DAMAGED,
    LONGEST_LINE,
    Unreadable,
    elements,
    one_line,
    records,
)

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
PARQUET = b"PAR1"
# How files begin that are no text, and that some name promises to be one.
OTHERS = {
    b"PK\x03\x04": "a zip archive or workbook",
    GZIP: "a gzip file within another",
    ZSTD: "a zstd file within another",
    b"BZh91AY&SY": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"Obj\x01": "an Avro file",
    b"%PDF-": "a PDF",
}
# A line of these is blank, to every engine.
BLANKS = " \t"
# How many bytes of an object's text are read to tell its spelling.
START = 1 << 16
DELIMITERS = ",\t;|"
PARQUET_ROWS = 10_000
# The field added where a record stands for several rows: which of them a line is, from 1.
POSITION = "_position"

_WHITE = " \t\r\n"


@dataclass(frozen=True)
class Spelling:
    """How an object is spelled.

    `compression` is "", "gzip" or "zstd". `form` is "lines" (JSON Lines), "array" (one JSON array),
    "objects" (JSON objects in any layout), "csv" (with a header; `delimiter` is its), "parquet", or
    "unknown", of which nothing is read.
    """

    compression: str = ""
    form: str = "lines"
    delimiter: str = ""


# As the pipeline's own producers write them.
GZIPPED_LINES = Spelling("gzip")


def sniff(raw: IO[bytes], fields: Collection[str] = ()) -> Spelling:
    """Tells how a seekable file is spelled.

    A CSV is recognised by its header, which must have at least one of the names in `fields`. A
    damaged file counts as lines; reading them tells what is wrong with it.
    """
    raw.seek(0)
    head = raw.read(len(PARQUET))
    raw.seek(0)
    if head == PARQUET:
        return Spelling(form="parquet")
    compression = "gzip" if head[:2] == GZIP else "zstd" if head == ZSTD else ""
    try:
        start = open_binary(raw, compression).read(START)
    except DAMAGED:
        return Spelling(compression)
    text = codecs.getincrementaldecoder("utf-8-sig")("backslashreplace").decode(start)
    form = _json_form(text.lstrip(_WHITE))
    if form is None:
        if delimiter := _delimiter(text, fields):
            return Spelling(compression, "csv", delimiter)
        return Spelling(compression, "unknown" if start.startswith(tuple(OTHERS)) else "lines")
    return Spelling(compression, form)


def _json_form(text: str) -> str | None:
    """The form of a text that begins as JSON does; None if it does not."""
    if text.startswith("["):
        return "array"
    if not text.startswith("{"):
        return None
    line = text.partition("\n")[0]
    try:
        json.JSONDecoder(parse_int=str, parse_float=str).raw_decode(line)
    except json.JSONDecodeError as error:
        # An object that goes on after its first line, as in indented JSON.
        if error.pos >= len(line.rstrip()) and line.rstrip()[-1:] in "{[,:":
            return "objects"
    except RecursionError:
        pass
    return "lines"


def _delimiter(text: str, fields: Collection[str]) -> str:
    """The delimiter of a CSV whose first line names some of the fields; empty if it is none."""
    line = text.lstrip(_WHITE).partition("\n")[0].rstrip("\r")
    known = {name.lower() for name in fields}
    for delimiter in DELIMITERS:
        try:
            (names,) = csv.reader([line], delimiter=delimiter)
        except (csv.Error, ValueError):
            continue
        if known & {name.strip().lower() for name in names} and (len(names) > 1 or len(known) == 1):
            return delimiter
    return ""


def open_binary(raw: IO[bytes], compression: str) -> IO[bytes]:
    """The uncompressed bytes of an object. Reading damaged data raises one of DAMAGED."""
    if compression == "gzip":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    # A reader of its own, which leaves the file open when it is done with it.
    return io.BufferedReader(Readable(_zstd(raw) if compression == "zstd" else raw.read))


class Readable(io.RawIOBase):
    """A file of what a function reads: that many bytes or fewer, none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _zstd(raw: IO[bytes]) -> Callable[[int], bytes]:
    """Reads the content of a zstd stream. What it returns raises EOFError for damaged data."""
    import pyarrow as pa

    # PyArrow reports a file that ends early; the package zstandard does not.
    stream = pa.CompressedInputStream(pa.PythonFile(Readable(raw.read), "r"), "zstd")

    def read(size: int) -> bytes:
        try:
            return bytes(stream.read(size))
        except OSError as error:
            raise EOFError(f"damaged zstd: {error}") from None

    return read


def make_readable(source: str, target: str, spelling: Spelling, each: str = "") -> int:
    """Copies a file so that an engine can read it: gzipped UTF-8, one record a line.

    If records stand for several rows, in an array at the path `each`, every element becomes a line.
    Bytes that are not UTF-8 and the byte 1 become escapes; a line that is then longer than two
    million bytes is cut. Returns the number of records. Raises Unreadable if the file is damaged,
    and FileNotFoundError if it is gone.
    """
    count = 0
    with open(source, "rb") as raw, gzip.open(target, "wt", 1, "utf-8", newline="\n") as out:
        if not raw.peek(1):
            return 0  # An empty object has no records.
        try:
            for record in records_of(raw, spelling):
                count += bool(record.strip(BLANKS))
                for line in split_elements(record, each):
                    out.write(line + "\n")
        except DAMAGED as error:
            raise Unreadable(str(error)) from None
    return count


def records_of(raw: IO[bytes], spelling: Spelling) -> Iterator[str]:
    """The records of an object, each as one line. Reading damaged data raises one of DAMAGED.

    What is not a record is yielded as text that is not JSON.
    """
    binary = open_binary(raw, spelling.compression)
    if spelling.form == "parquet":
        return map(one_line, _parquet(binary))
    if spelling.form == "unknown":
        start = binary.read(START)
        kinds = (kind for mark, kind in OTHERS.items() if start.startswith(mark))
        kind = next(kinds, "a file that has changed in the meantime")
        raise EOFError(f"not JSON, CSV or Parquet, but {kind}")
    newline = "" if spelling.form == "csv" else None
    text = io.TextIOWrapper(binary, "utf-8-sig", errors="backslashreplace", newline=newline)
    if spelling.form == "csv":
        return map(one_line, _csv(text, spelling.delimiter))
    if spelling.form == "objects":
        return elements(text)
    return records(text, array=spelling.form == "array")


def _csv(text: IO[str], delimiter: str) -> Iterator[str]:
    """The rows of a CSV as JSON, empty fields as null; a row that does not fit, as plain text."""
    csv.field_size_limit(LONGEST_LINE)
    rows = csv.reader(text, delimiter=delimiter)
    names: list[str] = []
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"line {rows.line_num}: {error}"
            continue
        if not row:
            continue
        if not names:
            names = [name.strip() for name in row]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise EOFError(f"the header names {twice} twice")
        elif len(row) == len(names):
            values = (value or None for value in row)
            yield json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False)
        else:
            shown = delimiter.join(row).replace("\n", "\\n").replace("\r", "\\r")
            yield f"{len(row)} fields instead of {len(names)}: {shown}"


def _parquet(binary: IO[bytes]) -> Iterator[str]:
    """The rows of a Parquet file as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(binary.read()))
        for batch in file.iter_batches(batch_size=PARQUET_ROWS):
            for row in pa.table(batch).cast(_in_microseconds(batch.schema), safe=False).to_pylist():
                yield compact(_exact(row))
    except (pa.ArrowException, OSError) as error:
        raise EOFError(f"damaged Parquet: {error}".splitlines()[0]) from None


def _in_microseconds(schema: Any) -> Any:
    """The schema with timestamps in microseconds, which is what Python can hold."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type)
        else field
        for field in schema
    ]
    return pa.schema(fields)


def _exact(value: Any) -> Any:  # noqa: PLR0911 -- one for each kind of value
    """A value of Parquet as `compact` takes it: numbers as Number, objects as tuples of pairs."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return Number(value)
        case float():
            return Number(repr(value)) if abs(value) < float("inf") else None
        case Decimal():
            # As text, since a long JSON number would lose its last digits.
            return f"{value:f}"
        case datetime() if value.tzinfo:
            return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case dict():
            return tuple((str(name), _exact(each)) for name, each in value.items())
        case list() if value and all(isinstance(each, tuple) for each in value):  # a map
            return tuple((str(name), _exact(each)) for name, each in value)
        case list():
            return [_exact(each) for each in value]
    return str(value)


def split_elements(record: str, each: str) -> Iterator[str]:
    """A line for each element of the array that a record has at the dotted path `each`.

    Each line is the record with the element in the array's place and with the element's number,
    from 1, as POSITION. A record that is not an object, or has no array or an empty one there, is
    yielded as it is.
    """
    path = each.split(".")
    found = object_of(record) if each else None
    elements = None if found is None else _value_at(found, path)
    if found is None or not isinstance(elements, list) or not elements:
        yield record
        return
    for n, element in enumerate(elements, 1):
        line = (*_with_element(found, path, element), (POSITION, Number(n)))
        yield one_line(compact(line))


def _value_at(pairs: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(pairs, tuple):
            return None
        pairs = dict(pairs).get(name)
    return pairs


def _with_element(pairs: Any, path: Sequence[str], element: Any) -> Any:
    """An object in which `element` replaces the value at `path`."""
    first, *rest = path
    return tuple(
        (
            name,
            (_with_element(value, rest, element) if rest else element) if name == first else value,
        )
        for name, value in pairs
    )
