"""Of tables: what they hold, what is damaged, and the drops that are not complete."""

from collections.abc import Iterator
from functools import partial

from event_pipeline.contracts import GOLD, TABLES, Contract
from event_pipeline.lake.damage import damages_of_catalog, damages_of_table
from event_pipeline.promotion import incomplete
from event_pipeline.status.section import Record, Section, somebody
from event_pipeline.status.view import View


def tables(view: View) -> Section:
    """The rows and partitions of each table."""
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
    """What the tables speak of and is lost, or is not what was written."""
    section = Section("damaged", "Damaged in the lake: event-pipeline repair", somebody)
    section.add("", lambda: map(vars, damages_of_catalog(view.lake)))
    for name in () if section.records else sorted(TABLES):
        section.add(name, partial(_damages, view, name))
    return section


def _damages(view: View, name: str) -> Iterator[Record]:
    return map(vars, damages_of_table(view.lake, name))


def incomplete_drops(view: View) -> Section:
    """Drops of which a file is missing or unusable, or a table not built."""
    section = Section("incomplete_drops", "Drops that are not complete")

    def find(contract: Contract) -> Iterator[Record]:
        for day in view.objects.days(contract.inputs[0]):
            if found := incomplete(contract, day.isoformat(), view.objects, view.lake):
                yield {"table": contract.table, "drop": day.isoformat(), "state": str(found)}

    for contract in GOLD:
        if contract.is_join:
            section.add(contract.table, partial(find, contract))
    return section
