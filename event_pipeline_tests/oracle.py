"""What the tables must hold, in plain Python: written from the contract, not from the code."""

import gzip
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Row = tuple[Any, ...]

KINDS = ("page_view", "add_to_cart", "remove_from_cart", "purchase", "search")
ISO = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.]\d{1,9})?(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)?", re.ASCII
)
NUMBER = re.compile(r"\s*[+-]?(\d+[.]?\d*|[.]\d+)([eE][+-]?\d+)?\s*", re.ASCII)


@dataclass
class Hour:
    """One arrival hour: its lines, and what becomes of each."""

    lines: int = 0
    duplicates: int = 0
    rows: list[Row] = field(default_factory=list)
    quarantine: list[tuple[str, str, str]] = field(default_factory=list)


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
            row, reasons = judge(line)
            if reasons:
                hour.quarantine.append((key, reasons, line.replace("\x01", "\\x01")))
            else:
                hour.duplicates += line in kept
                kept[line] = row
    hour.rows = list(kept.values())
    return hour


def lines_of(data: bytes) -> list[str]:
    """The lines of an object that are not blank."""
    text = gzip.decompress(data).decode("utf-8", "backslashreplace").removeprefix("\ufeff")
    return [line for line in re.split("\r\n|\r|\n", text) if line.strip(" \t")]


def judge(line: str) -> tuple[Row, str]:
    """The row of a line, and the reasons why it is none."""
    try:
        event = json.loads(line.strip(" \t"))
        # A surrogate without its other half is not text.
        json.dumps(event, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return (), "malformed_json"
    if not isinstance(event, dict):
        return (), "malformed_json"
    user, session = (_text(event.get(name)) for name in ("user_id", "session_id"))
    kind = (_text(event.get("event_type")) or "").strip(" ").lower()
    moment = _moment(_text(event.get("timestamp")))
    units = _number(_text(event.get("quantity")), Decimal("1"))
    price = _number(_text(event.get("price")), Decimal("0.01"))
    reasons = {
        "timestamp_missing": event.get("timestamp") is None,
        "timestamp_invalid": event.get("timestamp") is not None and moment is None,
        "user_id_missing": not (user or "").strip(" "),
        "session_id_missing": not (session or "").strip(" "),
        "event_type_missing": not kind,
        "event_type_unknown": kind and kind not in KINDS,
        "quantity_invalid": event.get("quantity") is not None and units is None,
        "price_invalid": event.get("price") is not None and price is None,
    }
    broken = ",".join(reason for reason, holds in reasons.items() if holds)
    if broken or moment is None:
        return (), broken
    units, price = (None if n is None or n < 0 else n for n in (units, price))
    revenue = units * price if kind == "purchase" and None not in (units, price) else None  # type: ignore[operator]
    texts = {name: _text(event.get(name)) for name in ("product_id", "category", "search_query")}
    return (
        moment,
        moment.date(),
        user,
        session,
        kind,
        texts["product_id"],
        texts["category"],
        None if units is None else int(units),
        price,
        revenue,
        texts["search_query"],
    ), ""


def _text(value: Any) -> str | None:
    """A field as text: what is no text already, as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
