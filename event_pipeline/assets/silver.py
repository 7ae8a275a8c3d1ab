"""Silver and quarantine: each line of Bronze is judged once and counted in the ledger."""

from collections.abc import Iterator

import dagster as dg

from event_pipeline import report
from event_pipeline.assets.keys import asset_key, bronze_key
from event_pipeline.assets.partition_checks import check_specs, evaluations
from event_pipeline.assets.recording import record_builds
from event_pipeline.assets.specs import table_spec
from event_pipeline.build import build_silver
from event_pipeline.contracts import SilverContract
from event_pipeline.engines import Transformer
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.outdated import statement_result, statement_spec
from event_pipeline.recorded import recorded_versions
from event_pipeline.settings import Settings

# How many partitions one request to the engine holds.
BATCH = 24


def silver_asset(
    contract: SilverContract, partitions: dg.PartitionsDefinition, settings: Settings
) -> dg.AssetsDefinition:
    """A Silver asset and its quarantine, with the same partitions as what arrives."""
    silver, quarantine = asset_key(contract), asset_key(contract.quarantine)
    balances = dg.AssetCheckSpec(
        "ledger_balances",
        asset=silver,
        description=(
            "Every line is a row, a duplicate or quarantined; otherwise nothing is published."
        ),
    )

    known = dg.AssetCheckSpec(
        "fields_are_known",
        asset=silver,
        description=(
            "Lines have only the contract's fields; others are listed with their share of lines."
        ),
    )

    @dg.multi_asset(
        name="__".join(silver.path),
        specs=[
            table_spec(table, contract, [bronze_key(contract)], settings)
            for table in (contract, contract.quarantine)
        ],
        partitions_def=partitions,
        # Each partition is on record as soon as it is made; and the CLI's --partition-range needs
        # this.
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[
            balances,
            known,
            statement_spec(contract),
            *check_specs(contract, partitions, settings),
        ],
        # Either may be selected alone, as by the CLI's --select; both are made, in one reading.
        can_subset=True,
    )
    def assets(
        context: dg.AssetExecutionContext, transformer: Transformer, lake: Lake, objects: Objects
    ) -> Iterator[dg.AssetCheckResult | dg.Output[None]]:
        keys = context.partition_keys
        recorded = recorded_versions(context.instance, silver, keys)
        builds = (
            built
            # A batch at a time, so that a listing still holds when its partition's turn comes.
            for start in range(0, len(keys), BATCH)
            for built in build_silver(
                contract,
                keys[start : start + BATCH],
                objects=objects,
                transformer=transformer,
                lake=lake,
                recorded=recorded,
                redelivery_hours=settings.late_window_hours,
            )
        )
        yield from record_builds(
            context,
            builds,
            {
                silver: lambda built: report.silver_metadata(contract, built, lake, settings),
                quarantine: lambda built: report.quarantine_metadata(contract, built, lake),
            },
            balances,
            [(known, report.unknown_fields)],
            evaluate=lambda built: evaluations(contract, built, objects, lake, settings),
        )
        yield from statement_result(context, lake, contract)

    return assets
