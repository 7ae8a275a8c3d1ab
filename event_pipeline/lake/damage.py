"""Damage: what the lake's tables speak of and is lost, or is not what was written."""

from collections.abc import Mapping
from dataclasses import dataclass

from event_pipeline.contracts import TABLES, Contract
from event_pipeline.errors import DamagedError
from event_pipeline.lake.folder import CATALOG
from event_pipeline.lake.tables import Lake, Live

__all__ = ["CATALOG", "Damage", "damages"]


@dataclass(frozen=True)
class Damage:
    """Where something is wrong, and what: in a partition, in a table as such, or the catalog."""

    table: str
    partition: str
    why: str

    def __str__(self) -> str:
        return f"{self.table} {self.partition}".rstrip() + f": {self.why}"


def damages(lake: Lake, *, deep: bool = False) -> list[Damage]:
    """What is damaged in the lake's tables, in order; with `deep` each file is read."""
    if found := damages_of_catalog(lake):
        return found
    return [
        damage
        for _, contract in sorted(TABLES.items())
        for damage in damages_of_table(lake, contract, lake.live(contract), deep=deep)
    ]


def damages_of_catalog(lake: Lake) -> list[Damage]:
    """The catalog if it is damaged; of the tables nothing can be told then."""
    try:
        lake.look()
    except DamagedError as error:
        return [Damage(CATALOG, "", error.what)]
    return []


def damages_of_table(
    lake: Lake, contract: Contract, live: Mapping[str, Live], *, deep: bool = False
) -> list[Damage]:
    """What is damaged in a table, as such and by partition; `live` are those that it has."""
    name = contract.table
    found = [Damage(name, "", why)] if (why := lake.flaw(contract, deep=deep)) else []
    broken = lake.broken(live, deep=deep)
    return found + [Damage(name, key, why) for key, why in sorted(broken.items())]
