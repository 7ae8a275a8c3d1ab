"""Partitions that an earlier statement or contract made, and the runs that make them anew.

The name of a run's folder holds the contract's fingerprint, which tells what made the partition.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import dagster as dg

from event_pipeline.assets.keys import asset_key
from event_pipeline.contracts import GoldContract, MadeContract, SilverContract
from event_pipeline.dagster_internals import AssetCheckExecutionRecord
from event_pipeline.errors import in_short
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import DAY, Cadence
from event_pipeline.tags import RANGE_END, RANGE_START, RETRIES

STATEMENT_CURRENT = "statement_is_current"
# The most partitions of one run: a month of hours.
MAX_RANGE = 744
# How many results are read to find the last one; the latest are of runs that still go on.
RESULTS_READ = 30
# The longest gap within a range: making some empty hours, too, costs less than another run.
MAX_GAP = DAY


def outdated(lake: Lake, contract: MadeContract) -> list[str]:
    """Keys of a table's partitions that were not made by today's statement, in order."""
    others = {
        key: folder.version
        for key, folder in lake.folders(contract).items()
        if folder.version != contract.version
    }
    # The names of old folders do not tell the version, but their receipts do.
    for key, live in lake.live(contract, [key for key, v in others.items() if not v]).items():
        receipt = lake.receipt(contract, live)
        others[key] = receipt.version if receipt else ""
    return sorted(key for key, version in others.items() if version != contract.version)


def spans_of(cadence: Cadence, keys: Collection[str]) -> list[tuple[str, str]]:
    """(first key, last key) of ranges that together hold all the keys and few others."""
    ordered = sorted(keys)
    if not ordered:
        return []
    spans, first, held = [], ordered[0], 1
    for key, following in pairwise(ordered):
        gap = cadence.start(following) - cadence.start(key)
        held += gap // cadence.step
        if gap > MAX_GAP or held > MAX_RANGE:
            spans.append((first, key))
            first, held = following, 1
    return [*spans, (first, ordered[-1])]


def range_runs(
    assets: Collection[dg.AssetKey], cadence: Cadence, keys: Collection[str]
) -> Iterator[dg.RunRequest]:
    """One run for each range of these partitions."""
    for first, last in spans_of(cadence, keys):
        yield dg.RunRequest(
            asset_selection=list(assets),
            tags={RANGE_START: first, RANGE_END: last, RETRIES: "0"},
        )


def grouped_by_inputs(contracts: Collection[GoldContract]) -> list[list[GoldContract]]:
    """Groups of Gold tables with the same inputs, which are made in one run."""
    found: dict[tuple[SilverContract, ...], list[GoldContract]] = {}
    for contract in contracts:
        found.setdefault(contract.inputs, []).append(contract)
    return list(found.values())


def statement_spec(contract: MadeContract) -> dg.AssetCheckSpec:
    """The check that today's statement made a table. Each run checks all of its partitions."""
    return dg.AssetCheckSpec(
        STATEMENT_CURRENT,
        asset=asset_key(contract),
        description="Every partition was built with the current statement and contract.",
    )


def statement_result(
    context: dg.AssetExecutionContext, lake: Lake, contract: MadeContract
) -> Iterator[dg.AssetCheckResult]:
    """The check's result after a run, if the check is selected in that run."""
    if dg.AssetCheckKey(asset_key(contract), STATEMENT_CURRENT) in (
        context.selected_asset_check_keys
    ):
        # What this run built, it built with today's statement. If all else passed, all still does.
        is_known = _passed_before(context.instance, contract) and not lake.rolled_back(contract)
        old = [] if is_known else outdated(lake, contract)
        found = _evaluation(contract, old)
        yield dg.AssetCheckResult(
            asset_key=found.asset_key,
            check_name=found.check_name,
            passed=found.passed,
            severity=found.severity,
            description=found.description,
            metadata=found.metadata,
        )


def _passed_before(instance: dg.DagsterInstance, contract: MadeContract) -> bool:
    """Whether the check passed when it was last evaluated, and for today's statement."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(asset_key(contract), STATEMENT_CURRENT), limit=RESULTS_READ
    )
    return _is_passed(next(filter(None, map(_last_result, records)), None), contract)


def _is_passed(last: dg.AssetCheckEvaluation | None, contract: MadeContract) -> bool:
    return bool(last and last.passed and last.metadata["statement"].value == contract.version)


def changed_results(
    instance: dg.DagsterInstance, lake: Lake, contracts: Sequence[MadeContract]
) -> Iterator[dg.AssetCheckEvaluation]:
    """The check's result for each table, if it differs from the one on record.

    For the sensors, since a statement changes without a run.
    """
    checks = {c: dg.AssetCheckKey(asset_key(c), STATEMENT_CURRENT) for c in contracts}
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(checks.values())
    )
    for contract, check in checks.items():
        last = _last_result(records.get(check))
        # A check that passed for today's statement still passes, unless a rollback brought back
        # what an older one made.
        if _is_passed(last, contract) and not lake.rolled_back(contract):
            continue
        found = _evaluation(contract, outdated(lake, contract))
        if last is None and found.passed:
            continue
        if not last or (last.passed, last.metadata) != (found.passed, found.metadata):
            yield found


def _last_result(record: AssetCheckExecutionRecord | None) -> dg.AssetCheckEvaluation | None:
    """A check's last result; None if a run that is to evaluate it has begun since."""
    event = record.event.dagster_event if record and record.event else None
    data = event.event_specific_data if event else None
    return data if isinstance(data, dg.AssetCheckEvaluation) else None


def _evaluation(contract: MadeContract, keys: Sequence[str]) -> dg.AssetCheckEvaluation:
    spans = [f"{a} to {b}" if a != b else a for a, b in spans_of(contract.cadence, keys)]
    count = f"{len(keys):,} partition{'s' if len(keys) > 1 else ''}"
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(contract),
        check_name=STATEMENT_CURRENT,
        passed=not keys,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{count} built by an older statement ({in_short(spans)});"
            " to rebuild them: event-pipeline sync --rebuild-changed"
            if keys
            else None
        ),
        metadata={"statement": contract.version, "partitions": len(keys)},
    )
