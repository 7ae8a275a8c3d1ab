"""Gold: the tables that analysts read, one row set a day."""

from collections.abc import Iterator

import dagster as dg

from event_pipeline import report
from event_pipeline.assets.keys import asset_key
from event_pipeline.assets.recording import record_builds
from event_pipeline.assets.specs import table_spec
from event_pipeline.build import build_gold
from event_pipeline.contracts import GoldContract
from event_pipeline.engines import Querier, Transformer
from event_pipeline.lake.tables import Lake
from event_pipeline.outdated import statement_result, statement_spec
from event_pipeline.settings import Settings


def gold_asset(
    contract: GoldContract, days: dg.PartitionsDefinition, settings: Settings
) -> dg.AssetsDefinition:
    """A Gold asset, by day."""
    key = asset_key(contract)
    reconciles = dg.AssetCheckSpec(
        "reconciles_with_silver",
        asset=key,
        description=(
            "Totals equal Silver's to the row and the cent; otherwise nothing is published."
        ),
    )

    @dg.multi_asset(
        name="__".join(key.path),
        specs=[
            table_spec(
                contract,
                contract,
                # A day's events mostly arrive on that day; the sensor knows of the late ones.
                [
                    dg.AssetDep(
                        asset_key(source),
                        partition_mapping=dg.TimeWindowPartitionMapping(
                            allow_nonexistent_upstream_partitions=True
                        ),
                    )
                    for source in contract.inputs
                ],
                settings,
            )
        ],
        partitions_def=days,
        # Each day is on record as soon as it is made; and the CLI's --partition-range needs this.
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[reconciles, statement_spec(contract)],
    )
    def asset(
        context: dg.AssetExecutionContext, transformer: Transformer, querier: Querier, lake: Lake
    ) -> Iterator[dg.AssetCheckResult | dg.Output[None]]:
        keys = context.partition_keys
        yield from record_builds(
            context,
            build_gold(contract, keys, transformer=transformer, querier=querier, lake=lake),
            {key: lambda built: report.gold_metadata(contract, built, lake, settings)},
            reconciles,
        )
        yield from statement_result(context, lake, contract)

    return asset
