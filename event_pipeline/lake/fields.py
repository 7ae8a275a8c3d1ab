"""A line's fields, read exactly: the judge of every line that an engine's own reader is unsure of.

Each engine reads most lines by its fast JSON functions, which differ in what they admit and in how
they spell what is no text. So they are trusted with plain lines only; all others, and all that are
refused, come here, and thereby are judged alike everywhere. Standard library alone: Spark's
workers run this too.
"""

import json
import re
from collections.abc import Iterator, Sequence
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
    value is compact JSON. A name with dots, as `context.page.path`, is the path of a nested field.
    A line that names a field twice is refused, since nobody can tell which value was meant, and so
    are half a surrogate pair and a nesting deeper than 100.
    """
    pairs = object_of(line)
    if pairs is None:
        return None
    found = dict(pairs)
    try:
        values = [
            _text(found.get(n) if n in found or "." not in n else _at_path(pairs, n)) for n in names
        ]
    except ValueError:
        return None
    return Fields(values, [n for n in found if n not in names])


def object_of(line: str) -> tuple[tuple[str, Any], ...] | None:
    """The names and values of a line that is one JSON object, as `read_fields` takes it."""
    if is_too_deep(line):
        return None
    try:
        pairs = _DECODER.decode(line)
        if "\\u" in line:
            compact(pairs).encode()  # Half a surrogate pair is no text.
    except ValueError:
        return None
    if not isinstance(pairs, tuple) or len(dict(pairs)) < len(pairs):
        return None
    return pairs


def _at_path(value: Any, path: str) -> Any:
    """What is nested at a path of names with dots between them; None where there is nothing.

    An array of objects with a `key` and a `value` is looked up by key, as GA4 writes parameters.
    Raises ValueError if an object on the way names the next field twice.
    """
    first, _, rest = path.partition(".")
    if isinstance(value, list):
        value = tuple(_keyed(value, first))
    if not isinstance(value, tuple):
        return None
    # A name may hold a dot itself.
    for name, then in ((path, ""), (first, rest)) if rest else ((path, ""),):
        found = [each for each_name, each in value if each_name == name]
        if len(found) > 1:
            raise ValueError(f"{name} is there twice")
        if found:
            return _at_path(found[0], then) if then else found[0]
    return None


def _keyed(array: list[Any], key: str) -> Iterator[tuple[str, Any]]:
    """The value that an array of keys and values has for a key, as an object's field."""
    for each in array:
        pair = dict(each) if isinstance(each, tuple) else {}
        if pair.get("key") == key:
            yield key, pair.get("value")


def _text(value: Any) -> str | None:
    """A value as text."""
    if isinstance(value, Number):
        return _in_digits(value)
    return value if value is None or isinstance(value, str) else compact(value)


def compact(value: Any) -> str:
    """A value as compact JSON, its numbers as they were, and an object a tuple of pairs."""
    if isinstance(value, Number):
        return value
    if isinstance(value, tuple):
        return f"{{{','.join(f'{compact(n)}:{compact(each)}' for n, each in value)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(compact, value))}]"
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
