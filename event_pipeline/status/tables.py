"""Sections about tables: what they hold, what is damaged, and drops that are not complete."""

from collections.abc import Iterator
from functools import partial

from event_pipeline.completeness import incomplete
from event_pipeline.contracts import GOLD, TABLES, Contract, GoldContract
from event_pipeline.lake.damage import damages_of_catalog, damages_of_table
from event_pipeline.status.section import Record, Section, always_urgent
from event_pipeline.status.view import View


def tables(view: View) -> Section:
    """The rows and partitions of each table. Records: table, rows, partitions, last (key)."""
    section = Section("tables", "Tables")

    def find(name: str, contract: Contract) -> Iterator[Record]:
        parts = view.live(contract)
        yield {
            "table": name,
            "rows": sum(part.rows for part in parts.values()),
            "partitions": len(parts),
            "last": max(parts, default=""),
        }

    for name, contract in sorted(TABLES.items()):
        section.add(name, partial(find, name, contract))
    return section


def damaged(view: View) -> Section:
    """What is lost in the tables, or not as it was written. Records: table, partition, why."""
    section = Section(
        "damaged",
        "Damaged parts of the lake; to rebuild them: event-pipeline repair",
        always_urgent,
    )
    section.add("", lambda: map(vars, damages_of_catalog(view.lake)))
    for name, contract in () if section.records else sorted(TABLES.items()):
        section.add(name, partial(_damages, view, contract))
    return section


def _damages(view: View, contract: Contract) -> Iterator[Record]:
    return map(vars, damages_of_table(view.lake, contract, view.live(contract)))


def incomplete_drops(view: View) -> Section:
    """Drops with a file that is missing or unusable, or a table that is not built.

    Records: table, drop (day), state.
    """
    section = Section("incomplete_drops", "Drops that are not complete")

    def find(contract: GoldContract) -> Iterator[Record]:
        since = view.since
        dropped = {day for each in contract.awaited for day in view.objects.days(each, since)}
        others = (each for each in contract.inputs if each not in contract.awaited)
        touched = {day for each in others for day in view.touched(each) if day >= view.first}
        for day in sorted({*(day.isoformat() for day in dropped), *touched}):
            if found := incomplete(contract, day, view.objects, view.lake):
                yield {"table": contract.table, "drop": day, "state": str(found)}

    for contract in GOLD:
        if contract.awaited:
            section.add(contract.table, partial(find, contract))
    return section
