"""What the tables must hold, in plain Python: written from the contract, not from the code."""

import gzip
import json
import re
import string
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NoReturn

Row = tuple[Any, ...]

KINDS = ("page_view", "add_to_cart", "remove_from_cart", "purchase", "search")
ISO = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.]\d{1,9})?(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)?", re.ASCII
)
NUMBER = re.compile(r" *[+-]?(\d{1,40}([.]\d{0,40})?|[.]\d{1,40}) *", re.ASCII)
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# Words for no id, and what shows nothing beside what Unicode calls a blank, control or format.
NO_IDS = re.compile(
    r"[(<]?(null|nil|none|nan|na|n/a|undefined|undef|unknown|anonymous)[)>]?|#n/a|\\n|-+|_+|[?]+"
    r"|[(<]?not[ _-]?(set|available|provided|applicable)[)>]?|[.]+|\[object object\]"
    r"|00000000-0000-0000-0000-000000000000|"
)
HIDDEN = "\u115f\u1160\u2800\u3164\uffa0"
SOURCE = (
    "timestamp", "user_id", "session_id", "event_type", "product_id", "category", "quantity",
    "price", "search_query",
)  # fmt: skip
DEEPEST = 100
EXACT_DIGITS = 15
GREATEST_EXPONENT = 40


@dataclass
class Hour:
    """One arrival hour: its lines, what becomes of each, and fields that the contract lacks."""

    lines: int = 0
    duplicates: int = 0
    rows: list[Row] = field(default_factory=list)
    quarantine: list[tuple[str, str, str]] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)


def silver(objects: Mapping[str, bytes]) -> Hour:
    """Judges the objects (key -> bytes) of an hour; an unreadable object counts as one line."""
    hour, kept = Hour(), dict[str, Row]()
    for key, data in objects.items():
        try:
            lines = lines_of(data)
        except (EOFError, OSError, zlib.error):
            hour.lines += 1
            hour.quarantine.append((key, "object_unreadable", ""))
            continue
        for line in lines:
            hour.lines += 1
            hour.unknown.update((read(line) or {}).keys() - set(SOURCE))
            row, reasons = judge(line)
            if reasons:
                hour.quarantine.append((key, reasons, line.replace("\x01", "\\x01")))
            else:
                hour.duplicates += line in kept
                kept[line] = row
    hour.rows = list(kept.values())
    return hour


def lines_of(data: bytes) -> list[str]:
    """The records of an object: its lines that are not blank, of which some hold several."""
    # What is not gzipped is text, whatever its name says.
    whole = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    text = whole.decode("utf-8", "backslashreplace").removeprefix("\ufeff")
    lines = [line for line in re.split("\r\n|\r|\n", text) if line.strip(" \t")]
    return [each for line in lines for each in _apart(line)]


def _apart(line: str) -> list[str]:
    """The objects of a line that is nothing but objects, else the line."""
    found, at = [], 0
    decoder = json.JSONDecoder(parse_int=_Spelled, parse_float=_Spelled)
    while at < len(line):
        try:
            value, end = decoder.raw_decode(line, at)
        except (ValueError, RecursionError):
            return [line]
        if not isinstance(value, dict):
            return [line]
        found.append(line[at:end])
        at = re.compile("[ \t]*,?[ \t]*").match(line, end).end()  # type: ignore[union-attr]
    return found if len(found) > 1 else [line]


class _Spelled(str):
    """A number as it is spelled."""


class _Pairs(list[tuple[str, Any]]):
    """An object as it is spelled: a name may be there twice."""


def _no_json(constant: str) -> NoReturn:
    raise ValueError(constant)


def read(line: str) -> dict[str, str | None] | None:
    """The fields of a line as texts; None if it is not one JSON object that names each once."""
    try:
        found = json.loads(
            line,
            parse_int=_Spelled,
            parse_float=_Spelled,
            parse_constant=_no_json,
            object_pairs_hook=_Pairs,
        )
        # A surrogate without its other half is not text.
        _compact(found).encode()
        if not isinstance(found, _Pairs) or _depth(found) > DEEPEST:
            return None
    except (ValueError, RecursionError):
        return None
    fields = {name: _text(value) for name, value in found}
    return fields if len(fields) == len(found) else None


def _depth(value: Any) -> int:
    if isinstance(value, _Pairs):
        value = [each for _, each in value]
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _text(value: Any) -> str | None:
    """A field as text: a number in digits, and what else is no text as compact JSON."""
    if isinstance(value, _Spelled):
        return _in_digits(value)
    return value if value is None or isinstance(value, str) else _compact(value)


def _compact(value: Any) -> str:
    if isinstance(value, _Spelled):
        return value
    if isinstance(value, _Pairs):
        return "{" + ",".join([f"{_compact(n)}:{_compact(v)}" for n, v in value]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_compact(each) for each in value]) + "]"
    return json.dumps(value, ensure_ascii=False)


def _in_digits(spelled: str) -> str:
    """A number without an exponent, unless that is too great; one with a fraction is a double."""
    if re.fullmatch(r"-?\d+", spelled):
        return spelled
    mantissa, _, exponent = spelled.lower().partition("e")
    number = Decimal(mantissa)
    if len(number.as_tuple().digits) > EXACT_DIGITS:
        shortest, _, exponent = repr(float(spelled)).partition("e")
        if shortest.endswith("inf"):
            return spelled
        number = Decimal(shortest)
    if abs(float(exponent or 0)) > GREATEST_EXPONENT:
        return spelled
    return format(number.scaleb(int(float(exponent or 0))), "f")


