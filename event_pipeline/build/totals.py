"""Reconciliation: what a Gold partition's files add up to, beside what Silver's rows do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from event_pipeline.contracts import GoldContract, SilverContract, Total
from event_pipeline.engines import Querier
from event_pipeline.lake.receipts import SilverReceipt
from event_pipeline.lake.tables import Lake

# Value of a total's column `by` (None without one) -> the values of some totals.
Sums = dict[Any, tuple[Any, ...]]


@dataclass(frozen=True)
class Reconciled:
    """A promised total, with its value in Gold and in Silver. Without rows, a value is 0."""

    total: Total
    gold: Any
    silver: Any

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        equal: bool = self.gold == self.silver
        less: bool = self.gold <= self.silver
        return equal if self.total.exact else less


def reconcile(
    contract: GoldContract, day: str, files: Sequence[str], querier: Querier, lake: Lake
) -> dict[str, Reconciled]:
    """Each promised total of a day's new files, by name.

    A total `by` a column has an entry for each of the column's values.
    """
    found = {}
    names = sorted({c for t in contract.totals for c in (t.column, t.by) if c})
    gold = lake.read(contract, files, names)
    for (of, by), group in grouped(contract).items():
        # Whoever has roll-ups does not read all of Silver's rows, in checks neither.
        recorded = _sums_on_record(of, group, day, lake) if contract.roll_ups and not by else None
        silver_sums = recorded or sums_of_silver(of, by, group, day, querier)
        gold_sums = _sums_of_gold(gold, by, group)
        nothing = (0,) * len(group)
        for value in sorted({*silver_sums, *gold_sums}, key=str):
            pairs = zip(
                group, gold_sums.get(value, nothing), silver_sums.get(value, nothing), strict=True
            )
            for total, in_gold, in_silver in pairs:
                name = f"{total.column} {value}" if by else total.column
                found[name] = Reconciled(total, in_gold or 0, in_silver or 0)
    return found


def grouped(contract: GoldContract) -> dict[tuple[SilverContract, str], list[Total]]:
    """Totals that one query can tell, by (Silver table, the column `by`)."""
    groups: dict[tuple[SilverContract, str], list[Total]] = {}
    for total in contract.totals:
        groups.setdefault((total.of or contract.inputs[0], total.by), []).append(total)
    return groups


def sums_of_silver(
    of: SilverContract, by: str, totals: Sequence[Total], day: str, querier: Querier
) -> Sums:
    """The totals' aggregates of Silver's rows, as a query gives them."""
    aggregates = ", ".join(total.silver for total in totals)
    query = f"SELECT {by or 'NULL'}, {aggregates} FROM {of.table} WHERE {of.date} = DATE '{day}'"
    _, rows = querier.fetch(f"{query} GROUP BY {by}" if by else query, day)
    return {value: tuple(sums) for value, *sums in rows}


def _sums_on_record(
    of: SilverContract, totals: Sequence[Total], day: str, lake: Lake
) -> Sums | None:
    """The totals' aggregates of Silver's rows, added up from the receipts of its partitions.

    None if a receipt is lost, or does not have them all.
    """
    receipts = [lake.receipt_in(of, folder) for folder in lake.folders_of_day(of, day)]
    try:
        return {None: tuple(_added(receipts, day, total.silver) for total in totals)}
    except LookupError:
        return None


def _added(receipts: Iterable[SilverReceipt | None], day: str, aggregate: str) -> Decimal:
    """An aggregate of a day's rows, over partitions. Raises LookupError if one does not have it."""
    added = Decimal(0)
    for receipt in receipts:
        if receipt is None:
            raise LookupError("a receipt is lost")
        if day in receipt.event_dates:
            added += Decimal(receipt.sums[day][aggregate] or 0)
    return added


def _sums_of_gold(table: pa.Table, by: str, totals: Sequence[Total]) -> Sums:
    """The totals' sums over Gold rows."""
    sums = [(total.column, "sum") for total in totals]
    found = table.group_by([by] if by else []).aggregate(sums).to_pylist()
    return {
        row[by] if by else None: tuple(row[f"{total.column}_sum"] for total in totals)
        for row in found
    }
