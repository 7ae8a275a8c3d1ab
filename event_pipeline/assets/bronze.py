"""Bronze: what arrived, as it arrived. Events are asked for; commerce files are uploaded."""

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from event_pipeline import report
from event_pipeline.assets.keys import bronze_key
from event_pipeline.assets.recording import outputs
from event_pipeline.assets.specs import bronze_spec
from event_pipeline.contracts import EVENTS, SilverContract
from event_pipeline.ingest.ingester import Ingester
from event_pipeline.lake.objects import Listing, Objects
from event_pipeline.lake.uploads import in_one_line
from event_pipeline.settings import Settings
from event_pipeline.tags import DATA_VERSION

FILES_VALID = "files_are_valid"


BRONZE_EVENTS = bronze_key(EVENTS)


def bronze_events(hours: dg.PartitionsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """The asset `bronze/events`, by arrival hour."""

    @dg.multi_asset(
        name="bronze__events",
        specs=[
            bronze_spec(
                EVENTS,
                "Events as received: gzipped JSON Lines, one object per 5-minute slot, never"
                " changed. Materializing an hour writes those of its slots that are over and still"
                " missing.",
                settings,
                is_produced=True,
            )
        ],
        partitions_def=hours,
        # Each hour is on record as soon as it is made; and the CLI's --partition-range needs this.
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def bronze(
        context: dg.AssetExecutionContext, ingester: Ingester, objects: Objects
    ) -> Iterator[dg.Output[None]]:
        for key in context.partition_keys:
            results = ingester.ingest_hour(key)
            listing = objects.partition(EVENTS, key)
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
                    # The arrival sensor would report the same version, so it has nothing to add.
                    tags={DATA_VERSION: listing.version},
                )
            )
        yield from outputs(context)

    return bronze


def arriving_asset(
    contract: SilverContract, partitions: dg.PartitionsDefinition, settings: Settings
) -> dg.AssetSpec:
    """A Bronze asset whose objects come from outside; the arrival sensor reports them."""
    called = f", named like `{contract.bronze.expected}`" if contract.bronze.expected else ""
    description = (
        f"Objects as they arrive at `{contract.bronze.prefix}{contract.layout.template}`{called};"
        " the pipeline never changes them."
    )
    return bronze_spec(contract, description, settings).replace_attributes(
        partitions_def=partitions
    )


def upload_check(contract: SilverContract) -> dg.AssetChecksDefinition:
    """The check that judges all of a dataset's files, each on its own.

    The arrival sensor judges what changed by itself; this is for a person who asks.
    """

    @dg.asset_check(
        asset=bronze_key(contract),
        name=FILES_VALID,
        description="Each file has a known name, is complete, and holds JSON records as text.",
    )
    def files_are_valid(objects: Objects) -> dg.AssetCheckResult:
        listings = [
            found for day in objects.days(contract) for found in objects.day(contract, day).values()
        ]
        refused = {k: v for each in listings for k, v in objects.refused(contract, each).items()}
        found = upload_evaluation(
            contract, foreign_files(contract, listings) | refused, bool(refused)
        )
        return dg.AssetCheckResult(
            passed=found.passed,
            severity=found.severity,
            description=found.description,
            metadata=found.metadata,
        )

    return files_are_valid


def foreign_files(contract: SilverContract, listings: Iterable[Listing]) -> dict[str, str]:
    """Files whose names belong to no dataset: key -> why they are not read."""
    why = f"its name is not known: expected {contract.bronze.expected}"
    return dict.fromkeys((key for listing in listings for key in listing.foreign), why)


def upload_evaluation(
    contract: SilverContract, unread: Mapping[str, str], serious: bool
) -> dg.AssetCheckEvaluation:
    """The check's result for files that are not read (key -> why).

    `serious` if they keep a partition from being built: the severity is then ERROR, else WARN.
    """
    return dg.AssetCheckEvaluation(
        asset_key=bronze_key(contract),
        check_name=FILES_VALID,
        passed=not unread,
        severity=dg.AssetCheckSeverity.ERROR if serious else dg.AssetCheckSeverity.WARN,
        description=in_one_line(unread, 2) or None,
        metadata={"files": report.refused_metadata(unread)},
    )


def arrival(
    contract: SilverContract, key: str, listing: Listing, objects: Objects
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """The events that the sensor records for a Bronze partition whose objects changed."""
    asset = bronze_key(contract)
    yield dg.AssetMaterialization(
        asset,
        partition=key,
        description="Recorded by the arrival sensor.",
        metadata=report.listing_metadata(listing),
        tags={DATA_VERSION: listing.version},
    )
    if contract.bronze.uploaded:
        unread = foreign_files(contract, [listing]) | objects.refused(contract, listing)
        if unread:
            yield dg.AssetObservation(
                asset,
                partition=key,
                description=f"not read: {in_one_line(unread)}",
                metadata={"files": report.refused_metadata(unread)},
            )
