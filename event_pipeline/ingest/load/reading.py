"""Reads a file as the table `input`: every field is the text that stands in the file, or null.

Rows are spooled to Parquet files in their order, a batch at a time, so that memory is bounded. No
type is guessed. A record that cannot be read is counted and shown, and the others are read.
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
MAX_NAMED = 1_000
START = 1 << 16  # first bytes of a file that tell its encoding and kind of text
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
DAMAGED = (EOFError, OSError, zlib.error, BadGzipFile, LZMAError)
# How an object or an array of objects begins. Such a file is JSON, whatever its name.
_JSON = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{\]])')
_JSON_NAMES = (".json", ".jsonl", ".ndjson")

# Called with how many bytes of a file are read.
Watch = Callable[[int], None]


@dataclass(frozen=True)
class Spelling:
    """How a file is spelled, as far as a person says it; what is None is found out.

    `skip` is the number of lines above the header. Without `header`, columns are called column0,
    column1 and so on. If `quote` is empty, quotes have no meaning. `sheet` is the name of a
    workbook's sheet, or `*` for all. Raises LoadError for an option that cannot be used.
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
class ReadSummary:
    """What came of reading a file.

    `records` counts the records read, and `lost` those that cannot be read. `unreadable` has the
    first of the lost ones: (line or record number, text, reason). `nulls` counts values NaN and
    Infinity, which are read as null. `notes` are lines that a person should see.
    """

    records: int = 0
    lost: int = 0
    nulls: int = 0
    unreadable: list[tuple[int, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lose(self, number: int, text: str, why: str) -> None:
        """Counts a record that cannot be read."""
        self.lost += 1
        if len(self.unreadable) < MAX_NAMED:
            self.unreadable.append((number, printable(text[:SHOWN_OF_A_RECORD]), why))


def printable(text: str) -> str:
    """The text, with escapes such as `\\xe9` in place of bytes that could not be decoded."""
    return text.strip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Spool:
    """Writes tables of texts to Parquet files in a folder; other columns begin another file."""

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
            # The files are read once and thrown away, so it does not pay to make them small.
            self._writer = pq.ParquetWriter(
                path, table.schema, use_dictionary=False, write_statistics=False
            )
            self.paths.append(str(path))
        self._writer.write_table(table)

    def close(self) -> None:
        """Ends the current file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def read(
    file: LocalFile, name: str, spelling: Spelling, *, table: str, scratch: Path, watch: Watch
) -> tuple[list[str], ReadSummary]:
    """Spools a file's records; returns the paths of the Parquet files, and what was found.

    Raises LoadError if the file as a whole cannot be read, or no record of it.
    """
    found, spool = ReadSummary(), Spool(scratch, table)
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
        raise LoadError(_no_records(name, found))
    return spool.paths, found


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turns garbage collection off: it takes half the reading time, and records have no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _no_records(name: str, found: ReadSummary) -> str:
    if not found.lost:
        return f"{name}: holds no records"
    number, text, why = found.unreadable[0]
    return f"{name}: none of {found.lost:,} records can be read: {number}: {why}: {text[:80]}"


def _batches(
    part: Part, spelling: Spelling, scratch: Path, found: ReadSummary
) -> Iterator["pa.Table"]:
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
        text.reconfigure(newline=None)  # JSON's strings hold no raw line ends
        yield from documents.batches(text, start, found)
    else:
        yield from delimited.batches(text, part.name, spelling, found)


def _text(stream: BufferedStream, name: str, encoding: str | None) -> tuple[io.TextIOWrapper, str]:
    """A part's text, and how it begins. Bytes that cannot be decoded become lone surrogates."""
    head = stream.peek(START)[:START]
    used = (encoding or _encoding(head)).lower().replace("_", "-")
    if used in ("utf-8", "utf8"):
        used = "utf-8-sig"
    wide = used.startswith(("utf-16", "utf-32"))
    if not wide and b"\x00" in head:
        raise LoadError(
            f"{name}: not text, JSON, Parquet, a workbook or a zip file: it holds zero bytes; if it"
            " is text, give its --encoding"
        )
    errors = "surrogatepass" if wide else "surrogateescape"
    start = codecs.getincrementaldecoder(used)("ignore").decode(head)
    # Line ends stay as they are, because within quotes they belong to a value.
    return io.TextIOWrapper(stream, used, errors=errors, newline=""), start


def _encoding(head: bytes) -> str:
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    # ASCII characters of two bytes each, without a byte order mark.
    match [byte != 0 for byte in head[:4]]:
        case [True, False, True, False]:
            return "utf-16-le"
        case [False, True, False, True]:
            return "utf-16-be"
    return "utf-8"


def undecodable(text: str) -> str | None:
    """Why a record is no text, naming the byte that could not be decoded; None if it is text."""
    for letter in text:
        if "\ud800" <= letter <= "\udfff":
            if "\udc80" <= letter <= "\udcff":
                return (
                    f"the byte \\x{ord(letter) - 0xDC00:02x} is not UTF-8: if the file is of"
                    " another encoding, give it, as --encoding windows-1252"
                )
            return "half of a surrogate pair, which is not text"
    return None


def unique_names(names: Sequence[str]) -> list[str]:
    """Column names that differ in more than case, as SQL needs them: a, A become a, A_1."""
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
    """A table of text columns. Raises UnicodeEncodeError if a value holds a lone surrogate."""
    import pyarrow as pa

    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
