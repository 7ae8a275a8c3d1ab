"""Builds partitions: write, audit, publish. This is what an asset does, without Dagster.

A partition is left alone if its input and statement are those that it was built from. What does
not balance is not published.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from event_pipeline.contracts import Contract, GoldContract, SilverContract, Total
from event_pipeline.digests import short_digest
from event_pipeline.engines import (
    DeriveRequest,
    PartitionReport,
    PartitionRequest,
    Querier,
    QueryReport,
    Transformer,
    TransformRequest,
)
from event_pipeline.errors import LakeError, QueryError
from event_pipeline.lake.objects import Listing, Objects
from event_pipeline.lake.tables import Lake, Live, PublishError
from event_pipeline.lake.uploads import in_one_line
from event_pipeline.partitions import HOUR

# How often a date is read at most: it is read again if its Silver rows changed while it was read.
READS_MOST = 3

# What a partition was built from, and its ledger. Keys of every receipt: digest (of the input),
# version (of the contract), rows, seconds, run, built_at (Unix seconds). Silver's receipt also has
# the other counts of PartitionReport, objects (key -> sha256), deviations, foreign (keys), touched
# (event dates) and redelivered (key -> other key). Gold's also has totals (name -> [gold, silver]).
Receipt = dict[str, Any]
# Stands for a receipt that is lost.
NO_OBJECTS: Receipt = {"objects": {}}


@dataclass(frozen=True)
class Built:
    """One partition after a build, with its receipt.

    If it failed, `error` says why, the receipt may be empty, and what was live before still is.
    """

    key: str
    status: Literal["published", "unchanged", "failed"]
    receipt: Receipt
    error: str | None = None


def build_silver(
    contract: SilverContract,
    keys: Sequence[str],
    *,
    objects: Objects,
    transformer: Transformer,
    lake: Lake,
    recorded: Mapping[str, str],
    redelivery_hours: int,
) -> Iterator[Built]:
    """Builds partitions of a Silver table and of its quarantine, one result each.

    `recorded` is the digest that Dagster has on record for each partition. It decides which dates
    are reported as touched, so that none is lost if a process died right after a publish. Objects
    are compared with those of partitions up to `redelivery_hours` away, to find redelivered ones.
    """
    quarantine = contract.quarantine
    try:
        for each in (contract, quarantine):
            lake.table(each)  # mends the table if it cannot be read
        live, kept = lake.live(contract, set(keys)), lake.live(quarantine, set(keys))
    except LakeError as refused_by:
        yield from [Built(key, "failed", {}, str(refused_by)) for key in keys]
        return
    receipts = {key: receipt for key, found in live.items() if (receipt := lake.receipt(found))}
    broken = {**lake.broken(kept), **lake.broken(live)}
    pending: dict[str, Listing] = {}
    for key in keys:
        listing, receipt = objects.partition(contract, key), receipts.get(key)
        made = (listing.digest, contract.version)
        # The quarantine, too: two writers, or a rollback, may have left that of another build.
        quarantined = lake.receipt(kept[key]) if key in kept else None
        made_of = [_made(each) for each in (receipt, quarantined) if each]
        if key not in broken and made_of == [made, made]:
            yield Built(key, "unchanged", receipts[key])
        elif refused := objects.refused(contract, listing):
            # What is live stays: an unreadable file is no reason to take it away.
            yield Built(key, "failed", {}, in_one_line(refused))
        else:
            pending[key] = listing
    if not pending:
        return
    sources = {key: objects.sources(contract, listing) for key, listing in pending.items()}
    partitions = tuple(
        PartitionRequest(
            key,
            contract.cadence.value(key),
            listing.digest,
            sources[key],
            lake.new_prefix(contract, key, listing.digest, contract.version),
            lake.new_prefix(quarantine, key, listing.digest, contract.version),
        )
        for key, listing in pending.items()
    )
    request = TransformRequest.of(contract, partitions)
    for report in transformer.transform(request):
        key, listing = report.key, pending[report.key]
        error = report.error or _silver_audit(report, listing, objects.partition(contract, key))
        if error:
            yield Built(key, "failed", asdict(report), error)
            continue
        receipt = {
            "digest": listing.digest,
            "version": contract.version,
            **{k: v for k, v in asdict(report).items() if k not in _NOT_IN_RECEIPT},
            "objects": {source.key: source.sha256 for source in sources[key]},
            "deviations": [each.as_record() for each in objects.deviations(listing)],
            "foreign": listing.foreign,
            "touched": _touched(contract, report, receipts.get(key), recorded.get(key)),
            "built_at": time.time(),
        }
        receipt["redelivered"] = _redelivered(lake, contract, key, receipt, redelivery_hours)
        try:
            # Silver last: its digest shows if a publish was only half done and must be repeated.
            lake.publish(quarantine, key, report.quarantine_files, receipt)
            lake.publish(contract, key, report.files, receipt)
        except (PublishError, OSError, ValueError) as failed:
            yield Built(key, "failed", receipt, f"not published: {failed}")
        else:
            yield Built(key, "published", receipt)


def _made(receipt: Receipt) -> tuple[str, str]:
    """What a partition was built from: the version of its input and that of its statement."""
    return receipt["digest"], receipt["version"]


_NOT_IN_RECEIPT = {"key", "files", "quarantine_files", "error"}


def _silver_audit(report: PartitionReport, before: Listing, after: Listing) -> str | None:
    if not report.balanced:
        return (
            f"the ledger does not balance: {report.lines} lines, but {report.rows} rows + "
            f"{report.duplicates} duplicates + {report.quarantined} quarantined"
            + (f" + {report.skipped} skipped" if report.skipped else "")
        )
    if before.digest != after.digest:
        return "objects came, went or changed while they were read; nothing was published"
    return None


def _touched(
    contract: SilverContract, report: PartitionReport, old: Receipt | None, recorded: str | None
) -> list[str]:
    """Dates whose Gold this build may change: those of the new rows and of the old ones.

    If Dagster never recorded the old build, the dates that it touched still have to be reported.
    """
    if contract.date == contract.partition:
        return [report.key]
    dates = set(report.event_dates)
    if old:
        dates |= set(old["event_dates"] if old["digest"] == recorded else old["touched"])
    return sorted(dates)


def _redelivered(
    lake: Lake, contract: Contract, key: str, receipt: Receipt, hours: int
) -> dict[str, str]:
    """Key of an object -> key of one in another partition nearby with the same whole content."""
    own = {sha: name for name, sha in receipt["objects"].items() if sha}
    start, step = contract.cadence.start(key), contract.cadence.step
    most = hours * HOUR // step
    near = {contract.cadence.key(start + n * step) for n in range(-most, most + 1) if n}
    found = {}
    for live in lake.live(contract, near).values() if own else ():
        for name, sha in (lake.receipt(live) or NO_OBJECTS)["objects"].items():
            if sha in own:
                found[own[sha]] = name
    return found


def build_gold(
    contract: GoldContract,
    keys: Sequence[str],
    *,
    transformer: Transformer,
    querier: Querier,
    lake: Lake,
) -> Iterator[Built]:
    """Builds dates of a Gold table, one result for each date."""
    for key in keys:
        try:
            lake.table(contract)
            yield _gold(
                contract,
                key,
                lake.live(contract, {key}).get(key),
                transformer=transformer,
                querier=querier,
                lake=lake,
            )
        except (LakeError, QueryError, OSError) as error:
            yield Built(key, "failed", {}, str(error))


def _gold(
    contract: GoldContract,
    day: str,
    live: Live | None,
    *,
    transformer: Transformer,
    querier: Querier,
    lake: Lake,
) -> Built:
    digest = gold_digest(contract, lake, day)
    if live:
        receipt = lake.receipt(live)
        made = receipt and _made(receipt)
        if receipt and made == (digest, contract.version) and not lake.broken({day: live}):
            return Built(day, "unchanged", receipt)
    if missing := _not_there(contract, lake, day):
        return Built(day, "failed", {}, f"incomplete: {', '.join(missing)} of {day} not built")
    for _ in range(READS_MOST):
        prefix = lake.new_prefix(contract, day, digest, contract.version)
        report = _derived(
            contract, day, digest, prefix, transformer=transformer, querier=querier, lake=lake
        )
        totals = _totals(contract, day, report.files, querier, lake)
        before, digest = digest, gold_digest(contract, lake, day)
        if before == digest:
            break
    else:
        return Built(day, "failed", {}, f"Silver's rows of {day} kept changing while being read")
    receipt = {
        "digest": digest,
        "version": contract.version,
        "rows": report.rows,
        "totals": {name: list(map(str, pair)) for name, (_, *pair) in totals.items()},
        "seconds": report.seconds,
        "run": report.run,
        "built_at": time.time(),
    }
    for name, (total, gold, silver) in totals.items():
        if gold > silver or (total.all_of_it and gold != silver):
            error = f"{name} adds up to {gold} in Gold and {silver} in Silver"
            return Built(day, "failed", receipt, error)
    try:
        lake.publish(contract, day, report.files, receipt)
    except (PublishError, OSError, ValueError) as failed:
        return Built(day, "failed", receipt, f"not published: {failed}")
    return Built(day, "published", receipt)


def gold_digest(contract: GoldContract, lake: Lake, day: str) -> str:
    """Version of a Gold date's input: a digest of the live files that may hold rows of the date.

    Their paths are relative to the lake's root, since moving a lake changes no row.
    """
    address = lake.address
    files = [
        path.removeprefix(f"{address}/")
        for each in _files(contract, lake, day).values()
        for path in each
    ]
    return short_digest("\n".join(files))


def _files(contract: GoldContract, lake: Lake, day: str) -> dict[str, list[str]]:
    """Name of each input in SQL -> its live files that may hold rows of a date."""
    return {each.table: lake.scan(each, f"{each.date} = '{day}'") for each in contract.inputs}


def _not_there(contract: GoldContract, lake: Lake, day: str) -> list[str]:
    """Inputs that have no drop for a day although other inputs have something of that day.

    Empty for a table with a single input, which awaits nothing.
    """
    missing = [each for each in contract.awaited if not _has_objects(each, day, lake)]
    if not missing:
        return []
    files = _files(contract, lake, day)
    rows = any(files[each.table] for each in contract.inputs if each not in contract.awaited)
    is_there = rows or len(missing) < len(contract.awaited)
    return [each.asset for each in missing] if is_there else []


def _has_objects(contract: SilverContract, day: str, lake: Lake) -> bool:
    """Whether a day's drop of a dataset was built from any file."""
    live = lake.live(contract, {day})
    receipt = lake.receipt(live[day]) if live else None
    return bool((receipt or NO_OBJECTS)["objects"])


