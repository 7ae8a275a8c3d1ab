"""The whole graph: Bronze -> Silver -> Gold, and what runs it."""

import warnings

import dagster as dg

from event_pipeline.assets.bronze import bronze_events
from event_pipeline.assets.gold import gold_asset
from event_pipeline.assets.silver import silver_asset
from event_pipeline.contracts import GOLD, SILVER
from event_pipeline.partitions import daily, hourly
from event_pipeline.resources import resources
from event_pipeline.schedules import ingest_schedule
from event_pipeline.sensors import arrival_sensor, gold_sensor
from event_pipeline.settings import Settings, get_settings

# Dagster is pinned, and what it calls beta (backfill policies) is tested here.
warnings.filterwarnings("ignore", category=dg.BetaWarning)


def definitions(settings: Settings) -> dg.Definitions:
    """The graph for these settings."""
    hours, days = hourly(settings.first_day), daily(settings.first_day)
    return dg.Definitions(
        assets=[
            bronze_events(hours),
            *(silver_asset(contract, hours, settings) for contract in SILVER),
            *(gold_asset(contract, days) for contract in GOLD),
        ],
        sensors=[arrival_sensor(settings), gold_sensor(settings)],
        schedules=[ingest_schedule()],
        resources=resources(settings).by_key(),
        # Steps are short and the engine uses every core: a process for each would cost more.
        executor=dg.in_process_executor,
    )


defs = definitions(get_settings())
