"""Puts each partition on record the moment it is published, with its own numbers.

Thus a run over a range that fails or is killed has on record what it made, and its next try finds
those partitions unchanged.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from event_pipeline.build import Built, Failed
from event_pipeline.dagster_internals import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from event_pipeline.errors import in_short
from event_pipeline.lake.receipts import ReceiptT
from event_pipeline.report import table_metadata
from event_pipeline.tags import CODE_VERSION, DATA_VERSION

# Dagster's own tags, which it sets on what it records by itself.
INPUT_DATA_VERSION = "dagster/input_data_version"
INPUT_EVENT_POINTER = "dagster/input_event_pointer"


# Dagster's own mark for an output whose events are on record already. Without an output, whatever
# depends on the asset in the same run would be skipped. Without the mark, Dagster would record
# every partition of a range once more, all with the same numbers.
ON_RECORD = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}


def outputs(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
    """The outputs that a step yields once everything that it made is on record."""
    for key in context.selected_asset_keys:
        name = context.assets_def.get_output_name_for_asset_key(key)
        yield dg.Output(None, name, metadata=ON_RECORD)


def record_builds(
    context: dg.AssetExecutionContext,
    builds: Iterable[Built[ReceiptT] | Failed],
    metadata: Mapping[dg.AssetKey, Callable[[Built[ReceiptT]], dict[str, Any]]],
    check: dg.AssetCheckSpec,
    warnings: Sequence[
        tuple[dg.AssetCheckSpec, Callable[[Built[ReceiptT]], list[dict[str, Any]]]]
    ] = (),
    *,
    evaluate: Callable[[Built[ReceiptT]], Iterable[dg.AssetCheckEvaluation]] = lambda built: (),
) -> Iterator[dg.AssetCheckResult | dg.Output[None]]:
    """Records each build for every asset in `metadata`, then yields the checks' results.

    `check` passes if every partition was made. Each of the `warnings` is a check and the function
    that finds its records in a build; it passes if no build has any. `evaluate` gives the results
    of the checks that each partition has of its own. After the last build, raises dagster.Failure
    if any failed; it names each failed partition and why.
    """
    # Read before the first build starts: a build does not contain what arrives while it runs.
    provenance = {asset: _provenance(context, asset) for asset in metadata}
    made = 0
    failures: dict[str, str] = {}
    warned: list[list[dict[str, Any]]] = [[] for _ in warnings]
    for built in builds:
        if isinstance(built, Failed):
            context.log.error(f"{built.key}: {built.error}")
            failures[built.key] = built.error
            continue
        context.log.info(f"{built.key}: {built.status}")
        made += 1
        for records, (_, find) in zip(warned, warnings, strict=True):
            records.extend(find(built))
        digest = built.receipt.digest
        for asset, describe in metadata.items():
            context.log_event(
                dg.AssetMaterialization(
                    asset,
                    metadata=describe(built),
                    partition=built.key,
                    tags={
                        DATA_VERSION: digest,
                        **provenance[asset],
                        **dict.fromkeys(_inputs(context, asset), digest),
                    },
                )
            )
        for evaluation in evaluate(built):
            if evaluation.asset_check_key in context.selected_asset_check_keys:
                context.log_event(evaluation)
    found: dict[str, dg.MetadataValue[Any] | int] = {
        "partitions_made": made,
        "failures": dg.MetadataValue.json(failures),
    }
    if check.key in context.selected_asset_check_keys:
        yield dg.AssetCheckResult(
            check_name=check.name, asset_key=check.asset_key, passed=not failures, metadata=found
        )
    for records, (warning, _) in zip(warned, warnings, strict=True):
        if warning.key in context.selected_asset_check_keys and made:
            yield dg.AssetCheckResult(
                check_name=warning.name,
                asset_key=warning.asset_key,
                passed=not records,
                severity=dg.AssetCheckSeverity.WARN,
                description=in_short([_sentence(record) for record in records]) or None,
                metadata={"found": table_metadata(records)},
            )
    if failures:
        raise dg.Failure(
            "; ".join(f"{key}: {error}" for key, error in failures.items()),
            metadata=found,
            # The same input would fail the same way; the sensor asks again, up to its limit.
            allow_retries=False,
        )
    yield from outputs(context)


def _sentence(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.items())


def _provenance(context: dg.AssetExecutionContext, asset: dg.AssetKey) -> dict[str, str]:
    """Tags that name the code version and the latest event of each upstream asset.

    Without them, the UI would call every partition stale.
    """
    tags = {CODE_VERSION: context.assets_def.code_versions_by_key[asset] or ""}
    for upstream in context.assets_def.asset_deps[asset]:
        latest = context.instance.fetch_materializations(upstream, limit=1).records
        pointer = str(latest[0].storage_id) if latest else "NULL"
        tags[f"{INPUT_EVENT_POINTER}/{upstream.to_user_string()}"] = pointer
    return tags


def _inputs(context: dg.AssetExecutionContext, asset: dg.AssetKey) -> list[str]:
    """The tags that say which version of each upstream asset was read."""
    upstream = context.assets_def.asset_deps[asset]
    return [f"{INPUT_DATA_VERSION}/{key.to_user_string()}" for key in upstream]
