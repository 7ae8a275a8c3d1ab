"""Query results as text: JSON, and CSV as Athena writes it."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

Row = Sequence[Any]


def as_json(names: Sequence[str], rows: Sequence[Row]) -> str:
    """A JSON array with an object for each row; a second column of the same name is name_2."""
    keys: list[str] = []
    for name in names:
        alike, n = name, 1
        while alike in keys:
            n += 1
            alike = f"{name}_{n}"
        keys.append(alike)
    return json.dumps([dict(zip(keys, map(_plain, row), strict=True)) for row in rows])


def as_csv(names: Sequence[str], rows: Sequence[Row]) -> str:
    """A CSV with a header and a line for each row; null is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[_spelled(value) for value in row] for row in rows])
    return out.getvalue().removesuffix("\n")


def _plain(value: Any) -> Any:  # noqa: PLR0911
    """A value for JSON; a decimal becomes a number if that keeps every digit, else a text."""
    match value:
        case Decimal():
            number = float(value)
            return number if Decimal(repr(number)) == value else f"{value:f}"
        case float() if not math.isfinite(value):
            return _spelled(value)
        case datetime() | date():
            return value.isoformat()
        case list() | tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {str(_plain(key)): _plain(each) for key, each in value.items()}
        case bool() | int() | float() | str() | None:
            return value
    return _spelled(value)


def _spelled(value: Any) -> Any:  # noqa: PLR0911
    """A value as Athena writes it into a CSV file."""
    match value:
        case bool():
            return str(value).lower()
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case Decimal():
            return f"{value:f}"
        case datetime():
            return _time(value)
        case timedelta():
            hours, rest = divmod(value.seconds, 3600)
            minutes, seconds = divmod(rest, 60)
            milliseconds = value.microseconds // 1000
            return f"{value.days} {hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
        case bytes():
            return value.hex(" ")
        case list() | tuple():
            return f"[{', '.join(_inner(each) for each in value)}]"
        case Mapping():
            pairs = (f"{_inner(key)}={_inner(each)}" for key, each in value.items())
            return f"{{{', '.join(pairs)}}}"
    return value


def _inner(value: Any) -> str:
    return "null" if value is None else str(_spelled(value))


def _time(value: datetime) -> str:
    """A time to the millisecond, or to the microsecond if it has any."""
    digits = "microseconds" if value.microsecond % 1000 else "milliseconds"
    shown = value.replace(tzinfo=None).isoformat(" ", digits)
    return shown if value.tzinfo is None else f"{shown} {_zone(value)}"


def _zone(value: datetime) -> str:
    name = str(value.tzinfo)
    return "UTC" if not value.utcoffset() and "/" not in name else name
