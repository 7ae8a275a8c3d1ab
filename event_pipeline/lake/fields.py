"""Reads a line's fields exactly, for every line that an engine's own reader is unsure of.

Each engine reads most lines with its fast JSON functions. These differ in what they accept and in
how they spell values that are not text, so they are trusted with plain lines only. All other
lines, and all refused ones, are read here, so every engine judges them alike. Uses the standard
library only, since Spark's workers run this too.
"""

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

# Lines nested deeper than this are refused: how deep Python can recurse depends on its caller.
DEEPEST = 100
# A number with a fraction or exponent and more digits than this is rounded to the nearest double.
# Every engine's reader does so, and RFC 8259 (6) warns of it.
EXACT_DIGITS = 15
# A number longer than this is rounded too. One whose exponent is still greater after that fits no
# column and stays as it is spelled.
MAX_DIGITS = 40

# A string that is not closed matches up to the end of the line, so the search stops there.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|([\[{])|([\]}])', re.S)


class Fields(NamedTuple):
    """What was read from a line.

    `values` are the texts of the fields asked for, in that order (None if null or absent), and
    `unknown` the names of the line's other fields.
    """

    values: list[str | None]
    unknown: list[str]


class Number(str):
    """A JSON number that keeps its spelling."""

    __slots__ = ()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# An object is a tuple of its names and values, an array a list.
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=Number, parse_float=Number, parse_constant=_refuse
)


def read_fields(line: str, names: Sequence[str], *, others: bool = True) -> Fields | None:
    """The fields of a line that is one JSON object (RFC 8259); None if the line is refused.

    Without `others`, the names of other fields are not told, as where a mapping chooses its own.

    Text is returned as it is, null as None, a number in digits without an exponent, and any other
    value as compact JSON. A name with dots, such as `context.page.path`, is the path of a nested
    field. A line is refused if it is not a JSON object, if it names a field twice (nobody can tell
    which value was meant), if it holds half a surrogate pair, or if it is nested deeper than 100.
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
    return Fields(values, [n for n in found if n not in names] if others else [])


def object_of(line: str) -> tuple[tuple[str, Any], ...] | None:
    """The (name, value) pairs of a line that is one JSON object; None if the line is refused.

    Nested objects are tuples of pairs too, arrays are lists, and numbers are Number.
    """
    if is_too_deep(line):
        return None
    try:
        pairs = _DECODER.decode(line)
        if "\\u" in line:
            compact(pairs).encode()  # raises for half a surrogate pair, which is not text
    except ValueError:
        return None
    if not isinstance(pairs, tuple) or len(dict(pairs)) < len(pairs):
        return None
    return pairs


def _at_path(value: Any, path: str) -> Any:
    """The value at a dotted path; None if there is none.

    In an array of objects with `key` and `value`, which is how GA4 writes parameters, a name is
    looked up among the keys. Raises ValueError if an object names the next field twice.
    """
    first, _, rest = path.partition(".")
    if isinstance(value, list):
        value = tuple(_keyed(value, first))
    if not isinstance(value, tuple):
        return None
    # A field's own name may contain dots, so the whole path is tried as a name first.
    for name, then in ((path, ""), (first, rest)) if rest else ((path, ""),):
        found = [each for each_name, each in value if each_name == name]
        if len(found) > 1:
            raise ValueError(f"{name} occurs twice")
        if found:
            return _at_path(found[0], then) if then else found[0]
    return None


def _keyed(array: list[Any], key: str) -> Iterator[tuple[str, Any]]:
    """The (key, value) pairs that an array of `key`/`value` objects has for a key."""
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
    """A value as compact JSON. An object is a tuple of pairs; a Number keeps its spelling."""
    if isinstance(value, Number):
        return value
    if isinstance(value, tuple):
        return f"{{{','.join(f'{compact(n)}:{compact(each)}' for n, each in value)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(compact, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _in_digits(number: str) -> str:
    """A number in digits, without an exponent; one too long for any column stays as it is."""
    if number.lstrip("-").isdigit():
        return str(number)
    mantissa, _, exponent = number.lower().partition("e")
    digits = len(mantissa.replace(".", "").lstrip("-0"))
    power = float(exponent or 0)
    spelled = str(number)
    is_long = digits > EXACT_DIGITS or len(mantissa) > MAX_DIGITS or abs(power) > MAX_DIGITS
    is_long_zero = not digits and len(mantissa) + abs(power) > MAX_DIGITS
    if is_long or is_long_zero:
        spelled = repr(float(number))
        power = float(spelled.partition("e")[2] or 0)
    if "inf" in spelled or abs(power) > MAX_DIGITS:
        return str(number)
    return f"{Decimal(spelled):f}" if "e" in spelled.lower() else spelled


def is_too_deep(line: str) -> bool:
    """Whether a line's brackets are nested deeper than DEEPEST."""
    return line.count("[") + line.count("{") > DEEPEST and _depth(line) > DEEPEST


def _depth(line: str) -> int:
    """How deep a line's brackets are nested."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(line):
        depth += bool(match[1]) - bool(match[2])
        deepest = max(deepest, depth)
    return deepest
