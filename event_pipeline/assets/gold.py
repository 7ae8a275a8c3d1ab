"""Gold: the tables that analysts read, one row set an event date."""

from collections.abc import Iterator

import dagster as dg

from event_pipeline import report
from event_pipeline.assets.recording import record_builds
from event_pipeline.build import build_gold
from event_pipeline.contracts import EVENTS, Contract
from event_pipeline.engines import Querier
from event_pipeline.lake.tables import Lake


def gold_asset(contract: Contract, days: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """A Gold asset, by event date."""
    key = dg.AssetKey(contract.asset.split("/"))
    reconciles = dg.AssetCheckSpec(
        "reconciles_with_silver",
        asset=key,
        description="Totals equal Silver's, to the row and the cent; else no publish.",
    )

    @dg.multi_asset(
        name="__".join(key.path),
        specs=[
            dg.AssetSpec(
                key,
                # A day's events mostly arrive on that day; the sensor knows of the late ones.
                deps=[
                    dg.AssetDep(
                        EVENTS.asset.split("/"),
                        partition_mapping=dg.TimeWindowPartitionMapping(
                            allow_nonexistent_upstream_partitions=True
                        ),
                    )
                ],
                description=contract.description,
                group_name="gold",
                code_version=contract.version,
                skippable=True,
                kinds={"iceberg"},
                metadata={"dagster/column_schema": report.column_schema(contract)},
            )
        ],
        partitions_def=days,
        # Each day is on record when it is made; and the CLI's --partition-range asks for this.
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[reconciles],
    )
    def asset(
        context: dg.AssetExecutionContext, querier: Querier, lake: Lake
    ) -> Iterator[dg.AssetCheckResult]:
        yield from record_builds(
            context,
            build_gold(contract, context.partition_keys, querier=querier, lake=lake),
            {key: lambda built: report.gold_metadata(contract, built, lake)},
            reconciles,
        )

    return asset
