"""Gold: the tables that analysts read, one row set an event date."""

from collections.abc import Iterator

import dagster as dg

from event_pipeline import report
from event_pipeline.build import build_gold
from event_pipeline.contracts import EVENTS, Contract
from event_pipeline.engines import Querier
from event_pipeline.lake.tables import Lake

RECONCILES = "reconciles_with_silver"


def gold_asset(contract: Contract, days: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """A Gold asset, by event date."""
    key = dg.AssetKey(contract.asset.split("/"))

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
        backfill_policy=dg.BackfillPolicy.multi_run(31),
        check_specs=[
            dg.AssetCheckSpec(
                RECONCILES,
                asset=key,
                description="Totals equal Silver's, to the row and the cent; else no publish.",
            )
        ],
    )
    def asset(
        context: dg.AssetExecutionContext, querier: Querier, lake: Lake
    ) -> Iterator[dg.AssetCheckResult]:
        failures: dict[str, str] = {}
        for built in build_gold(contract, context.partition_keys, querier=querier, lake=lake):
            context.log.info(f"{built.key}: {built.status} {built.error or ''}")
            if built.error:
                failures[built.key] = built.error
                continue
            context.log_event(
                dg.AssetMaterialization(
                    key,
                    None,
                    report.gold_metadata(contract, built, lake),
                    partition=built.key,
                    tags={"dagster/data_version": built.receipt["digest"]},
                )
            )
        yield dg.AssetCheckResult(
            check_name=RECONCILES,
            passed=not failures,
            metadata={"failures": dg.MetadataValue.json(failures)},
        )
        if failures:
            raise dg.Failure(
                "; ".join(f"{day}: {error}" for day, error in failures.items()),
                allow_retries=False,
            )

    return asset
