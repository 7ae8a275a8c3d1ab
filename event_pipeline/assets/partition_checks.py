"""The checks of each Silver partition: what was refused, and objects against their manifests."""

from collections.abc import Iterator

import dagster as dg

from event_pipeline import trust
from event_pipeline.assets.keys import asset_key
from event_pipeline.build import Built
from event_pipeline.contracts import Contract, SilverContract
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.receipts import SilverReceipt
from event_pipeline.lake.tables import Lake
from event_pipeline.report import refused_reasons, table_metadata
from event_pipeline.settings import Settings

OBJECT_MATCHES_MANIFEST = "object_matches_manifest"
REFUSED_SHARE = "refused_share"


def check_specs(
    contract: Contract, partitions: dg.PartitionsDefinition, settings: Settings
) -> list[dg.AssetCheckSpec]:
    """The specs of a Silver table's checks, which are evaluated by partition."""
    warn, fail = settings.refused_warn_share, settings.refused_fail_share
    descriptions = {
        OBJECT_MATCHES_MANIFEST: (
            "Each object has the bytes, lines and sha256 that its producer's manifest states."
        ),
        REFUSED_SHARE: (
            f"The share of lines in quarantine: above {warn:.2%} warns, above {fail:.2%} fails. A"
            " partition whose lines are all refused always fails."
        ),
    }
    return [
        dg.AssetCheckSpec(
            name, asset=asset_key(contract), description=text, partitions_def=partitions
        )
        for name, text in descriptions.items()
    ]


def evaluations(
    contract: SilverContract,
    built: Built[SilverReceipt],
    objects: Objects,
    lake: Lake,
    settings: Settings,
) -> Iterator[dg.AssetCheckEvaluation]:
    """The checks' results for a partition that was built, or found unchanged."""
    # As they are now: a manifest may have been mended since the partition was built.
    deviations = objects.deviations(objects.partition(contract, built.key))
    yield _evaluation(
        contract,
        built,
        OBJECT_MATCHES_MANIFEST,
        trust.match_manifests(deviations),
        {"objects": table_metadata([each.as_record() for each in deviations])},
    )
    assessment = trust.refused(built.receipt, settings)
    reasons = refused_reasons(
        contract, built, lake, with_examples=assessment.level > trust.Level.PASS
    )
    yield _evaluation(
        contract,
        built,
        REFUSED_SHARE,
        assessment,
        {
            "refused_share": trust.refused_share(built.receipt),
            "reasons": table_metadata(reasons),
        },
    )


def _evaluation(
    contract: Contract,
    built: Built[SilverReceipt],
    name: str,
    assessment: trust.Assessment,
    metadata: dict[str, dg.MetadataValue | float],
) -> dg.AssetCheckEvaluation:
    is_serious = assessment.level is trust.Level.FAIL
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(contract),
        check_name=name,
        partition=built.key,
        passed=assessment.level is trust.Level.PASS,
        severity=dg.AssetCheckSeverity.ERROR if is_serious else dg.AssetCheckSeverity.WARN,
        description=assessment.why or None,
        metadata=metadata,
    )
