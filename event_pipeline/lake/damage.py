"""Damage: what the lake's tables speak of and is lost, or is not what was written."""

from dataclasses import dataclass

from event_pipeline.contracts import TABLES
from event_pipeline.errors import DamagedError
from event_pipeline.lake.folder import CATALOG
from event_pipeline.lake.tables import Lake

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
    return [d for name in sorted(TABLES) for d in damages_of_table(lake, name, deep=deep)]


def damages_of_catalog(lake: Lake) -> list[Damage]:
    """The catalog if it is damaged; of the tables nothing can be told then."""
    try:
        lake.look()
    except DamagedError as error:
        return [Damage(CATALOG, "", error.what)]
    return []


def damages_of_table(lake: Lake, name: str, *, deep: bool = False) -> list[Damage]:
    """What is damaged in a table, as such and by partition."""
    contract = TABLES[name]
    found = [Damage(name, "", why)] if (why := lake.flaw(contract, deep=deep)) else []
    broken = lake.broken(lake.live(contract), deep=deep)
    return found + [Damage(name, key, why) for key, why in sorted(broken.items())]
