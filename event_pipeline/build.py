"""Builds partitions: write, audit, publish. What an asset does, apart from Dagster.

A partition whose input and statement are those that it was built from is left alone. Nothing is
published that does not balance.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

import pyarrow.compute as pc

from event_pipeline.contracts import EVENTS, Contract
from event_pipeline.engines import (
    PartitionReport,
    PartitionRequest,
    Querier,
    Transformer,
    TransformRequest,
)
from event_pipeline.errors import QueryError
from event_pipeline.lake.objects import Listing, Objects
from event_pipeline.lake.tables import Lake, Live, PublishError, partition_value
from event_pipeline.partitions import hour_key, hour_start

# A date whose Silver rows change while it is read is read again, this often at most.
READS_MOST = 3

Receipt = dict[str, Any]


@dataclass(frozen=True)
class Built:
    """One partition after a build. `receipt` says from what it was built and its ledger.

    A failed one has the `error` that a person needs, and what was live before it still is.
    """

    key: str
    status: Literal["published", "unchanged", "failed"]
    receipt: Receipt
    error: str | None = None


def build_silver(
    contract: Contract,
    keys: Sequence[str],
    *,
    objects: Objects,
    transformer: Transformer,
    lake: Lake,
    recorded: Mapping[str, str],
    redelivery_hours: int,
) -> Iterator[Built]:
    """Builds hours of a Silver table and of its quarantine, one result an hour.

    `recorded` is the digest that Dagster has on record for each hour: it decides which event
    dates are reported as touched, so that none is lost to a process that died after its publish.
    """
    quarantine = contract.quarantine()
    live = lake.live(contract, set(keys))
    receipts = {key: lake.receipt(found) for key, found in live.items()}
    kept = lake.live(quarantine, set(keys))
    pending: dict[str, Listing] = {}
    for key in keys:
        listing, receipt = objects.hour(key), receipts.get(key)
        made = (listing.digest, contract.version)
        # The quarantine too: two writers, or a rollback, may have left another build's.
        quarantined = lake.receipt(kept[key]) if key in kept else None
        if receipt and quarantined and _made(receipt) == _made(quarantined) == made:
            yield Built(key, "unchanged", receipt)
        else:
            pending[key] = listing
    if not pending:
        return
    sources = {key: objects.sources(listing) for key, listing in pending.items()}
    request = TransformRequest(
        dataset=contract.asset,
        statement=contract.sql,
        source=contract.source,
        columns=tuple((c.name, c.type) for c in contract.columns),
        partition_column=contract.partition,
        partitions=tuple(
            PartitionRequest(
                key,
                partition_value(contract, key),
                sources[key],
                lake.new_prefix(contract, key, listing.digest),
                lake.new_prefix(quarantine, key, listing.digest),
            )
            for key, listing in pending.items()
        ),
    )
    for report in transformer.transform(request):
        key, listing = report.key, pending[report.key]
        error = report.error or _silver_audit(report, listing, objects.hour(key))
        if error:
            yield Built(key, "failed", asdict(report), error)
            continue
        receipt = {
            "digest": listing.digest,
            "version": contract.version,
            **{k: v for k, v in asdict(report).items() if k not in _NOT_IN_RECEIPT},
            "objects": {source.key: source.sha256 for source in sources[key]},
            "foreign": listing.foreign,
            "touched": _touched(report, receipts.get(key), recorded.get(key)),
            "built_at": time.time(),
        }
        receipt["redelivered"] = _redelivered(lake, contract, key, receipt, redelivery_hours)
        try:
            # Silver last: its digest is by which a half-done publish is seen and done again.
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
        )
    if before.digest != after.digest:
        return "objects came, went or changed while they were read; nothing was published"
    return None


def _touched(report: PartitionReport, old: Receipt | None, recorded: str | None) -> list[str]:
    """Event dates whose Gold this build may change: those of the new rows and of the old ones.

    If Dagster never recorded the old build, the dates that it touched are still to be told.
    """
    dates = set(report.event_dates)
    if old:
        dates |= set(old["event_dates"] if old["digest"] == recorded else old["touched"])
    return sorted(dates)


def _redelivered(
    lake: Lake, contract: Contract, key: str, receipt: Receipt, hours: int
) -> dict[str, str]:
    """Objects of this hour whose whole content also arrived in another hour near it."""
    own = {sha: name for name, sha in receipt["objects"].items() if sha}
    start = hour_start(key)
    near = {hour_key(start + timedelta(hours=n)) for n in range(-hours, hours + 1) if n}
    found = {}
    for live in lake.live(contract, near).values() if own else ():
        for name, sha in lake.receipt(live)["objects"].items():
            if sha in own:
                found[own[sha]] = name
    return found


def build_gold(
    contract: Contract, keys: Sequence[str], *, querier: Querier, lake: Lake
) -> Iterator[Built]:
    """Builds event dates of a Gold table, one result a date."""
    live = lake.live(contract, set(keys))
    for key in keys:
        try:
            yield _gold(contract, key, live.get(key), querier, lake)
        except (QueryError, OSError) as error:
            yield Built(key, "failed", {}, str(error))


def _gold(contract: Contract, day: str, live: Live | None, querier: Querier, lake: Lake) -> Built:
    digest = gold_digest(lake, day)
    if live:
        receipt = lake.receipt(live)
        if _made(receipt) == (digest, contract.version):
            return Built(day, "unchanged", receipt)
    for _ in range(READS_MOST):
        prefix = lake.new_prefix(contract, day, digest)
        columns = [(c.name, c.type) for c in contract.columns]
        report = querier.unload(contract.sql, columns, (contract.partition, day), prefix)
        totals = _totals(contract, day, report.files, querier, lake)
        before, digest = digest, gold_digest(lake, day)
        if before == digest:
            break
    else:
        return Built(day, "failed", {}, f"Silver's rows of {day} kept changing while being read")
    receipt = {
        "digest": digest,
        "version": contract.version,
        "rows": report.rows,
        "totals": {name: list(map(str, pair)) for name, pair in totals.items()},
        "seconds": report.seconds,
        "built_at": time.time(),
    }
    for total in contract.totals:
        gold, silver = totals[total.column]
        if gold > silver or (total.all_of_it and gold != silver):
            error = f"{total.column} adds up to {gold} in Gold and {silver} in Silver"
            return Built(day, "failed", receipt, error)
    try:
        lake.publish(contract, day, report.files, receipt)
    except (PublishError, OSError, ValueError) as failed:
        return Built(day, "failed", receipt, f"not published: {failed}")
    return Built(day, "published", receipt)


def gold_digest(lake: Lake, day: str) -> str:
    """Version of the Silver rows of an event date: of the live files that may hold them."""
    files = lake.scan(EVENTS, f"event_date = '{day}'")
    return hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]


def _totals(
    contract: Contract, day: str, files: Sequence[str], querier: Querier, lake: Lake
) -> dict[str, tuple[Any, Any]]:
    """Each promised total, as (sum over the Gold files, aggregate of Silver), 0 for no rows."""
    aggregates = ", ".join(f"coalesce({total.silver}, 0)" for total in contract.totals)
    _, rows = querier.fetch(
        f"SELECT {aggregates} FROM silver.events WHERE event_date = DATE '{day}'", day
    )
    gold = lake.read(files, [total.column for total in contract.totals])
    return {
        total.column: (pc.sum(gold[total.column]).as_py() or 0, silver)
        for total, silver in zip(contract.totals, rows[0], strict=True)
    }
