"""Of tables: what they hold, what is damaged, and the drops that are not complete."""

from collections.abc import Iterator
from functools import partial

from event_pipeline.contracts import GOLD, SILVER, TABLES, Contract
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
    """What the tables speak of and is lost."""
    section = Section("damaged", "Damaged in the lake", somebody)

    def find(contract: Contract) -> Iterator[Record]:
        for key, receipt in view.receipts(contract).items():
            if receipt is None:
                why = "its receipt is lost or unreadable"
                yield {"table": contract.table, "partition": key, "why": why}

    for contract in (*SILVER, *GOLD):
        section.add(contract.table, partial(find, contract))
    return section


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
