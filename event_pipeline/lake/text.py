"""Bronze text: reads JSON Lines, a JSON array or JSON objects in any layout, one record a line.

Lines end with \\n, \\r\\n or \\r, as in every engine's reader. Several objects in one line, as
streams without line ends leave them, are a record each. Any other change that is made to a record
here turns it into something that is not JSON, so it ends in quarantine, where its text can be seen.
"""

import gzip
import itertools
import json
import re
import zlib
from collections.abc import Iterator
from typing import IO

# In bytes: the longest line that DuckDB's reader takes, and far longer than any record. Of a longer
# line only the beginning is kept (KEPT_OF_LONG_LINE characters).
LONGEST_LINE = 2_000_000
KEPT_OF_LONG_LINE = 10_000
# In characters: how much of an array is read at once, and how long an element may be before it
# counts as bad because its end was not found.
CHUNK = 1 << 16
LONGEST_ELEMENT = 1 << 26
# How many places after a bad object are tried as the next one's start. Each try may cost a scan of
# the whole line.
SEAMS_TRIED = 100
# In characters: an error this near to the end of what is read may be a number, word or escape that
# is cut there; an error further away is real.
LONGEST_TOKEN = 16
# Errors that reading a damaged gzip stream raises.
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
# Yielded as a record if an array is not closed, so that the fault is counted and seen.
UNCLOSED = "the array is not closed: the file ends early"

_BETWEEN = re.compile(r"[\s,]*")
_BRACKET = re.compile(r"\]\s*")
_WORD = re.compile(r"[^\s,\]]*")
# Where one object of a line may end and the next begin. The same characters may also lie within a
# JSON string or, with a comma, within an array.
_SEAM = re.compile(r"(?<=\})[ \t]*,?[ \t]*(?=\{)")
_BARE_SEAM = re.compile(r"(?<=\})[ \t]*(?=\{)")
_NEXT_OBJECT = re.compile(r"(?:,[ \t\r\n]*|\n[ \t]*)(?=\{)")
# Numbers stay text, as Python refuses to convert those of more than 4,300 digits.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


class Unreadable(Exception):
    """An object that is not gzip or is damaged; the message says how."""


def one_line(text: str) -> str:
    """A record as the engines take it: without the byte 1, and cut if it is far too long."""
    line = text.replace("\x01", "\\x01")
    return line[:KEPT_OF_LONG_LINE] + "... (cut)" if _is_too_long(line) else line


def records(text: IO[str], *, array: bool) -> Iterator[str]:
    """The lines of a text or the elements of its array, each without a line's end."""
    return elements(text) if array else map(one_line, _lines(text))


def elements(text: IO[str]) -> Iterator[str]:
    """The elements of a text's JSON array, or if there is none, the objects one after the other."""
    return map(one_line, _elements(text))


def _is_too_long(line: str) -> bool:
    # A character has at most four bytes, so most lines need not be encoded to be measured.
    return len(line) * 4 > LONGEST_LINE and len(line.encode(errors="surrogatepass")) > LONGEST_LINE


def is_joined(line: str) -> bool:
    """Whether a line holds several objects one after the other, each of which is a record."""
    return bool(_objects(line)[0])


def _lines(text: IO[str]) -> Iterator[str]:
    """The lines of a text; a line that holds several objects is split into them."""
    while line := text.readline(LONGEST_LINE + 1):
        while _goes_on(line):
            found, line = _objects(line)
            yield from found
            if not found:
                break
            line += text.readline(LONGEST_LINE + 1)
        rest = line
        while _goes_on(rest):
            rest = text.readline(LONGEST_LINE + 1)
        found, last = _objects(line.removesuffix("\n"))
        yield from found
        yield last


def _goes_on(line: str) -> bool:
    """Whether only the beginning of a line has been read."""
    return len(line) > LONGEST_LINE and not line.endswith("\n")


def _objects(line: str) -> tuple[list[str], str]:
    """Splits a line into records: returns all but the last, and the last (mostly the whole line).

    A bad record ends where the next readable object begins. Only an object without a comma before
    it counts as the next, since a comma may belong to an array within the bad record.
    """
    found: list[str] = []
    start = 0
    while _SEAM.search(line, start):
        end = _end_of_object(line, start)
        seam = None if end is None else _SEAM.match(line, end)
        after = itertools.islice(_BARE_SEAM.finditer(line, end or start), SEAMS_TRIED)
        seam = seam or next((each for each in after if _end_of_object(line, each.end())), None)
        if seam is None:
            break
        found.append(line[start : seam.start()])
        start = seam.end()
    return found, line[start:]


