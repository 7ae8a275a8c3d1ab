"""A file as the table `input`: every field is the text that stands in the file, or null.

Rows are spooled to Parquet files in their order, a batch at a time, so that memory is bounded. No
type is guessed. A record that cannot be read costs itself: it is counted and named, and the others
are read.
"""

import codecs
import gc
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path
from typing import TYPE_CHECKING

from event_pipeline.errors import LoadError, first_line
from event_pipeline.ingest.load.sources import LocalFile
from event_pipeline.ingest.load.unpacking import BUFFER, BufferedStream, Part, unpack

if TYPE_CHECKING:
    import pyarrow as pa

# Records in memory at once.
BATCH = 10_000
SHOWN_OF_A_RECORD = 200
NAMED_MOST = 1_000
START = 1 << 16  # bytes by which a text is told from others
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
DAMAGED = (EOFError, OSError, zlib.error, BadGzipFile, LZMAError)
# The texts that begin an object or an array of objects: such a file is JSON by any name.
_JSON = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{\]])')
_JSON_NAMES = (".json", ".jsonl", ".ndjson")

# Told how many bytes of a file are read.
Watch = Callable[[int], None]


@dataclass(frozen=True)
class Spelling:
    """How a file is spelled, where a person says it; what is None is found out.

    `skip` is the number of lines above the header; without `header` columns are called column0,
    column1 and so on. `quote` may be empty: then no quote means anything. `sheet` is a workbook's,
    `*` for all.
    """

    delimiter: str | None = None
    header: bool = True
    skip: int | None = None
    encoding: str | None = None
    quote: str = '"'
    sheet: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter in ("tab", "\\t"):
            object.__setattr__(self, "delimiter", "\t")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise LoadError(f"--delimiter {self.delimiter!r}: must be one character, or 'tab'")
        if len(self.quote) > 1:
            raise LoadError(f"--quote {self.quote!r}: must be one character, or '' for none")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError:
                raise LoadError(
                    f"--encoding {self.encoding}: there is no such encoding; common ones are utf-8,"
                    " windows-1252, latin-1, utf-16"
                ) from None


