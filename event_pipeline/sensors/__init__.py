"""Sensors: what arrived in Bronze goes to Silver, what Silver touched goes to Gold."""

import dagster as dg

from event_pipeline.contracts import GOLD, SILVER
from event_pipeline.lake.objects import bronze_of
from event_pipeline.sensors.arrivals import arrival_sensor
from event_pipeline.sensors.gold import gold_sensor
from event_pipeline.sensors.lost import lost_sensor
from event_pipeline.settings import Settings


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """All: two for what arrives, two for the Gold that is made of it, one for runs that died."""
    streams = [c for c in SILVER if not bronze_of(c).uploaded]
    uploads = [c for c in SILVER if bronze_of(c).uploaded]
    return [
        arrival_sensor(
            "arrivals",
            streams,
            settings,
            "New, late, overwritten and deleted Bronze objects: asks once for each hour whose "
            "objects are not those that it was built from.",
        ),
        arrival_sensor(
            "drops",
            uploads,
            settings,
            "New, replaced and deleted files of commerce drops: judges each on its own, and asks "
            "once for each table of a drop whose files are valid and not those it was built from.",
        ),
        gold_sensor(
            "gold_refresh",
            [c for c in GOLD if not c.is_join],
            settings,
            "Asks for the Gold tables of each event date that a Silver build touched.",
        ),
        gold_sensor(
            "promotion",
            [c for c in GOLD if c.is_join],
            settings,
            "Asks for user_activity of a drop when its three tables are there, valid and built, "
            "and again only when one of them changed.",
        ),
        lost_sensor(streams, settings),
    ]