def _end_of_object(line: str, start: int) -> int | None:
    """The end of the JSON object that begins at `start`, after blanks; None if there is none."""
    start = _end(_BETWEEN, line, start)
    if not line.startswith("{", start):
        return None
    return _end_of_value(line, start)[0]


def _elements(text: IO[str]) -> Iterator[str]:
    """The elements of one JSON array, or if there is none, all values of the text.

    Each is on one line and otherwise as it is spelled. A bad element ends where the next readable
    object begins. What follows the array is yielded line by line.
    """
    ahead = _Ahead(text)
    array = ahead.next() == "["
    if array:
        ahead.take(1)
    while found := ahead.next():
        if array and found == "]" and ahead.closes_array():
            ahead.take(1)
            yield from (line for line in ahead.take_all().split("\n") if line.strip())
            return
        length = ahead.length_of_value()
        yield _on_one_line(ahead.take_bad(array=array) if length is None else ahead.take(length))
    if array:
        yield UNCLOSED


class _Ahead:
    """Look-ahead into a text: what has been read but not yet taken."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._read = ""
        self._at = 0

    def _more(self) -> bool:
        """Reads at least as much as is held, so a long value is soon whole; False at the end."""
        here = self._read[self._at :]
        more = self._text.read(max(CHUNK, len(here)))
        self._read, self._at = here + more, 0
        return bool(more)

    def next(self) -> str:
        """Skips blanks and commas, and returns the character after them, or "" at the end."""
        while True:
            self._at = _end(_BETWEEN, self._read, self._at)
            if self._at < len(self._read) or not self._more():
                return self._read[self._at : self._at + 1]

    def take(self, length: int) -> str:
        """Takes the next `length` of the characters that have been read."""
        start, self._at = self._at, self._at + length
        return self._read[start : self._at]

    def take_all(self) -> str:
        """Takes the whole rest of the text."""
        return self.take(len(self._read) - self._at) + self._text.read()

    def closes_array(self) -> bool:
        """Whether the next bracket ends the whole array rather than one within a bad element."""
        while (end := _end(_BRACKET, self._read, self._at)) == len(self._read):
            if not self._more():
                return True
        return self._read[end] not in ",]}"

    def length_of_value(self, offset: int = 0) -> int | None:
        """Length of the JSON value that begins `offset` characters ahead; None if it is bad."""
        while True:
            start = self._at + offset
            end, is_open = _end_of_value(self._read, start)
            if is_open and len(self._read) - start < LONGEST_ELEMENT and self._more():
                continue
            return None if end is None else end - start

    def take_bad(self, *, array: bool) -> str:
        """Takes a bad element, which ends where the next readable object begins.

        If it is longer than the longest line, only its beginning and its end are returned.
        """
        bad = ""
        while True:
            if match := _NEXT_OBJECT.search(self._read, self._at):
                between = match.end() - match.start()
                taken = self.take(match.start() - self._at)
                if self.length_of_value(between) is not None:
                    return bad + taken
                taken += self.take(between)
            else:
                # Trailing blanks, commas and brackets may lead to the next object or end the array,
                # so they are not taken yet.
                sure = len(self._read.rstrip(" \t\r\n,]")) - self._at
                taken = self.take(max(sure, 0))
                if not self._more():
                    body, closing, after = self._read.rpartition("]")
                    is_closed = array and closing and not after.strip()
                    return bad + taken + self.take(len(body) if is_closed else len(self._read))
            bad += taken if len(bad) <= LONGEST_LINE else ""


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


def _end_of_value(text: str, start: int) -> tuple[int | None, bool]:
    """The end of the JSON value that begins at `start`, and whether more text may change this.

    The end is None if the value is bad.
    """
    try:
        end = _DECODER.raw_decode(text, start)[1]
    except json.JSONDecodeError as error:
        is_open = error.msg.startswith("Unterminated") or len(text) - error.pos < LONGEST_TOKEN
        return None, is_open
    except RecursionError:
        return None, False
    if text[start] in '{["':
        return end, False
    # The decoder accepts a part of 1.5.3, and of a number that is not yet read to its end.
    word = _end(_WORD, text, start)
    return end if end == word else None, word == len(text)


def _on_one_line(element: str) -> str:
    # JSON strings contain no raw line ends, so these are only layout.
    return element.replace("\n", " ").replace("\r", " ").strip()
