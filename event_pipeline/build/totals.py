"""Reconciliation: what a Gold partition's files add up to, beside what Silver's rows do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from event_pipeline.contracts import GoldContract, SilverContract, Total
from event_pipeline.engines import Querier
from event_pipeline.lake.tables import Lake


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
        silver_sums = sums_of_silver(of, by, group, day, querier)
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
) -> dict[Any, tuple[Any, ...]]:
    """Value of the column `by` (None without one) -> the totals' aggregates of Silver."""
    aggregates = ", ".join(total.silver for total in totals)
    query = f"SELECT {by or 'NULL'}, {aggregates} FROM {of.table} WHERE {of.date} = DATE '{day}'"
    _, rows = querier.fetch(f"{query} GROUP BY {by}" if by else query, day)
    return {value: tuple(sums) for value, *sums in rows}


def _sums_of_gold(table: pa.Table, by: str, totals: Sequence[Total]) -> dict[Any, tuple[Any, ...]]:
    """Value of the column `by` (None without one) -> the totals' sums over Gold rows."""
    sums = [(total.column, "sum") for total in totals]
    found = table.group_by([by] if by else []).aggregate(sums).to_pylist()
    return {
        row[by] if by else None: tuple(row[f"{total.column}_sum"] for total in totals)
        for row in found
    }
