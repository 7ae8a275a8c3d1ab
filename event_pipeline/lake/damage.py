"""Damage: parts of the lake's tables that are lost, unreadable, or not as they were written."""

from collections.abc import Mapping
from dataclasses import dataclass

from event_pipeline.contracts import TABLES, Contract
from event_pipeline.errors import DamagedError
from event_pipeline.lake.folder import CATALOG
from event_pipeline.lake.tables import Lake, Live

__all__ = ["CATALOG", "Damage", "damages"]


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong, and where: in a partition, in a table as such, or in the catalog.

    `partition` is empty for a table as such; `table` is CATALOG for the catalog.
    """

    table: str
    partition: str
    why: str

    def __str__(self) -> str:
        return f"{self.table} {self.partition}".rstrip() + f": {self.why}"


def damages(lake: Lake, *, deep: bool = False, since: str = "") -> list[Damage]:
    """All damage in the lake, sorted by table and partition.

    With `deep`, every data file is read. With `since` (a date), only partitions of this day and
    later are looked at. If the catalog is damaged, only that is returned.
    """
    if found := damages_of_catalog(lake):
        return found
    return [
        damage
        for _, contract in sorted(TABLES.items())
        for damage in damages_of_table(lake, contract, lake.live(contract, since=since), deep=deep)
    ]


def damages_of_catalog(lake: Lake) -> list[Damage]:
    """The catalog's damage, if any; nothing can be said of the tables until it is mended."""
    try:
        lake.check_catalog()
    except DamagedError as error:
        return [Damage(CATALOG, "", error.damage)]
    return []


def damages_of_table(
    lake: Lake, contract: Contract, live: Mapping[str, Live], *, deep: bool = False
) -> list[Damage]:
    """The damage of a table as such, then of the partitions in `live`."""
    name = contract.table
    found = [Damage(name, "", why)] if (why := lake.flaw(contract, deep=deep)) else []
    broken = lake.broken(contract, live, deep=deep)
    return found + [Damage(name, key, why) for key, why in sorted(broken.items())]
