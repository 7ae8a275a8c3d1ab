"""Sensors: what arrived in Bronze goes to Silver, what Silver touched goes to Gold."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from event_pipeline import report
from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline.automation import (
    DATA_VERSION,
    NAMED,
    Requests,
    recorded_versions,
    request_runs,
)
from event_pipeline.contracts import EVENTS, GOLD
from event_pipeline.lake.objects import EMPTY, Listing, Objects
from event_pipeline.partitions import HOUR, hour_key, hours_of
from event_pipeline.settings import Settings

SILVER_EVENTS = dg.AssetKey(EVENTS.asset.split("/"))
SILVER_ASSETS = [SILVER_EVENTS, dg.AssetKey(EVENTS.quarantine().asset.split("/"))]
GOLD_ASSETS = [dg.AssetKey(contract.asset.split("/")) for contract in GOLD]

TICK_SECONDS = 30
# Materializations that one tick of the Gold sensor reads; the next goes on from there.
RECORDS_PER_TICK = 500


def arrival_sensor(settings: Settings) -> dg.SensorDefinition:
    """Compares what lies in Bronze with what each hour was built from.

    Every tick looks at the latest hours and at a few older days in rotation, so that sooner or
    later everything is compared. The cursor holds only where the rotation stands.
    """

    @dg.sensor(
        name="arrivals",
        target=dg.AssetSelection.assets(*SILVER_ASSETS),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "New, late, overwritten and deleted Bronze objects: asks once for each hour whose "
            "objects are not those that it was built from."
        ),
    )
    def arrivals(context: dg.SensorEvaluationContext, objects: Objects) -> dg.SensorResult:
        now = datetime.now(UTC)
        days, cursor = _days_to_compare(settings, now, context.cursor)
        hours = [hour for day in days for hour in hours_of(day) if hour <= hour_key(now)]
        listings = {key: found for day in days for key, found in objects.hours(day).items()}
        inputs = _changed(context.instance, SILVER_EVENTS, hours, listings)
        requests = request_runs(
            context.instance,
            "arrivals",
            SILVER_ASSETS,
            # The latest first: an audit's find must not hold up what arrives now.
            dict(sorted(inputs.items(), reverse=True)),
            most=settings.runs_per_tick,
            max_attempts=settings.max_attempts,
        )
        arrived = _changed(context.instance, BRONZE_EVENTS, hours, listings)
        return _result(
            context,
            requests,
            said=[*_not_read(hours, listings, objects.strays())],
            idle=f"nothing new: {len(listings)} hours in {len(days)} days compared",
            cursor=cursor,
            asset_events=[_arrival(key, listings.get(key, EMPTY)) for key in arrived],
        )

    return arrivals


def _result(
    context: dg.SensorEvaluationContext,
    requests: Requests,
    *,
    said: Sequence[str],
    idle: str,
    cursor: str,
    asset_events: Sequence[dg.AssetMaterialization] = (),
) -> dg.SensorResult:
    """The tick's result; what a person must know stands in its reason or beside its runs."""
    if requests.runs:
        for text in (*said, *([requests.message] if requests.given_up else [])):
            context.log.warning(text)
    return dg.SensorResult(
        run_requests=requests.runs,
        skip_reason=None if requests.runs else "; ".join([requests.message or idle, *said]),
        cursor=cursor,
        asset_events=asset_events,
    )


def _days_to_compare(
    settings: Settings, now: datetime, cursor: str | None
) -> tuple[list[date], str]:
    """The days of the window up to now, then the next days of the audit; and the new cursor."""
    window_start = max(settings.first_day, (now - settings.late_window_hours * HOUR).date())
    audit_from = _date(cursor) or settings.first_day
    if not settings.first_day <= audit_from < window_start:
        audit_from = settings.first_day
    audit_to = min(audit_from + timedelta(settings.audit_days_per_tick), window_start)
    window, audit = _days(window_start, now.date()), _days(audit_from, audit_to - timedelta(1))
    return [*window, *audit], audit_to.isoformat()


