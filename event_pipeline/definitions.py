"""The whole graph: Bronze -> Silver -> Gold, and what runs it."""

import warnings

import dagster as dg

from event_pipeline.assets.bronze import arriving_asset, bronze_events, upload_check
from event_pipeline.assets.gold import gold_asset
from event_pipeline.assets.silver import silver_asset
from event_pipeline.contracts import EVENTS, GOLD, SILVER
from event_pipeline.executor import locking_executor
from event_pipeline.maintenance import maintenance_job, maintenance_schedule
from event_pipeline.partitions import DAILY, HOURLY
from event_pipeline.repair import repair_job
from event_pipeline.resources import resources
from event_pipeline.schedules import ingest_schedule
from event_pipeline.sensors import sensors
from event_pipeline.settings import Settings, get_settings

# Dagster is pinned, and what it calls beta (backfill policies) or preview (checks by partition) is
# tested here.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


def definitions(settings: Settings) -> dg.Definitions:
    """The graph for these settings."""
    times = {cadence: cadence.definition(settings.first_day) for cadence in (HOURLY, DAILY)}
    arriving = [contract for contract in SILVER if not contract.bronze.produced]
    is_produced = EVENTS.bronze.produced
    maintenance = maintenance_job(settings)
    return dg.Definitions(
        assets=[
            *([bronze_events(times[HOURLY], settings)] if is_produced else []),
            *(arriving_asset(contract, times[contract.cadence], settings) for contract in arriving),
            *(silver_asset(contract, times[contract.cadence], settings) for contract in SILVER),
            *(gold_asset(contract, times[contract.cadence], settings) for contract in GOLD),
        ],
        asset_checks=[upload_check(c) for c in SILVER if c.bronze.uploaded],
        sensors=sensors(settings),
        jobs=[repair_job(settings), maintenance],
        schedules=[
            *([ingest_schedule()] if is_produced else []),
            maintenance_schedule(maintenance),
        ],
        resources=resources(settings).by_key(),
        executor=locking_executor,
    )


defs = definitions(get_settings())
