"""Schedules: on a laptop, what EventBridge does on AWS."""

import dagster as dg

from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline.ingest.handler import last_whole_slot
from event_pipeline.partitions import HOURLY


def ingest_schedule() -> dg.ScheduleDefinition:
    """Every five minutes, writes the slot that is just over.

    It is stopped until a person starts it: made-up events do not belong in a lake of real ones.
    """

    @dg.schedule(
        name="ingest_every_5_minutes",
        cron_schedule="*/5 * * * *",
        target=dg.AssetSelection.assets(BRONZE_EVENTS),
        execution_timezone="UTC",
        description="Generates the 5-minute slot that has just ended, in place of EventBridge.",
    )
    def ingest(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        slot = last_whole_slot(context.scheduled_execution_time)
        return dg.RunRequest(run_key=slot.isoformat(), partition_key=HOURLY.key(slot))

    return ingest
