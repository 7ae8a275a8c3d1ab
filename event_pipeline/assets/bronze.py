"""Bronze: events as they arrived, an object every five minutes."""

from collections.abc import Iterator

import dagster as dg

from event_pipeline import report
from event_pipeline.automation import DATA_VERSION
from event_pipeline.contracts import EVENTS
from event_pipeline.ingest.ingester import Ingester
from event_pipeline.lake.objects import Objects

BRONZE_EVENTS = dg.AssetKey(["bronze", "events"])


def bronze_events(hours: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset `bronze/events`, by arrival hour."""

    @dg.multi_asset(
        name="bronze__events",
        specs=[
            dg.AssetSpec(
                BRONZE_EVENTS,
                description=(
                    "Events as received: gzipped JSON Lines, one object a 5-minute slot, never"
                    " changed. Materializing an hour makes the slots that are over and not there"
                    " yet."
                ),
                group_name="bronze",
                # Another contract asks for other fields of a line.
                code_version=EVENTS.version,
                skippable=True,
                kinds={"json", "lambda"},
                metadata={"dagster/column_schema": report.source_schema(EVENTS)},
            )
        ],
        partitions_def=hours,
        # Each hour is on record when it is made; and the CLI's --partition-range asks for this.
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def bronze(
        context: dg.AssetExecutionContext, ingester: Ingester, objects: Objects
    ) -> Iterator[dg.AssetCheckResult]:
        for key in context.partition_keys:
            results = ingester.ingest_hour(key)
            listing = objects.hour(key)
            context.log_event(
                dg.AssetMaterialization(
                    BRONZE_EVENTS,
                    partition=key,
                    metadata={
                        "slots_written": sum(r["status"] == "written" for r in results),
                        "slots_there_already": sum(r["status"] != "written" for r in results),
                        "lines": sum(r["lines"] for r in results),
                        **report.listing_metadata(listing),
                    },
                    # As the arrival sensor reports it, which then has nothing to add.
                    tags={DATA_VERSION: listing.digest},
                )
            )

        # Each hour is on record already; without a generator Dagster would add one for all.
        yield from ()

    return bronze
