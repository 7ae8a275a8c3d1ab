"""Sensors: what arrived in Bronze goes to Silver, what Silver touched goes to Gold."""

from dataclasses import dataclass

import dagster as dg

from event_pipeline.contracts import GOLD, SILVER, GoldContract, SilverContract
from event_pipeline.sensors.arrivals import arrival_sensor
from event_pipeline.sensors.gold import gold_sensor
from event_pipeline.sensors.lost import lost_sensor
from event_pipeline.settings import Settings


@dataclass(frozen=True)
class Stage:
    """One sensor and the tables that it asks for, all of Silver or all of Gold.

    `title` says in short what it makes, and `description` in full.
    """

    name: str
    title: str
    description: str
    silver: tuple[SilverContract, ...] = ()
    gold: tuple[GoldContract, ...] = ()

    def sensor(self, settings: Settings) -> dg.SensorDefinition:
        """The sensor that asks for the stage's runs."""
        if self.silver:
            return arrival_sensor(self.name, self.silver, settings, self.description)
        return gold_sensor(self.name, self.gold, settings, self.description)


_STREAMS = tuple(contract for contract in SILVER if not contract.bronze.uploaded)
# In such an order that what one stage makes is input of later ones.
STAGES = tuple(
    stage
    for stage in (
        Stage(
            "arrivals",
            "Silver  arrival hours",
            "New, late, overwritten and deleted Bronze objects: asks once for each partition whose"
            " objects are not those that it was built from.",
            silver=_STREAMS,
        ),
        Stage(
            "drops",
            "Silver  tables of drops",
            "New, replaced and deleted files of drops: judges each on its own, and asks once for"
            " each table of a drop whose files are valid and not those it was built from.",
            silver=tuple(contract for contract in SILVER if contract.bronze.uploaded),
        ),
        Stage(
            "gold_refresh",
            "Gold    days",
            "Asks for the Gold tables of each date that a build of Silver touched.",
            gold=tuple(contract for contract in GOLD if not contract.awaited),
        ),
        Stage(
            "promotion",
            "Gold    complete drops",
            "Asks for the tables that join drops, such as user_activity, when all that they need"
            " of a day is there, valid and built, and again only when one of them changed.",
            gold=tuple(contract for contract in GOLD if contract.awaited),
        ),
    )
    if stage.silver or stage.gold
)


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """All sensors: one for each stage, and one for lost runs."""
    return [*(stage.sensor(settings) for stage in STAGES), lost_sensor(_STREAMS, settings)]
