"""Sensors: what arrived in Bronze goes to Silver, what Silver touched goes to Gold."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline.automation import DATA_VERSION, recorded_versions, request_runs
from event_pipeline.contracts import EVENTS, GOLD
from event_pipeline.lake.objects import EMPTY, Listing, Objects
from event_pipeline.partitions import HOUR, hours_of
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
        listings = {key: found for day in days for key, found in objects.hours(day).items()}
        hours = [hour for day in days for hour in hours_of(day)]
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
        return dg.SensorResult(
            run_requests=requests.runs,
            skip_reason=None if requests.runs else _reason(requests.message, days, listings),
            cursor=cursor,
            asset_events=[
                _arrival(key, digest, listings.get(key, EMPTY)) for key, digest in arrived.items()
            ],
        )

    return arrivals


def _days_to_compare(
    settings: Settings, now: datetime, cursor: str | None
) -> tuple[list[date], str]:
    """The days of the window up to now, then the next days of the audit; and the new cursor."""
    window_start = max(settings.first_day, (now - settings.late_window_hours * HOUR).date())
    # A clock that is behind the producer's must not hide an object.
    window = _days(window_start, (now + HOUR).date())
    audit_from = date.fromisoformat(cursor) if cursor else settings.first_day
    if not settings.first_day <= audit_from < window_start:
        audit_from = settings.first_day
    audit_to = min(audit_from + timedelta(settings.audit_days_per_tick), window_start)
    audit = _days(audit_from, audit_to - timedelta(1))
    return [*window, *audit], audit_to.isoformat()


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def _changed(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    hours: Iterable[str],
    listings: dict[str, Listing],
) -> dict[str, str]:
    """Hours whose objects are not those on record for the asset, with the digest of what is."""
    recorded = recorded_versions(instance, asset, list(hours))
    digests = {key: listings.get(key, EMPTY).digest for key in {*listings, *recorded}}
    return {key: d for key, d in sorted(digests.items()) if recorded.get(key, EMPTY.digest) != d}


def _arrival(key: str, digest: str, listing: Listing) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        BRONZE_EVENTS,
        partition=key,
        description="Arrived, as the sensor saw it.",
        metadata={
            "objects": len(listing.objects),
            "bytes": sum(o.bytes for o in listing.objects),
            "foreign_objects": dg.MetadataValue.json(list(listing.foreign)),
            "input_digest": digest,
        },
        tags={DATA_VERSION: digest},
    )


def _reason(waiting: str, days: list[date], listings: dict[str, Listing]) -> str:
    foreign = [key for listing in listings.values() for key in listing.foreign]
    parts = [waiting or f"nothing new: {len(listings)} hours in {len(days)} days compared"]
    if foreign:
        parts.append(f"not read, their names are foreign: {', '.join(foreign[:5])}")
    return "; ".join(parts)


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
        state = json.loads(context.cursor) if context.cursor else {}
        read: int = state.get("read", 0)
        pending: dict[str, str] = state.get("pending", {})
        outside: set[str] = set()
        for storage_id, touched in _touched_dates(context.instance, read):
            read = storage_id
            for day in touched:
                if settings.first_day <= date.fromisoformat(day) <= datetime.now(UTC).date():
                    pending[day] = str(storage_id)
                else:
                    outside.add(day)
        requests = request_runs(
            context.instance,
            "gold_refresh",
            GOLD_ASSETS,
            dict(sorted(pending.items(), reverse=True)),
            most=settings.runs_per_tick,
            max_attempts=settings.max_attempts,
            throttle=timedelta(minutes=settings.gold_throttle_minutes),
            until_success=True,
        )
        for day in requests.done:
            del pending[day]
        if outside:
            context.log.warning(f"no Gold partition for event dates {sorted(outside)}")
        return dg.SensorResult(
            run_requests=requests.runs,
            skip_reason=None if requests.runs else requests.message or "Silver touched nothing new",
            cursor=json.dumps({"read": read, "pending": pending}),
        )

    return gold_refresh


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