def _date(cursor: str | None) -> date | None:
    """The day in a cursor; None for any other text, which costs one more round of the audit."""
    try:
        return date.fromisoformat(cursor or "")
    except ValueError:
        return None


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def _changed(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    hours: Sequence[str],
    listings: Mapping[str, Listing],
) -> dict[str, str]:
    """Hours whose objects are not those on record for the asset, with the digest of what is."""
    recorded = recorded_versions(instance, asset, hours)
    digests = {key: listings.get(key, EMPTY).digest for key in sorted(hours)}
    return {key: d for key, d in digests.items() if recorded.get(key, EMPTY.digest) != d}


def _arrival(key: str, listing: Listing) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        BRONZE_EVENTS,
        partition=key,
        description="Arrived, as the sensor saw it.",
        metadata=report.listing_metadata(listing),
        tags={DATA_VERSION: listing.digest},
    )


def _not_read(
    hours: Sequence[str], listings: Mapping[str, Listing], strays: Sequence[str]
) -> Iterator[str]:
    """What lies in Bronze and is not built, and why."""
    foreign = [*strays, *sorted(key for each in listings.values() for key in each.foreign)]
    if foreign:
        yield f"not read, their names are foreign: {_some(foreign)}"
    # The producer's clock may be ahead of this one; or the name is of no hour, as hour=99.
    if strange := sorted(listings.keys() - set(hours)):
        yield f"no such hour yet: {_some(strange)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def gold_sensor(settings: Settings) -> dg.SensorDefinition:
    """Refreshes Gold for exactly the event dates that Silver touched, however late they are.

    The cursor holds the last Silver materialization that was read, and for each date that is
    still to be refreshed the materialization that touched it last.
    """

    @dg.sensor(
        name="gold_refresh",
        target=dg.AssetSelection.assets(*GOLD_ASSETS),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for the Gold tables of each event date that a Silver build touched.",
    )
    def gold_refresh(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        read, pending = _gold_state(context.cursor)
        for storage_id, touched in _touched_dates(context.instance, read):
            read = storage_id
            pending.update(dict.fromkeys(touched, str(storage_id)))
        today = datetime.now(UTC).date()
        outside = sorted(
            # A producer's clock may be ahead of this one: tomorrow's date waits until it begins.
            day
            for day in pending
            if not _between(settings.first_day, day, today + timedelta(1))
        )
        for day in outside:
            del pending[day]
        due = {day: pending[day] for day in sorted(pending, reverse=True)}
        requests = request_runs(
            context.instance,
            "gold_refresh",
            GOLD_ASSETS,
            {day: v for day, v in due.items() if _between(settings.first_day, day, today)},
            most=settings.runs_per_tick,
            max_attempts=settings.max_attempts,
            throttle=timedelta(minutes=settings.gold_throttle_minutes),
            until_success=True,
        )
        for day in requests.done:
            del pending[day]
        return _result(
            context,
            requests,
            said=[f"no Gold partition for event dates {_some(outside)}"] if outside else [],
            idle="Silver touched nothing new",
            cursor=json.dumps({"read": read, "pending": pending}),
        )

    return gold_refresh


def _gold_state(cursor: str | None) -> tuple[int, dict[str, str]]:
    """The last materialization that was read, and what each pending date waits for.

    Any other text costs one more look at every materialization.
    """
    try:
        state = json.loads(cursor or "{}")
        return int(state["read"]), {str(day): str(v) for day, v in state["pending"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0, {}


def _between(first: date, day: str, last: date) -> bool:
    """Whether an event date lies between two others; it may be of the year 0 or 10000."""
    return len(day) == len("2026-11-24") and first.isoformat() <= day <= last.isoformat()


def _touched_dates(instance: dg.DagsterInstance, after: int) -> Iterable[tuple[int, list[str]]]:
    """Silver materializations after a storage id, oldest first: its id and event dates."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(SILVER_EVENTS, after_storage_id=after),
        limit=RECORDS_PER_TICK,
        ascending=True,
    ).records
    for record in records:
        event = record.asset_materialization
        found: Any = event.metadata.get("event_dates_touched") if event else None
        yield record.storage_id, list(found.value) if found else []
