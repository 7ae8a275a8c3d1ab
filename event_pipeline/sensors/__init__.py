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
            "Finds new, late, overwritten and deleted Bronze objects, and requests one run for each"
            " partition that was built from other objects.",
            silver=_STREAMS,
        ),
        Stage(
            "drops",
            "Silver  tables of drops",
            "Finds new, replaced and deleted files of drops, checks each file, and requests one run"
            " for each table of a drop that has valid files and was built from other ones.",
            silver=tuple(contract for contract in SILVER if contract.bronze.uploaded),
        ),
        Stage(
            "gold_refresh",
            "Gold    days",
            "Requests the Gold tables of each event date that a build of Silver touched.",
            gold=tuple(contract for contract in GOLD if not contract.awaited),
        ),
        Stage(
            "promotion",
            "Gold    complete drops",
            "Requests the tables that join drops, such as user_activity, once all their inputs of a"
            " day are valid and built, and again only when one of the inputs changed.",
            gold=tuple(contract for contract in GOLD if contract.awaited),
        ),
    )
    if stage.silver or stage.gold
)


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """All sensors: one for each stage, and one for lost runs."""
    return [*(stage.sensor(settings) for stage in STAGES), lost_sensor(_STREAMS, settings)]
