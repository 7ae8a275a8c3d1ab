"""Bronze: events as they arrived, an object every five minutes."""

import dagster as dg

from event_pipeline.ingest.ingester import Ingester
from event_pipeline.lake.objects import Objects
from event_pipeline.settings import Settings

BRONZE_EVENTS = dg.AssetKey(["bronze", "events"])


def bronze_events(hours: dg.PartitionsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """The asset `bronze/events`, by arrival hour."""

    @dg.asset(
        key=BRONZE_EVENTS,
        partitions_def=hours,
        backfill_policy=dg.BackfillPolicy.multi_run(24),
        group_name="bronze",
        kinds={"json", "lambda"},
        description=(
            "Events as received: gzipped JSON Lines, one object a 5-minute slot, never changed. "
            "Materializing an hour makes the slots that are over and not there yet."
        ),
    )
    def bronze(
        context: dg.AssetExecutionContext, ingester: Ingester, objects: Objects
    ) -> dg.MaterializeResult[None]:
        for key in context.partition_keys:
            results = ingester.ingest_hour(key)
            listing = objects.hour(key)
            context.add_asset_metadata(
                {
                    "slots_written": sum(r["status"] == "written" for r in results),
                    "slots_there_already": sum(r["status"] != "written" for r in results),
                    "lines": sum(r["lines"] for r in results),
                    "objects": len(listing.objects),
                    "bytes": sum(o.bytes for o in listing.objects),
                    "foreign_objects": dg.MetadataValue.json(list(listing.foreign)),
                    "input_digest": listing.digest,
                },
                partition_key=key,
            )
        return dg.MaterializeResult()

    return bronze
