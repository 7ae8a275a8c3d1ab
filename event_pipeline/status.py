"""What is where: Bronze beside what was built from it, the tables, and runs that failed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from event_pipeline.contracts import EVENTS, TABLES
from event_pipeline.home import open_instance
from event_pipeline.lake.objects import EMPTY, Listing, Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.settings import Settings

SHOWN = 20


def status_records(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Tables to print, by title."""
    objects, lake = Objects(root=str(settings.lake)), Lake(root=str(settings.lake))
    listings = _listings(settings, objects)
    live = lake.live(EVENTS)
    receipts = {key: lake.receipt(found) for key, found in live.items()}
    waiting = [
        {"hour": key, "objects": len(listings.get(key, EMPTY).objects), "why": why}
        for key in sorted({*listings, *receipts})
        if (why := _why_waiting(listings.get(key, EMPTY), receipts.get(key)))
    ]
    foreign = objects.strays()
    foreign += [key for listing in listings.values() for key in listing.foreign]
    unreadable = [
        {"hour": key, "objects": n}
        for key, receipt in receipts.items()
        if (n := receipt["rejected"].get("object_unreadable"))
    ]
    return {
        f"Lake {settings.lake}, target {settings.target}, from {settings.first_day}": [
            {"": "Bronze hours", "count": len(listings)},
            {"": "Bronze objects", "count": sum(len(each.objects) for each in listings.values())},
            {"": "Silver hours built", "count": len(receipts)},
            {"": "Hours that wait", "count": len(waiting)},
            {"": "Foreign objects, not read", "count": len(foreign)},
        ],
        "Tables": [
            {
                "table": name,
                "rows": sum(part.rows for part in parts.values()),
                "partitions": len(parts),
                "last": max(parts, default=""),
            }
            for name, contract in sorted(TABLES.items())
            for parts in [lake.live(contract)]
        ],
        **_section("Hours that wait to be built", waiting),
        **_section("Objects that cannot be read", unreadable),
        **_section("Foreign objects: their names are no event object's", _keys(foreign)),
        **_section("Runs that failed", _failed_runs(settings)),
    }


def _section(title: str, records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    more = f" (the first {SHOWN} of {len(records)})" if len(records) > SHOWN else ""
    return {title + more: records[:SHOWN]} if records else {}


def _keys(keys: list[str]) -> list[dict[str, Any]]:
    return [{"object": key} for key in sorted(keys)]


def _listings(settings: Settings, objects: Objects) -> dict[str, Listing]:
    last = (datetime.now(UTC) + timedelta(hours=1)).date()
    days = (settings.first_day + timedelta(n) for n in range((last - settings.first_day).days + 1))
    return {key: found for day in days for key, found in objects.hours(day).items()}


def _why_waiting(listing: Listing, receipt: dict[str, Any] | None) -> str | None:
    if receipt is None:
        return "never built" if listing.objects else None
    return None if receipt["digest"] == listing.digest else "its objects changed since"


def _failed_runs(settings: Settings) -> list[dict[str, Any]]:
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])
    runs = open_instance(settings).get_runs(filters=filters, limit=SHOWN)
    return [
        {
            "run": run.run_id[:8],
            "partition": run.tags.get("dagster/partition", ""),
            "assets": ", ".join(sorted(k.to_user_string() for k in run.asset_selection or ())),
        }
        for run in runs
    ]
