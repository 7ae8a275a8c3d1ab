"""What is where: Bronze beside what was built from it, the tables, and runs that failed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from event_pipeline.contracts import GOLD, SILVER, TABLES, Contract
from event_pipeline.home import open_instance
from event_pipeline.lake.objects import EMPTY, Listing, Objects, bronze_of
from event_pipeline.lake.tables import Lake, Live
from event_pipeline.promotion import incomplete
from event_pipeline.resources import lake_of
from event_pipeline.settings import Settings

SHOWN = 20


def status_records(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Tables to print, by title."""
    objects, lake = Objects(root=settings.root), lake_of(settings)
    waiting: list[dict[str, Any]] = []
    foreign: set[str] = set()
    unusable: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    for contract in SILVER:
        listings = _listings(settings, contract, objects)
        live = lake.live(contract)
        receipts = {key: lake.receipt(found) for key, found in live.items()}
        foreign.update(objects.strays(contract), *(found.foreign for found in listings.values()))
        counts.append(
            {
                "from Bronze": bronze_of(contract).asset,
                "partitions": len(listings),
                "objects": sum(len(found.objects) for found in listings.values()),
                "built": len(receipts),
            }
        )
        for key in sorted({*listings, *receipts}):
            listing = listings.get(key, EMPTY)
            receipt = receipts.get(key)
            refused = objects.refused(contract, listing)
            unusable += [{"object": name, "why": why} for name, why in sorted(refused.items())]
            unusable += _unreadable(key, receipt)
            if not refused and (why := _why_waiting(listing, live.get(key), receipt)):
                waiting.append({"asset": contract.asset, "partition": key, "why": why})
    return {
        f"Lake {settings.root}, target {settings.target}, from {settings.first_day}": counts,
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
        **_section("Partitions that wait to be built", waiting),
        **_section("Drops that are not complete", _incomplete_drops(objects, lake)),
        **_section("Objects that cannot be used", unusable),
        **_section(
            "Foreign objects: their names are no dataset's",
            [{"object": key} for key in sorted(foreign)],
        ),
        **_section("Runs that failed", _failed_runs(settings)),
    }


def _unreadable(key: str, receipt: dict[str, Any] | None) -> list[dict[str, Any]]:
    count = receipt["rejected"].get("object_unreadable") if receipt else None
    return [{"object": f"{count} of {key}", "why": "in quarantine"}] if count else []


def _incomplete_drops(objects: Objects, lake: Lake) -> list[dict[str, Any]]:
    return [
        {"table": contract.table, "drop": day.isoformat(), "state": str(found)}
        for contract in GOLD
        if contract.is_join
        for day in objects.days(contract.inputs[0])
        if (found := incomplete(contract, day.isoformat(), objects, lake))
    ]


def _section(title: str, records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    more = f" (the first {SHOWN} of {len(records)})" if len(records) > SHOWN else ""
    return {title + more: records[:SHOWN]} if records else {}


def _listings(settings: Settings, contract: Contract, objects: Objects) -> dict[str, Listing]:
    last = (datetime.now(UTC) + timedelta(hours=1)).date()
    days = (settings.first_day + timedelta(n) for n in range((last - settings.first_day).days + 1))
    return {key: found for day in days for key, found in objects.day(contract, day).items()}


def _why_waiting(listing: Listing, live: Live | None, receipt: dict[str, Any] | None) -> str | None:
    if live is None:
        return "never built" if listing.objects else None
    if receipt is None:
        return "its receipt is lost or unreadable"
    return None if live.digest == listing.digest else "its objects changed since"


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
