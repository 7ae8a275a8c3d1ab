"""Silver and quarantine: each line of Bronze judged once, and the ledger of it."""

from collections.abc import Iterator

import dagster as dg

from event_pipeline import report
from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline.automation import recorded_versions
from event_pipeline.build import build_silver
from event_pipeline.contracts import Contract
from event_pipeline.engines import Transformer
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.settings import Settings

LEDGER = "ledger_balances"


def silver_asset(
    contract: Contract, hours: dg.PartitionsDefinition, settings: Settings
) -> dg.AssetsDefinition:
    """A Silver asset and its quarantine, by arrival hour."""
    silver = dg.AssetKey(contract.asset.split("/"))
    quarantine = dg.AssetKey(contract.quarantine().asset.split("/"))

    def spec(key: dg.AssetKey, made: Contract) -> dg.AssetSpec:
        # Skippable: each partition is recorded by itself, with its own numbers, the moment that
        # it is published; so hours that succeed are on record whatever becomes of the others.
        return dg.AssetSpec(
            key,
            deps=[BRONZE_EVENTS],
            description=made.description,
            group_name=key.path[0],
            code_version=contract.version,
            skippable=True,
            kinds={"iceberg"},
            metadata={"dagster/column_schema": report.column_schema(made)},
        )

    @dg.multi_asset(
        name="__".join(silver.path),
        specs=[spec(silver, contract), spec(quarantine, contract.quarantine())],
        partitions_def=hours,
        backfill_policy=dg.BackfillPolicy.multi_run(24),
        check_specs=[
            dg.AssetCheckSpec(
                LEDGER,
                asset=silver,
                description="Every line is a row, a duplicate or quarantined; else no publish.",
            )
        ],
    )
    def assets(
        context: dg.AssetExecutionContext, transformer: Transformer, lake: Lake, objects: Objects
    ) -> Iterator[dg.AssetCheckResult]:
        keys = context.partition_keys
        failures: dict[str, str] = {}
        for built in build_silver(
            contract,
            keys,
            objects=objects,
            transformer=transformer,
            lake=lake,
            recorded=recorded_versions(context.instance, silver, keys),
            redelivery_hours=settings.late_window_hours,
        ):
            context.log.info(f"{built.key}: {built.status} {built.error or ''}")
            if built.error:
                failures[built.key] = built.error
                continue
            tags = {"dagster/data_version": built.receipt["digest"]}
            for key, metadata in (
                (silver, report.silver_metadata(contract, built, lake)),
                (quarantine, report.quarantine_metadata(contract, built, lake)),
            ):
                context.log_event(
                    dg.AssetMaterialization(key, None, metadata, partition=built.key, tags=tags)
                )
        yield dg.AssetCheckResult(
            check_name=LEDGER,
            asset_key=silver,
            passed=not failures,
            metadata={"partitions": len(keys), "failures": dg.MetadataValue.json(failures)},
        )
        if failures:
            raise dg.Failure(
                "; ".join(f"{key}: {error}" for key, error in failures.items()),
                metadata={"failures": dg.MetadataValue.json(failures)},
                allow_retries=False,
            )

    return assets