def _derived(
    contract: GoldContract,
    day: str,
    digest: str,
    prefix: str,
    *,
    transformer: Transformer,
    querier: Querier,
    lake: Lake,
) -> QueryReport:
    where = (contract.partition, day)
    if contract.dialect == "athena":
        return querier.unload(contract.sql, contract.typed_columns, where, prefix, digest)
    inputs = _files(contract, lake, day)
    return transformer.derive(
        DeriveRequest(contract.sql, inputs, contract.typed_columns, where, prefix)
    )


def _totals(
    contract: GoldContract, day: str, files: Sequence[str], querier: Querier, lake: Lake
) -> dict[str, tuple[Total, Any, Any]]:
    """Name -> (promise, sum over the Gold files, aggregate of Silver), for each promised total.

    A total `by` a column has an entry for each of the column's values. Without rows, a sum is 0.
    """
    found = {}
    names = sorted({c for t in contract.totals for c in (t.column, t.by) if c})
    gold = lake.read(contract, files, names)
    for (of, by), group in _grouped(contract).items():
        silver_sums = _silver_sums(of, by, group, day, querier)
        gold_sums = _gold_sums(gold, by, group)
        nothing = (0,) * len(group)
        for value in sorted({*silver_sums, *gold_sums}, key=str):
            pairs = zip(
                group, gold_sums.get(value, nothing), silver_sums.get(value, nothing), strict=True
            )
            for total, in_gold, in_silver in pairs:
                name = f"{total.column} {value}" if by else total.column
                found[name] = (total, in_gold or 0, in_silver or 0)
    return found


