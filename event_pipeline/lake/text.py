"""Bronze text: one record a line, out of JSON Lines or of a JSON array, however it is spelled.

Lines end with \\n, \\r\\n or \\r, as in every engine's reader. Objects that follow each other in
one line, as streams leave them that end no line, are a record each. What is otherwise done to a
record here can only make it something that is not JSON, so it ends in quarantine with its text in
sight.
"""

import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Iterator
from typing import IO

# In bytes: the longest that DuckDB's reader takes, and far longer than a record. The rest of a
# longer line is not kept.
LONGEST_LINE = 2_000_000
KEPT_OF_LONG_LINE = 10_000
# In characters: what of an array is read at once, and the longest element whose end is waited for.
CHUNK = 1 << 16
LONGEST_ELEMENT = 1 << 26
# Places at which the next object is looked for behind a bad one: each costs a line's length.
SEAMS_TRIED = 100
# In characters: no number, word or escape that a text's end cuts is found bad further from it.
LONGEST_TOKEN = 16
# What reading a damaged gzip stream raises.
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
# Stands for the end that an array lacks, so that it is counted and seen.
UNCLOSED = "the array is not closed: the file ends early"

_BETWEEN = re.compile(r"[\s,]*")
_BRACKET = re.compile(r"\]\s*")
_WORD = re.compile(r"[^\s,\]]*")
# Where an object of a line may end and the next begin. JSON has that in texts, and with a comma in
# arrays.
_SEAM = re.compile(r"(?<=\})[ \t]*,?[ \t]*(?=\{)")
_BARE_SEAM = re.compile(r"(?<=\})[ \t]*(?=\{)")
_NEXT_OBJECT = re.compile(r"(?:,[ \t\r\n]*|\n[ \t]*)(?=\{)")
# Numbers stay text, as Python refuses to convert those of more than 4,300 digits.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


class Unreadable(Exception):
    """An object that is not gzip or is damaged; the message says how."""


def open_text(raw: IO[bytes], *, gzipped: bool) -> io.TextIOWrapper:
    """The text of an object; bytes that are not UTF-8 become escapes such as `\\xff`.

    Reading a damaged gzip stream raises one of DAMAGED.
    """
    data: IO[bytes] = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if gzipped else raw
    return io.TextIOWrapper(data, "utf-8-sig", errors="backslashreplace", newline=None)


def one_line(text: str) -> str:
    """A record as the engines take it: without the byte 1, and cut if it is far too long."""
    line = text.replace("\x01", "\\x01")
    return line[:KEPT_OF_LONG_LINE] + "... (cut)" if _is_too_long(line) else line


def records(text: IO[str], *, array: bool) -> Iterator[str]:
    """The lines of a text or the elements of its array, each without a line's end."""
    return elements(text) if array else map(one_line, _lines(text))


def elements(text: IO[str]) -> Iterator[str]:
    """The elements of a text's array, or without one the objects that follow each other in it."""
    return map(one_line, _elements(text))


def _is_too_long(line: str) -> bool:
    # A character has up to four bytes, so that most lengths need no encoding.
    return len(line) * 4 > LONGEST_LINE and len(line.encode(errors="surrogatepass")) > LONGEST_LINE


def is_joined(line: str) -> bool:
    """Whether a line holds several objects one after the other, each of which is a record."""
    return bool(_objects(line)[0])


def _lines(text: IO[str]) -> Iterator[str]:
    """The lines of a text, and of a line that holds several objects each of them."""
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
    """Whether a line is longer than what is read of it."""
    return len(line) > LONGEST_LINE and not line.endswith("\n")


def _objects(line: str) -> tuple[list[str], str]:
    """The records of a line but the last, and the last, which is the whole of most lines.

    A bad record among objects ends where the next object begins that can be read; a comma there may
    be of an array in it.
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
    """Where the JSON object ends that begins at `start`, after blanks; None if there is none."""
    start = _end(_BETWEEN, line, start)
    if not line.startswith("{", start):
        return None
    return _end_of_value(line, start)[0]


def _elements(text: IO[str]) -> Iterator[str]:
    """The elements of one JSON array, or without one all values, each in its spelling on one line.

    A bad element ends where the next object begins that can be read. What follows the array
    counts as lines.
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
        yield _on_one_line(ahead.take_bad() if length is None else ahead.take(length))
    if array:
        yield UNCLOSED


class _Ahead:
    """What of a text is read but not yet taken."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self._read = ""
        self._at = 0

    def _more(self) -> bool:
        """Reads on, as much as is here, so that a long value is soon whole; False at the end."""
        here = self._read[self._at :]
        more = self._text.read(max(CHUNK, len(here)))
        self._read, self._at = here + more, 0
        return bool(more)

    def next(self) -> str:
        """Skips what may lie between elements; the character that follows, none at the end."""
        while True:
            self._at = _end(_BETWEEN, self._read, self._at)
            if self._at < len(self._read) or not self._more():
                return self._read[self._at : self._at + 1]

    def take(self, length: int) -> str:
        """Takes so many of the characters that are read."""
        start, self._at = self._at, self._at + length
        return self._read[start : self._at]

    def take_all(self) -> str:
        """Takes the whole rest of the text."""
        return self.take(len(self._read) - self._at) + self._text.read()

    def closes_array(self) -> bool:
        """Whether the bracket that is next ends the array, and not one within a bad element."""
        while (end := _end(_BRACKET, self._read, self._at)) == len(self._read):
            if not self._more():
                return True
        return self._read[end] not in ",]}"

    def length_of_value(self, offset: int = 0) -> int | None:
        """Length of the JSON value that begins so far ahead; None if it is bad."""
        while True:
            start = self._at + offset
            end, is_open = _end_of_value(self._read, start)
            if is_open and len(self._read) - start < LONGEST_ELEMENT and self._more():
                continue
            return None if end is None else end - start

    def take_bad(self) -> str:
        """Takes a bad element, which ends where the next object begins that can be read.

        Of one that is longer than the longest line not all is returned.
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
                # What may lead to the next object, or be the array's end, is looked at again.
                sure = len(self._read.rstrip(" \t\r\n,]")) - self._at
                taken = self.take(max(sure, 0))
                if not self._more():
                    body, closing, after = self._read.rpartition("]")
                    is_closed = closing and not after.strip()
                    return bad + taken + self.take(len(body) if is_closed else len(self._read))
            bad += taken if len(bad) <= LONGEST_LINE else ""


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


def _end_of_value(text: str, start: int) -> tuple[int | None, bool]:
    """Where the JSON value ends that begins at `start`, and whether more text may change that."""
    try:
        end = _DECODER.raw_decode(text, start)[1]
    except json.JSONDecodeError as error:
        is_open = error.msg.startswith("Unterminated") or len(text) - error.pos < LONGEST_TOKEN
        return None, is_open
    except RecursionError:
        return None, False
    if text[start] in '{["':
        return end, False
    # Of 1.5.3 or 1.5 that is not yet read to its end the decoder is content with a part.
    word = _end(_WORD, text, start)
    return end if end == word else None, word == len(text)


def _on_one_line(element: str) -> str:
    # Within JSON's strings there are no line ends, so these are only layout.
    return element.replace("\n", " ").replace("\r", " ").strip()
