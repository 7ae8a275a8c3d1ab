"""Bronze text: one record a line, out of JSON Lines or of a JSON array, however it is spelled.

Lines end with \\n, \\r\\n or \\r, as in every engine's reader. What is done to a record here can
only make it something that is not JSON, so it ends in quarantine with its text in sight.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from typing import IO

# In bytes: the longest that DuckDB's reader takes, and far longer than a record. The rest of a
# longer line is not kept.
LONGEST_LINE = 2_000_000
KEPT_OF_LONG_LINE = 10_000
# In characters: what of an array is read at once.
CHUNK = 1 << 20
# What reading a damaged gzip stream raises.
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
# Stands for the end that an array lacks, so that it is counted and seen.
UNCLOSED = "the array is not closed: the file ends early"

_BETWEEN = re.compile(r"[\s,]*")
_NEXT_OBJECT = re.compile(r",\s*(?=\{)")
_DECODER = json.JSONDecoder()


class Unreadable(Exception):
    """An object that is not gzip or is damaged; the message says how."""


def open_text(raw: IO[bytes], *, gzipped: bool) -> io.TextIOWrapper:
    """The text of an object; bytes that are not UTF-8 become escapes such as `\\xff`.

    Reading a damaged gzip stream raises one of DAMAGED.
    """
    data: IO[bytes] = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if gzipped else raw
    return io.TextIOWrapper(data, "utf-8-sig", errors="backslashreplace", newline=None)


def make_readable(source: str, target: str, *, gzipped: bool = True, array: bool = False) -> None:
    """Copies a text file so that an engine can read it: gzipped UTF-8, one record a line.

    Bytes that are not UTF-8 and the byte 1 become escapes; a line that is then longer than two
    million bytes is cut. Raises Unreadable if a gzipped file is none or is damaged, and
    FileNotFoundError if it is gone.
    """
    with open(source, "rb") as raw, gzip.open(target, "wt", 1, "utf-8", newline="\n") as out:
        if not raw.peek(1):
            return  # An empty object has no lines.
        try:
            for record in records(open_text(raw, gzipped=gzipped), array=array):
                out.write(record + "\n")
        except DAMAGED as error:
            raise Unreadable(str(error)) from None


def records(text: IO[str], *, array: bool) -> Iterator[str]:
    """The lines of a text or the elements of its array, each without a line's end."""
    for record in _elements(text) if array else _lines(text):
        line = record.replace("\x01", "\\x01")
        yield line[:KEPT_OF_LONG_LINE] + "... (cut)" if _is_too_long(line) else line


def _is_too_long(line: str) -> bool:
    # A character has up to four bytes, so that most lengths need no encoding.
    return len(line) * 4 > LONGEST_LINE and len(line.encode()) > LONGEST_LINE


def _lines(text: IO[str]) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE + 1):
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith("\n"):
            rest = text.readline(LONGEST_LINE + 1)
        yield line.removesuffix("\n")


def _elements(text: IO[str]) -> Iterator[str]:
    """The elements of one JSON array, in their own spelling, on one line each.

    A bad element ends where the next object begins that can be read. What follows the array
    counts as lines.
    """
    rest = text.read(CHUNK).lstrip().removeprefix("[")
    while True:
        rest = rest[_between(rest) :]
        if not rest:
            rest = text.read(CHUNK)
            if not rest:
                yield UNCLOSED
                return
        elif rest[0] == "]":
            yield from (line for line in (rest[1:] + text.read()).split("\n") if line.strip())
            return
        elif (end := _end_of_value(rest)) is not None and end < len(rest):
            yield _on_one_line(rest[:end])
            rest = rest[end:]
        elif more := text.read(CHUNK) if len(rest) <= LONGEST_LINE else "":
            rest += more
        else:
            bad, rest = _bad_element(rest, text)
            yield _on_one_line(bad)


def _between(text: str) -> int:
    match = _BETWEEN.match(text)
    return match.end() if match else 0


def _end_of_value(text: str, start: int = 0) -> int | None:
    try:
        return _DECODER.raw_decode(text, start)[1]
    except (json.JSONDecodeError, RecursionError):
        return None


def _bad_element(rest: str, text: IO[str]) -> tuple[str, str]:
    """A text that begins with a bad element, cut in two where the next object begins."""
    searched = 0
    while True:
        for match in _NEXT_OBJECT.finditer(rest, searched):
            if _end_of_value(rest, match.end()) is not None:
                return rest[: match.start()], rest[match.end() :]
        searched = max(0, len(rest) - LONGEST_LINE)
        more = text.read(CHUNK)
        if not more:
            # It was the last: the array's own end, if there is one, is not part of it.
            body, closing, after = rest.rpartition("]")
            return (body, closing + after) if closing and not after.strip() else (rest, "")
        rest += more


def _on_one_line(element: str) -> str:
    # Within JSON's strings there are no line ends, so these are only layout.
    return element.replace("\n", " ").replace("\r", " ").strip()
