"""Uploaded files: each is judged as a whole, by its content, before a line of it is read.

What is wrong with single records is the contract's business; a file fails here only if no
pipeline could make sense of it.
"""

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from event_pipeline.errors import in_short
from event_pipeline.lake.spelling import Spelling, open_binary, records_of, sniff
from event_pipeline.lake.text import DAMAGED

FIRST_RECORDS = 10
READ_AT_ONCE = 1 << 20
# Byte order marks. Those of UTF-32 come first, since one of them begins with one of UTF-16.
OTHER_UNICODE = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


@dataclass(frozen=True)
class Verdict:
    """How a file is spelled (None if not looked at), and why it cannot be used (None if it can)."""

    spelling: Spelling | None = None
    error: str | None = None


def in_one_line(refused: Mapping[str, str], parts: int = 1) -> str:
    """Files that cannot be used, by key, and why: `users.json: empty; orders.json: ...`.

    `parts` is how many of a key's last parts name a file: 2 to tell its folder too.
    """
    return in_short(
        [f"{'/'.join(key.split('/')[-parts:])}: {why}" for key, why in sorted(refused.items())]
    )


def judge(raw: IO[bytes], key: Sequence[str], names: Collection[str] = ()) -> Verdict:
    """Judges a seekable file whose records are identified by the fields `key`.

    The file must have a form that `spelling` reads, and one of its first ten records must have all
    fields of the key. `names` are all fields of the dataset; a CSV is recognised by them. A
    compressed file is read to its end, since only the end shows that it is whole.
    """
    spelling = sniff(raw, names or key)
    kind = spelling.compression or "file"
    try:
        error = None if spelling.form == "parquet" else _not_text(_start(raw, spelling))
        if error is None:
            raw.seek(0)
            error = _not_records(records_of(raw, spelling), key, spelling.form)
        if error is None and spelling.compression:
            raw.seek(0)
            data = open_binary(raw, spelling.compression)
            while data.read(READ_AT_ONCE):
                pass
    except DAMAGED as damage:
        return Verdict(spelling, f"damaged {kind}: {damage}")
    return Verdict(spelling, error)


def _start(raw: IO[bytes], spelling: Spelling) -> bytes:
    """The first bytes of the text, uncompressed."""
    raw.seek(0)
    return open_binary(raw, spelling.compression).read(READ_AT_ONCE)


def _not_text(start: bytes) -> str | None:
    for mark, name in OTHER_UNICODE.items():
        if start.startswith(mark):
            return f"{name} text: only UTF-8 is read"
    if not start.removeprefix(b"\xef\xbb\xbf").strip():
        return "empty"
    if b"\x00" in start:
        return "not text: it holds zero bytes, like a binary file or UTF-16"
    return None


def _not_records(records: Iterator[str], key: Sequence[str], form: str) -> str | None:
    lines = (line for line in records if line.strip())
    first = [_parsed(line) for line in itertools.islice(lines, FIRST_RECORDS)]
    if not first:
        return "empty"
    objects = [record for record in first if isinstance(record, dict)]
    if not objects:
        expected = "an array of JSON objects" if form == "array" else "JSON Lines"
        return f"not {expected}: none of its first {len(first)} records is a JSON object"
    if not any(all(record.get(name) is not None for name in key) for record in objects):
        return f"no {' and '.join(key)} in its first {len(first)} records"
    return None


def _parsed(line: str) -> object:
    try:
        # Numbers stay text, as Python refuses to convert those of more than 4,300 digits.
        return json.loads(line, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
