"""A line's fields, read exactly: the judge of every line that an engine's own reader is unsure of.

Each engine reads most lines by its fast JSON functions, which differ in what they admit and in how
they spell what is no text. So they are trusted with plain lines only; all others, and all that are
refused, come here, and thereby are judged alike everywhere. Standard library alone: Spark's
workers run this too.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

# Deeper ones are not read: how deep Python can go depends on where it is called from.
DEEPEST = 100
# A number with a fraction and more digits is rounded to the nearest double, as every engine's
# reader does and RFC 8259 (6) warns of.
EXACT_DIGITS = 15
# Longer numbers are rounded too; one whose exponent is still greater fits no column.
MOST_DIGITS = 40

# A text that is not closed goes on to the end, where it need not be looked for again.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|([\[{])|([\]}])', re.S)


class Fields(NamedTuple):
    """The values of the fields that were asked for, as texts, and the names of the others."""

    values: list[str | None]
    unknown: list[str]


class Number(str):
    """A number as it is spelled."""

    __slots__ = ()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# An object is a tuple of its names and values, an array a list.
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=Number, parse_float=Number, parse_constant=_refuse
)


def read_fields(line: str, names: Sequence[str]) -> Fields | None:
    """The fields of a line that is one JSON object (RFC 8259); None if it is none.

    Text is itself and null is None; a number is in digits, without an exponent, and a nested
    value is compact JSON. A line that names a field twice is refused, since nobody can tell which
    value was meant, and so are half a surrogate pair and a nesting deeper than 100.
    """
    if is_too_deep(line):
        return None
    try:
        pairs = _DECODER.decode(line)
        if "\\u" in line:
            spelling(pairs).encode()  # Half a surrogate pair is no text.
    except ValueError:
        return None
    if not isinstance(pairs, tuple):
        return None
    found = dict(pairs)
    if len(found) < len(pairs):
        return None
    return Fields([_text(found.get(n)) for n in names], [n for n in found if n not in names])


def _text(value: Any) -> str | None:
    """A value as text."""
    if isinstance(value, Number):
        return _in_digits(value)
    return value if value is None or isinstance(value, str) else spelling(value)


def spelling(value: Any) -> str:
    """A value as compact JSON, its numbers as they were, and an object a tuple of pairs."""
    if isinstance(value, Number):
        return value
    if isinstance(value, tuple):
        return f"{{{','.join(f'{spelling(n)}:{spelling(each)}' for n, each in value)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(spelling, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _in_digits(number: str) -> str:
    """A number without an exponent; one beyond all reason stays as it is."""
    if number.lstrip("-").isdigit():
        return str(number)
    mantissa, _, exponent = number.lower().partition("e")
    digits = len(mantissa.replace(".", "").lstrip("-0"))
    power = float(exponent or 0)
    spelled = str(number)
    is_long = digits > EXACT_DIGITS or len(mantissa) > MOST_DIGITS or abs(power) > MOST_DIGITS
    is_long_zero = not digits and len(mantissa) + abs(power) > MOST_DIGITS
    if is_long or is_long_zero:
        spelled = repr(float(number))
        power = float(spelled.partition("e")[2] or 0)
    if "inf" in spelled or abs(power) > MOST_DIGITS:
        return str(number)
    return f"{Decimal(spelled):f}" if "e" in spelled.lower() else spelled


def is_too_deep(line: str) -> bool:
    """Whether a line's brackets are nested deeper than is read."""
    return line.count("[") + line.count("{") > DEEPEST and _depth(line) > DEEPEST


def _depth(line: str) -> int:
    """How deep a line's brackets are nested."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(line):
        depth += bool(match[1]) - bool(match[2])
        deepest = max(deepest, depth)
    return deepest