@dataclass
class Found:
    """What came of reading: records read, those that cannot be read, and what a person should know.

    `unreadable` are the first of them: (line or record number, text, reason). `nulls` counts NaN
    and Infinity, which are no values and are read as null.
    """

    records: int = 0
    lost: int = 0
    nulls: int = 0
    unreadable: list[tuple[int, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lose(self, number: int, text: str, why: str) -> None:
        """Counts a record that cannot be read."""
        self.lost += 1
        if len(self.unreadable) < NAMED_MOST:
            self.unreadable.append((number, printable(text[:SHOWN_OF_A_RECORD]), why))


def printable(text: str) -> str:
    """A text in which bytes that could not be decoded are escapes, as `\\xe9`."""
    return text.strip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Spool:
    """Parquet files of texts in a folder; a batch with other columns begins another file."""

    def __init__(self, folder: Path, name: str) -> None:
        self.paths: list[str] = []
        self._folder, self._name = folder, name
        self._writer: pa.parquet.ParquetWriter | None = None

    def write(self, table: "pa.Table") -> None:
        """Adds rows."""
        import pyarrow.parquet as pq

        if self._writer is None or self._writer.schema != table.schema:
            self.close()
            path = self._folder / f"{self._name}-{len(self.paths)}.parquet"
            # They are read once and thrown away: what makes them small costs more than it gives.
            self._writer = pq.ParquetWriter(
                path, table.schema, use_dictionary=False, write_statistics=False
            )
            self.paths.append(str(path))
        self._writer.write_table(table)

    def close(self) -> None:
        """Ends the file at hand."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def read(
    file: LocalFile, name: str, spelling: Spelling, *, table: str, scratch: Path, watch: Watch
) -> tuple[list[str], Found]:
    """Spools a file's records; the Parquet files, and what was found.

    Raises LoadError if the file as a whole cannot be read, or no record of it.
    """
    found, spool = Found(), Spool(scratch, table)
    with _no_collection(), io.BufferedReader(io.FileIO(file.path), BUFFER) as opened:
        try:
            for part in unpack(opened, name, scratch):
                for batch in _batches(part, spelling, scratch, found):
                    found.records += batch.num_rows
                    spool.write(batch)
                    watch(opened.tell())
        except DAMAGED as error:
            raise LoadError(f"{name}: damaged: {first_line(error)}") from None
        finally:
            spool.close()
    found.unreadable.sort(key=lambda each: each[0])
    if not spool.paths or (found.lost and not found.records):
        raise LoadError(_nothing(name, found))
    return spool.paths, found


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for cycles, of which records have none: it takes half of the time to read them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _nothing(name: str, found: Found) -> str:
    if not found.lost:
        return f"{name}: holds no records"
    number, text, why = found.unreadable[0]
    return f"{name}: none of {found.lost:,} records can be read: {number}: {why}: {text[:80]}"


def _batches(part: Part, spelling: Spelling, scratch: Path, found: Found) -> Iterator["pa.Table"]:
    from event_pipeline.ingest.load import delimited, documents, workbooks

    if part.kind == "parquet":
        assert part.path is not None
        yield from workbooks.parquet_batches(part.path, part.name, scratch, found)
        return
    if part.kind == "workbook":
        assert part.path is not None
        yield from workbooks.sheet_batches(part.path, part.name, spelling, found)
        return
    assert part.stream is not None
    text, start = _text(part.stream, part.name, spelling.encoding)
    lower = part.name.lower()
    if _JSON.match(start) or (lower.endswith(_JSON_NAMES) and start.strip()):
        text.reconfigure(newline=None)  # JSON's texts hold no line's end
        yield from documents.batches(text, start, found)
    else:
        yield from delimited.batches(text, part.name, spelling, found)


def _text(stream: BufferedStream, name: str, encoding: str | None) -> tuple[io.TextIOWrapper, str]:
    """A part's text, whose bytes that are none become lone surrogates, and how it begins."""
    head = stream.peek(START)[:START]
    used = (encoding or _encoding(head)).lower().replace("_", "-")
    if used in ("utf-8", "utf8"):
        used = "utf-8-sig"
    wide = used.startswith(("utf-16", "utf-32"))
    if not wide and b"\x00" in head:
        raise LoadError(
            f"{name}: no text, JSON, Parquet, workbook or zip: it holds zero bytes; if it is text,"
            " give its --encoding"
        )
    errors = "surrogatepass" if wide else "surrogateescape"
    start = codecs.getincrementaldecoder(used)("ignore").decode(head)
    # As they are, since a line's end within quotes is a value's.
    return io.TextIOWrapper(stream, used, errors=errors, newline=""), start


def _encoding(head: bytes) -> str:
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    # ASCII in two bytes each, without a mark.
    match [byte != 0 for byte in head[:4]]:
        case [True, False, True, False]:
            return "utf-16-le"
        case [False, True, False, True]:
            return "utf-16-be"
    return "utf-8"


def undecodable(text: str) -> str | None:
    """Why a record is no text: the byte that is none in the file's encoding; None if it is."""
    for letter in text:
        if "\ud800" <= letter <= "\udfff":
            if "\udc80" <= letter <= "\udcff":
                return (
                    f"the byte \\x{ord(letter) - 0xDC00:02x} is not UTF-8: if the file is of"
                    " another encoding, give it, as --encoding windows-1252"
                )
            return "half a surrogate pair, which is no text"
    return None


def unique_names(names: Sequence[str]) -> list[str]:
    """Column names that differ in more than case, as SQL needs them: a, A is a, A_1."""
    taken: set[str] = set()
    unique = []
    for n, given in enumerate(names):
        name = base = given.strip() or f"column{n}"
        count = 0
        while name.lower() in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name.lower())
        unique.append(name)
    return unique


def texts(columns: Mapping[str, Sequence[str | None]]) -> "pa.Table":
    """A batch of columns of texts. Raises UnicodeEncodeError if one is no text."""
    import pyarrow as pa

    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
