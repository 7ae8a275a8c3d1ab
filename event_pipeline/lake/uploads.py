"""Uploaded files: each is judged as a whole, by its content, before a line of it is read.

What is wrong with single records is the contract's business; a file fails here only if no
pipeline could make sense of it.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from event_pipeline.errors import in_short
from event_pipeline.lake.text import DAMAGED, open_text, records

FIRST_RECORDS = 10
READ_AT_ONCE = 1 << 20
GZIP = b"\x1f\x8b"
# By their marks; the longer ones first, as one begins like another.
OTHER_UNICODE = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


@dataclass(frozen=True)
class Verdict:
    """How a file is spelled, or in one line why it cannot be used."""

    gzipped: bool = False
    array: bool = False
    error: str | None = None


def in_one_line(refused: Mapping[str, str], parts: int = 1) -> str:
    """Files that cannot be used, by key, and why: `users.json: empty; orders.json: ...`.

    `parts` is how many of a key's last parts name a file: 2 to tell its folder too.
    """
    return in_short(
        [f"{'/'.join(key.split('/')[-parts:])}: {why}" for key, why in sorted(refused.items())]
    )


def judge(raw: IO[bytes], key: Sequence[str]) -> Verdict:
    """Judges a seekable file whose records are identified by the fields `key`.

    It must hold UTF-8 text, gzipped or not, of one JSON object a line or of one JSON array, and
    among the first ten records one must have the key's fields. A gzipped file is read to its
    end, as only there it shows that it is whole.
    """
    gzipped = _head(raw)[:2] == GZIP
    try:
        start = _start(raw, gzipped=gzipped)
        error = _not_text(start)
        array = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        if error is None:
            raw.seek(0)
            text = open_text(raw, gzipped=gzipped)
            error = _not_records(text, key, array=array)
            if gzipped and error is None:
                while text.buffer.read(READ_AT_ONCE):
                    pass
            text.detach()  # else the caller's file is closed with it
    except DAMAGED as damage:
        return Verdict(gzipped=True, error=f"damaged gzip: {damage}")
    return Verdict(gzipped, array, error)


def _head(raw: IO[bytes]) -> bytes:
    raw.seek(0)
    return raw.read(READ_AT_ONCE)


def _start(raw: IO[bytes], *, gzipped: bool) -> bytes:
    """The first bytes of the text, unzipped."""
    if not gzipped:
        return _head(raw)
    raw.seek(0)
    text = open_text(raw, gzipped=True)
    start = bytes(text.buffer.read(READ_AT_ONCE))
    text.detach()
    return start


def _not_text(start: bytes) -> str | None:
    for mark, name in OTHER_UNICODE.items():
        if start.startswith(mark):
            return f"{name} text: only UTF-8 is read"
    if not start.removeprefix(b"\xef\xbb\xbf").strip():
        return "empty"
    if b"\x00" in start:
        return "no text: it holds zero bytes, as a binary file or UTF-16 does"
    return None


def _not_records(text: IO[str], key: Sequence[str], *, array: bool) -> str | None:
    lines = (line for line in records(text, array=array) if line.strip())
    first = [_parsed(line) for line in itertools.islice(lines, FIRST_RECORDS)]
    if not first:
        return "empty"
    objects = [record for record in first if isinstance(record, dict)]
    if not objects:
        what = "an array of JSON objects" if array else "JSON Lines"
        return f"not {what}: none of its first {len(first)} records is a JSON object"
    if not any(all(record.get(name) is not None for name in key) for record in objects):
        return f"no {' and '.join(key)} in its first {len(first)} records"
    return None


def _parsed(line: str) -> object:
    try:
        # Numbers stay text, as Python refuses to convert those of more than 4,300 digits.
        return json.loads(line, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
