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
    """A part of the work: a sensor by its name, what it makes in short and in full, and of what.

    There may be any number of tables, of either layer but not of both.
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
# In the order in which one's runs are another's input.
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
    """All: one for each stage, and one for runs that died."""
    return [*(stage.sensor(settings) for stage in STAGES), lost_sensor(_STREAMS, settings)]
