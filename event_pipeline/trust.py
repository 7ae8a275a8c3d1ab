"""What a person would want to know before trusting a partition's rows, by its receipt.

How much of it was refused, which of its objects are not what their producers wrote, and which of
its rows no Gold date holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum

from event_pipeline.lake.manifests import Deviation
from event_pipeline.lake.receipts import SilverReceipt
from event_pipeline.settings import Settings


class Level(IntEnum):
    """How a check came out."""

    PASS = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True)
class Assessment:
    """A check's result: its level, and in words what is wrong."""

    level: Level
    why: str = ""


def refused_share(receipt: SilverReceipt) -> float:
    """The share of a partition's lines that is in quarantine, 0 to 1; 0 if there are no lines."""
    lines = judged_lines(receipt)
    return receipt.quarantined / lines if lines else 0.0


def judged_lines(receipt: SilverReceipt) -> int:
    """The number of a partition's lines, without the other datasets' that its mapping skips."""
    return receipt.lines - receipt.skipped


def refused(receipt: SilverReceipt, settings: Settings) -> Assessment:
    """Whether too much of a partition was refused.

    Whatever the settings say, a partition fails if lines were refused and no row is left, or if an
    object cannot be read, since nobody knows how many lines it has. A partition without lines
    passes.
    """
    share, quarantined = refused_share(receipt), receipt.quarantined
    unreadable = receipt.rejected.get("object_unreadable", 0)
    summary = f"refused {quarantined:,} of {judged_lines(receipt):,} lines, {share:.2%}"
    if unreadable:
        return Assessment(Level.FAIL, f"unreadable objects: {unreadable}; {summary}")
    if quarantined and not receipt.rows:
        return Assessment(Level.FAIL, f"{summary}: no row is left")
    if share > settings.refused_fail_share:
        return Assessment(Level.FAIL, f"{summary}: more than {settings.refused_fail_share:.2%}")
    if share > settings.refused_warn_share:
        return Assessment(Level.WARN, f"{summary}: more than {settings.refused_warn_share:.2%}")
    return Assessment(Level.PASS, summary if quarantined else "")


def match_manifests(deviations: Sequence[Deviation]) -> Assessment:
    """Whether a partition's objects are what their producers' manifests say."""
    if not deviations:
        return Assessment(Level.PASS)
    first, more = deviations[0], len(deviations) - 1
    why = f"{first.object}: {first.why}{_missing(first)}"
    return Assessment(Level.FAIL, f"{why}; and {more} more" if more else why)


def _missing(deviation: Deviation) -> str:
    missing = deviation.missing_lines
    if not missing:
        return ""
    of = f" of its {deviation.promised_lines:,} lines"
    return f", {missing:,}{of} are missing" if missing > 0 else f", {-missing:,} lines too many"


def outside(receipt: SilverReceipt, first_day: date, today: date) -> dict[str, int]:
    """Event date -> rows, for dates without a Gold partition: too early, or yet to come."""
    first, last = first_day.isoformat(), today.isoformat()
    width = len(first)
    return {
        day: rows
        for day, rows in receipt.event_dates.items()
        if len(day) != width or not first <= day <= last
    }


def worst(receipt: SilverReceipt, settings: Settings) -> Assessment:
    """The worse of the results of a partition's two checks."""
    return max(
        (match_manifests(receipt.deviations), refused(receipt, settings)),
        key=lambda light: light.level,
    )
