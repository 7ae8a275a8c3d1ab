"""What all sensors share: their pace, and how a tick says what it found."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg

from event_pipeline.errors import MAX_NAMED
from event_pipeline.partitions import HOUR
from event_pipeline.run_requests import Requests
from event_pipeline.settings import Settings

TICK_SECONDS = 30


class Tick(dg.SensorResult):
    """A sensor's result with all its requests; the skip reason names only the first few."""

    requests: Requests


def result(
    context: dg.SensorEvaluationContext,
    requests: Requests,
    *,
    notes: Sequence[str],
    idle: str,
    cursor: str,
    asset_events: Sequence[Any] = (),
) -> Tick:
    """The tick's result. What a person must know is its skip reason, or logged beside its runs."""
    notes = list(dict.fromkeys(notes))  # datasets that share a prefix may say the same
    if requests.runs:
        for text in (*notes, *([requests.message] if requests.given_up else [])):
            context.log.warning(text)
    tick = Tick(
        run_requests=requests.runs,
        skip_reason=None if requests.runs else "; ".join([requests.message or idle, *notes]),
        cursor=cursor,
        asset_events=asset_events,
    )
    tick.requests = requests
    return tick


def window_start(settings: Settings, now: datetime) -> datetime:
    """When the time began that every tick compares."""
    return now - settings.late_window_hours * HOUR


def first_compared(settings: Settings, now: datetime) -> str:
    """The first day (ISO) of which anything is compared; empty if that is any day.

    Only `sync --since` leaves older days out altogether.
    """
    if settings.audit_days_per_tick != 0:
        return ""
    return window_start(settings, now).date().isoformat()


def first_names(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def is_between(first: date, day: str, last: date) -> bool:
    """Whether an event date lies between two dates, inclusive. Its year may have any length."""
    return len(day) == len("2026-11-24") and first.isoformat() <= day <= last.isoformat()
