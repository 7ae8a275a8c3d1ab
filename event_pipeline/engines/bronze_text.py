"""Objects that an engine's reader refuses: what of them can be read, line by line.

Lines end with \\n, \\r\\n or \\r, as in every engine's reader. What is done to a line here can
only make it something that is not JSON, so it ends in quarantine with its text in sight.
"""

import gzip
import io
import zlib
from typing import IO

# In bytes: the longest that DuckDB's reader takes, and far longer than an event. The rest of a
# longer line is not kept.
LONGEST_LINE = 2_000_000
KEPT_OF_LONG_LINE = 10_000


class Unreadable(Exception):
    """An object that is not gzip or is damaged; the message says how."""


def make_readable(source: str, target: str) -> None:
    """Copies a gzipped text file so that an engine can read it: UTF-8, no control bytes.

    Bytes that are not UTF-8 and the byte 1 become escapes such as `\\xff`; a line that is
    then longer than two million bytes is cut. Raises Unreadable if the file is no gzip or ends
    early, and FileNotFoundError if it is gone.
    """
    with open(source, "rb") as raw, gzip.open(target, "wt", 1, "utf-8", newline="\n") as out:
        if not raw.peek(1):
            return  # An empty object has no lines.
        text = io.TextIOWrapper(
            io.BufferedReader(gzip.GzipFile(fileobj=raw)),
            "utf-8-sig",
            errors="backslashreplace",
            newline=None,
        )
        try:
            _copy_lines(text, out)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Unreadable(str(error)) from None


def _copy_lines(text: IO[str], out: IO[str]) -> None:
    while line := text.readline(LONGEST_LINE + 1):
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith("\n"):
            rest = text.readline(LONGEST_LINE + 1)
        line = line.removesuffix("\n").replace("\x01", "\\x01")
        if len(line.encode()) > LONGEST_LINE:
            line = line[:KEPT_OF_LONG_LINE] + "... (cut)"
        out.write(line + "\n")
