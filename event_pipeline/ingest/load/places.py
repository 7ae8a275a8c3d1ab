"""Where a load's rows go: to a given hour or drop, or to the drop that the file's name tells."""

import re
from datetime import UTC, date, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from event_pipeline.contracts import SilverContract
from event_pipeline.errors import LoadError
from event_pipeline.ingest.load.sources import STDIN, Source
from event_pipeline.partitions import DAILY, HOURLY
from event_pipeline.settings import Settings

if TYPE_CHECKING:
    from event_pipeline.ingest.load.loading import Order

# A day in a name: 2026-11-24, 2026_11_24 or 20261124, without further digits beside it.
_DAY = re.compile(r"(?<![0-9])([0-9]{4})([-_.]?)([01][0-9])\2([0-3][0-9])(?![0-9])")
_LETTERS = {
    "%Y": "[0-9]{4}",
    "%y": "[0-9]{2}",
    "%m": "[0-9]{1,2}",
    "%d": "[0-9]{1,2}",
    "%j": "[0-9]{3}",
    "%b": "[A-Za-z]{3}",
    "%B": "[A-Za-z]+",
    "%%": "%",
}


def given_hour(text: str) -> str:
    """The key of an arrival hour that a person gives. Raises LoadError with one clear line."""
    try:
        return HOURLY.key(HOURLY.start(text))
    except ValueError:
        raise LoadError(f"--arrival-hour {text}: expected a form like 2019-10-01-02:00") from None


def given_drop(settings: Settings, text: str) -> datetime:
    """The start of a drop's day, given as YYYY-MM-DD, in UTC.

    Raises LoadError with one clear line if it is no such day, or has no partition.
    """
    try:
        day = DAILY.start(text)
    except ValueError:
        day = None
    if day is None or DAILY.key(day) != text:
        raise LoadError(f"drop {text}: expected a form like 2019-10-01")
    if day < settings.first_hour:
        raise LoadError(
            f"drop {text} is before the first partition: set EVENT_PIPELINE_FIRST_DAY={text}"
        )
    if day > datetime.now(UTC):
        raise LoadError(f"drop {text} is in the future")
    return day


def drop_of(settings: Settings, contract: SilverContract, source: Source, order: "Order") -> str:
    """The day (YYYY-MM-DD) of the drop that a source goes to: as given, or as its name tells.

    Raises LoadError with one clear line if there is none, or if it has no partition.
    """
    form = order.drop_from_name
    drop = order.drop or drop_of_name(source, form)
    if drop is None:
        by = f" by {form}" if form else ""
        raise LoadError(
            f"{contract.identifier[1]} needs a --drop, a --drop-from COLUMN, or a file whose name"
            f" tells the day: {source.given} tells none{by}"
        )
    given_drop(settings, drop)
    return drop


def drop_of_name(source: Source, form: str | None) -> str | None:
    """The day in a source's name, in strptime's form `form` or as YYYY-MM-DD; None if none.

    The file's own name is looked at first, then its folders, the nearest first. Raises LoadError if
    one of them tells two days.
    """
    if source.name == STDIN:
        return None
    for part in reversed(PurePosixPath(source.name).parts):
        days = _days_by(form, part) if form else _days(part)
        if len(days) > 1:
            shown = " and ".join(sorted(days)[:2])
            raise LoadError(f"{source.given}: its name holds two days, {shown}: give --drop")
        if days:
            return days.pop()
    return None


def _days(part: str) -> set[str]:
    days = set()
    for match in _DAY.finditer(part):
        try:
            days.add(date(int(match[1]), int(match[3]), int(match[4])).isoformat())
        except ValueError:
            continue
    return days


def _days_by(form: str, part: str) -> set[str]:
    pattern = ""
    for piece in re.split(r"(%.)", form):
        if piece.startswith("%") and piece not in _LETTERS:
            raise LoadError(
                f"--drop-from-name {form}: {piece} is not supported; choose from"
                f" {' '.join(_LETTERS)}"
            )
        pattern += _LETTERS.get(piece) or re.escape(piece)
    days = set()
    for match in re.finditer(rf"(?<![0-9])(?:{pattern})(?![0-9])", part):
        try:
            days.add(f"{datetime.strptime(match[0], form):%Y-%m-%d}")
        except ValueError:
            continue
    return days