def _grouped(contract: GoldContract) -> dict[tuple[SilverContract, str], list[Total]]:
    """Totals that one query can tell, by (Silver table, the column `by`)."""
    groups: dict[tuple[SilverContract, str], list[Total]] = {}
    for total in contract.totals:
        groups.setdefault((total.of or contract.inputs[0], total.by), []).append(total)
    return groups


def _silver_sums(
    of: SilverContract, by: str, totals: Sequence[Total], day: str, querier: Querier
) -> dict[Any, tuple[Any, ...]]:
    """Value of the column `by` (None without one) -> the totals' aggregates of Silver."""
    aggregates = ", ".join(total.silver for total in totals)
    query = f"SELECT {by or 'NULL'}, {aggregates} FROM {of.table} WHERE {of.date} = DATE '{day}'"
    _, rows = querier.fetch(f"{query} GROUP BY {by}" if by else query, day)
    return {value: tuple(sums) for value, *sums in rows}


def _gold_sums(table: pa.Table, by: str, totals: Sequence[Total]) -> dict[Any, tuple[Any, ...]]:
    """Value of the column `by` (None without one) -> the totals' sums over Gold rows."""
    sums = [(total.column, "sum") for total in totals]
    found = table.group_by([by] if by else []).aggregate(sums).to_pylist()
    return {
        row[by] if by else None: tuple(row[f"{total.column}_sum"] for total in totals)
        for row in found
    }
