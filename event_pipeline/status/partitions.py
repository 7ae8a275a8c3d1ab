"""Sections about partitions: which wait, and what to know about those that are built."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

from event_pipeline import trust
from event_pipeline.completeness import incomplete
from event_pipeline.contracts import (
    GOLD,
    SILVER,
    TABLES,
    Contract,
    GoldContract,
    MadeContract,
    SilverContract,
)
from event_pipeline.lake.objects import EMPTY
from event_pipeline.lake.receipts import SilverReceipt
from event_pipeline.outdated import outdated
from event_pipeline.status.section import Record, Section, always_urgent, never_urgent
from event_pipeline.status.view import View

CHANGED = "its objects have changed since"


def waiting(view: View) -> Section:
    """Partitions that the sensors, or sync, will build. Records: asset, partition, why."""
    section = Section("waiting", "Partitions that wait to be built")
    for contract in SILVER:
        section.add(contract.table, partial(_silver_waits, view, contract))
    for made in GOLD:
        section.add(made.table, partial(_gold_waits, view, made))
    return section


def _silver_waits(view: View, contract: SilverContract) -> Iterator[Record]:
    listings, live = view.inventory.of(contract), view.live(contract)
    for key in sorted({*listings, *live, *view.recorded(contract)}):
        if key < view.first:  # keys of hours begin with their day
            continue
        listing = listings.get(key, EMPTY)
        why = _why_silver_waits(view, contract, key, listing.digest)
        if why and not view.objects.refused(contract, listing):
            yield {"asset": contract.asset, "partition": key, "why": why}


def _why_silver_waits(view: View, contract: SilverContract, key: str, digest: str) -> str | None:
    recorded = view.recorded(contract).get(key, EMPTY.digest)
    quarantine = contract.quarantine
    held = {each: view.live(each).get(key) for each in (contract, quarantine)}
    if recorded != digest:
        live = held[contract]
        if live is None:
            return "never built"
        return "built, but not recorded" if live.digest == digest else CHANGED
    for each, live in held.items():
        is_lost = digest != EMPTY.digest if live is None else live.digest != digest
        if is_lost and key not in view.rolled_back(each):
            mismatch = "does not hold it" if live is None else "holds a build of another input"
            return f"recorded as built, but {each.table} {mismatch}"
    if held[contract] and view.receipts(contract)[key] is None:
        return "its receipt is lost or unreadable"
    return None


def _gold_waits(view: View, contract: GoldContract) -> Iterator[Record]:
    live, recorded = view.live(contract), view.recorded(contract)
    touched: dict[str, float] = {}
    for each in contract.inputs:
        for day, built_at in view.touched(each).items():
            touched[day] = max(touched.get(day, 0), built_at)
    first, today = view.first, view.now.date().isoformat()
    days = {day for day in touched if first <= day <= today}
    for day in sorted({*days, *(day for day in recorded if first <= day <= today)}):
        made = view.receipts(contract).get(day)
        if day in recorded and day not in view.rolled_back(contract):
            if day not in live:
                why = "recorded as built, but not in the lake"
            elif live[day].digest != recorded[day]:
                why = "recorded, but the lake holds a build of another input"
            elif made and touched.get(day, 0) > made.built_at:
                why = "Silver has changed since"
            else:
                continue
        elif day in days and day not in recorded and not _is_incomplete(view, contract, day):
            why = "never built"
        else:
            continue
        yield {"asset": contract.asset, "partition": day, "why": why}


def _is_incomplete(view: View, contract: GoldContract, day: str) -> bool:
    """Whether a drop is still awaited; a section of its own tells that."""
    return incomplete(contract, day, view.objects, view.lake) is not None


def _of_receipts(
    view: View,
    section: Section,
    find: Callable[[str, SilverReceipt], Iterator[Record]],
) -> Section:
    """Adds to a section what `find` gives for each Silver partition's receipt.

    Each record also has asset and partition.
    """

    def records(contract: SilverContract) -> Iterator[Record]:
        for key, receipt in view.receipts(contract).items():
            if receipt:
                for record in find(key, receipt):
                    yield {"asset": contract.asset, "partition": key, **record}

    for contract in SILVER:
        section.add(contract.table, partial(records, contract))
    return section


def refused(view: View) -> Section:
    """Partitions of which more was refused than the settings allow.

    Records: asset, partition, level, refused (share of lines), why, reasons.
    """

    def find(_: str, receipt: SilverReceipt) -> Iterator[Record]:
        assessment = trust.refused(receipt, view.settings)
        if assessment.level > trust.Level.PASS:
            yield {
                "level": assessment.level.name,
                "refused": round(trust.refused_share(receipt), 4),
                "why": assessment.why,
                "reasons": ", ".join(f"{k} {n:,}" for k, n in receipt.rejected.items()),
            }

    section = Section(
        "refused",
        "Partitions with many refused lines",
        lambda record: record["level"] == trust.Level.FAIL.name,
    )
    return _of_receipts(view, section, find)


def deviating(view: View) -> Section:
    """Objects that, as they are now, differ from their producers' manifests.

    Records: asset, partition, and the keys of `Deviation.as_record`.
    """
    section = Section("deviating", "Objects that differ from their manifests", always_urgent)

    def find(contract: SilverContract) -> Iterator[Record]:
        receipts = view.receipts(contract)
        for key, listing in view.inventory.of(contract).items():
            receipt = receipts.get(key)
            # Others were compared when they were built, and have not changed since.
            if receipt and (receipt.deviations or receipt.digest != listing.digest):
                for each in view.objects.deviations(listing):
                    yield {"asset": contract.asset, "partition": key, **each.as_record()}

    for contract in SILVER:
        section.add(contract.table, partial(find, contract))
    return section


def outside(view: View) -> Section:
    """Rows of dates outside Gold: before the first day, or yet to come.

    Records: asset, event_date, rows, partitions, one of them, why.
    """
    section = Section("outside", "Rows of dates outside Gold")

    def find(contract: SilverContract) -> Iterator[Record]:
        found: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for key, receipt in view.receipts(contract).items():
            days = (
                trust.outside(receipt, view.settings.first_day, view.now.date()) if receipt else {}
            )
            for day, rows in days.items():
                found[day].append((key, rows))
        for day, parts in sorted(found.items()):
            early = day < view.settings.first_day.isoformat()
            yield {
                "asset": contract.asset,
                "event_date": day,
                "rows": sum(rows for _, rows in parts),
                "partitions": len(parts),
                "one of them": parts[0][0],
                "why": "before the first day" if early else "yet to come",
            }

    for contract in SILVER:
        section.add(contract.table, partial(find, contract))
    return section


def stale(view: View) -> Section:
    """Partitions that were made by an older statement or contract than today's.

    Records: table, partitions (made so), of (all partitions), first, last.
    """
    title = "Partitions built by an older statement"
    section = Section("stale", title, always_urgent, is_advisory=True)

    def find(contract: MadeContract) -> Iterator[Record]:
        if old := outdated(view.lake, contract):
            yield {
                "table": contract.table,
                "partitions": len(old),
                "of": len(view.lake.folders(contract)),
                "first": old[0],
                "last": old[-1],
            }

    for contract in (*SILVER, *GOLD):
        section.add(contract.table, partial(find, contract))
    return section


def rolled_back(view: View) -> Section:
    """Partitions that stay as a person set them back, until their objects change.

    Records: table, partition, run.
    """
    section = Section("rolled_back", "Partitions that were rolled back", never_urgent)

    def find(contract: Contract) -> Iterator[Record]:
        for key, run in sorted(view.rolled_back(contract).items()):
            yield {"table": contract.table, "partition": key, "run": run or "not there"}

    for _, contract in sorted(TABLES.items()):
        section.add(contract.table, partial(find, contract))
    return section