def judge(line: str) -> tuple[Row, str]:
    """The row of a line, and the reasons why it is none."""
    event = read(line)
    if event is None:
        return (), "malformed_json"
    texts = {name: event.get(name) for name in SOURCE}
    kind = (texts["event_type"] or "").strip(" ").translate(LOWER)
    moment = _moment(texts["timestamp"])
    units = _number(texts["quantity"], Decimal("1"))
    price = _number(texts["price"], Decimal("0.01"))
    reasons = {
        "timestamp_missing": texts["timestamp"] is None,
        "timestamp_invalid": texts["timestamp"] is not None and moment is None,
        "user_id_missing": not (texts["user_id"] or "").strip(" "),
        "user_id_placeholder": bool((texts["user_id"] or "").strip(" "))
        and no_id(texts["user_id"]),
        "session_id_missing": not (texts["session_id"] or "").strip(" "),
        "session_id_placeholder": bool((texts["session_id"] or "").strip(" "))
        and no_id(texts["session_id"]),
        "event_type_missing": not kind,
        "event_type_unknown": kind and kind not in KINDS,
        "quantity_invalid": texts["quantity"] is not None and units is None,
        "price_invalid": texts["price"] is not None and price is None,
    }
    broken = ",".join(reason for reason, holds in reasons.items() if holds)
    if broken or moment is None:
        return (), broken
    units, price = (None if n is None or n < 0 else n for n in (units, price))
    revenue = units * price if kind == "purchase" and None not in (units, price) else None  # type: ignore[operator]
    return (
        moment,
        moment.date(),
        texts["user_id"],
        texts["session_id"],
        kind,
        None if no_id(texts["product_id"]) else texts["product_id"],
        texts["category"],
        None if units is None else int(units),
        price,
        revenue,
        texts["search_query"],
    ), ""


def no_id(text: str | None) -> bool:
    """Whether a text stands for no id: a word for none, or nothing that is to be seen."""

    def hidden(letter: str) -> bool:
        return letter in HIDDEN or unicodedata.category(letter) in ("Zs", "Zl", "Zp", "Cc", "Cf")

    letters = list((text or "").translate(LOWER))
    while letters and hidden(letters[-1]):
        letters.pop()
    while letters and hidden(letters[0]):
        letters.pop(0)
    return NO_IDS.fullmatch("".join(letters)) is not None


def _moment(text: str | None) -> datetime | None:
    if text is None or not ISO.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return aware.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None, unit: Decimal) -> Decimal | None:
    """A number of at most eight digits before the point, rounded half up to the unit."""
    if text is None or not NUMBER.fullmatch(text):
        return None
    number = Decimal(text.strip())
    if number.adjusted() > 8:
        return None
    number = number.quantize(unit, ROUND_HALF_UP)
    return number if abs(number) < 10**8 else None


def gold(rows: Iterable[Row]) -> dict[str, dict[str, list[Row]]]:
    """Gold by table and event date, of all Silver rows; rows without the partition column."""
    days = defaultdict(list)
    for row in rows:
        days[f"{row[1]}"].append(row)
    return {
        name: {day: make(found) for day, found in days.items()}
        for name, make in {
            "gold.conversion_funnel": _funnel,
            "gold.hourly_revenue": _revenue,
            "gold.top_products": _top_products,
            "gold.category_performance": _categories,
            "gold.daily_user_activity": _activity,
        }.items()
    }


def _funnel(rows: list[Row]) -> list[Row]:
    counts = Counter((row[5], row[4]) for row in rows)
    funnel = []
    for product in {row[5] for row in rows} - {None}:
        views, adds, buys = (
            counts[product, kind] for kind in ("page_view", "add_to_cart", "purchase")
        )
        rates = (adds / views if views else 0, buys / adds if adds else 0)
        funnel.append((product, views, adds, buys, *rates, buys / views if views else 0))
    return sorted(funnel, key=lambda row: (-row[1], row[0]))[:1000]


def _revenue(rows: list[Row]) -> list[Row]:
    hours = defaultdict(list)
    for row in rows:
        if row[4] == "purchase":
            hours[row[0].year, row[0].month, row[0].day, row[0].hour].append(row)
    return [
        (*hour, sum(r[9] or 0 for r in bought), sum(r[7] or 0 for r in bought), len(bought))
        for hour, bought in hours.items()
    ]


def _top_products(rows: list[Row]) -> list[Row]:
    seen = [row for row in rows if row[4] == "page_view" and row[5] is not None]
    views = Counter(row[5] for row in seen)
    category = {
        product: max((row[6] for row in seen if row[5] == product and row[6]), default=None)
        for product in views
    }
    ranked = sorted(views, key=lambda product: (-views[product], product))
    return [(product, category[product], views[product]) for product in ranked[:10]]


def _categories(rows: list[Row]) -> list[Row]:
    counts = Counter((row[6], row[4]) for row in rows)
    kinds = {name: [counts[name, kind] for kind in KINDS] for name in {row[6] for row in rows}}
    return [(name, sum(each), *each) for name, each in kinds.items()]


def _activity(rows: list[Row]) -> list[Row]:
    return [(len({row[2] for row in rows}), len({row[3] for row in rows}), len(rows))]
