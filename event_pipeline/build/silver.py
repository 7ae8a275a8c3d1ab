"""Builds partitions of Silver tables, with their quarantine."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from event_pipeline.build.outcomes import Built, Failed
from event_pipeline.contracts import SilverContract, roll_ups_of
from event_pipeline.engines import PartitionReport, PartitionRequest, Transformer, TransformRequest
from event_pipeline.errors import LakeError
from event_pipeline.lake.objects import Listing, Objects, Source
from event_pipeline.lake.receipts import SilverReceipt
from event_pipeline.lake.run_folder import RunFolder
from event_pipeline.lake.tables import Lake, PublishError
from event_pipeline.lake.uploads import in_one_line
from event_pipeline.partitions import HOUR


def build_silver(
    contract: SilverContract,
    keys: Sequence[str],
    *,
    objects: Objects,
    transformer: Transformer,
    lake: Lake,
    recorded: Mapping[str, str],
    redelivery_hours: int,
) -> Iterator[Built[SilverReceipt] | Failed]:
    """Builds partitions of a Silver table, of its quarantine and its roll-ups, one result each.

    `recorded` is the digest that Dagster has on record for each partition. It decides which dates
    are reported as touched, so that none is lost if a process died right after a publish. Objects
    are compared with those of partitions up to `redelivery_hours` away, to find redelivered ones.
    """
    try:
        intact, before = _live_receipts(contract, keys, lake)
    except LakeError as error:
        yield from [Failed(key, str(error)) for key in keys]
        return
    pending: dict[str, Listing] = {}
    for key in keys:
        listing = objects.partition(contract, key)
        if key in intact and intact[key].made_of == (listing.digest, contract.version):
            yield Built(key, "unchanged", intact[key])
        elif refused := objects.refused(contract, listing):
            # What is live stays: an unreadable file is no reason to take it away.
            yield Failed(key, in_one_line(refused))
        else:
            pending[key] = listing
    if not pending:
        return
    sources = {key: objects.sources(contract, listing) for key, listing in pending.items()}
    request = TransformRequest.of(contract, _requests(contract, pending, sources, lake))
    for report in transformer.transform(request):
        key, listing = report.key, pending[report.key]
        if mistake := report.error or _audit(report, listing, objects.partition(contract, key)):
            yield Failed(key, mistake)
            continue
        receipt = SilverReceipt(
            **{k: v for k, v in asdict(report).items() if k in SilverReceipt.model_fields},
            digest=listing.digest,
            version=contract.version,
            objects={source.key: source.sha256 for source in sources[key]},
            deviations=objects.deviations(listing),
            foreign=listing.foreign,
            touched=_touched(contract, report, before.get(key), recorded.get(key)),
            redelivered=_redelivered(lake, contract, key, sources[key], redelivery_hours),
            built_at=time.time(),
        )
        yield _published(contract, key, report, receipt, lake)


def _live_receipts(
    contract: SilverContract, keys: Sequence[str], lake: Lake
) -> tuple[dict[str, SilverReceipt], dict[str, SilverReceipt]]:
    """The receipts of the partitions that are whole, and those of all that are live, by key.

    A partition is whole if its files are intact and its quarantine was made of the same: after two
    writers at once, or a rollback, the quarantine may be that of another build. It need not have
    roll-ups, which only make Gold faster.
    """
    quarantine = contract.quarantine
    for each in (contract, quarantine, *roll_ups_of(contract)):
        lake.table(each)  # mends the table if it cannot be read
    live, kept = lake.live(contract, set(keys)), lake.live(quarantine, set(keys))
    receipts = {
        key: receipt for key, found in live.items() if (receipt := lake.receipt(contract, found))
    }
    broken = {*lake.broken(contract, live), *lake.broken(quarantine, kept)}
    for each in roll_ups_of(contract):
        broken |= lake.broken(each, lake.live(each, set(keys))).keys()
    whole = {}
    for key, receipt in receipts.items():
        other = lake.receipt(quarantine, kept[key]) if key in kept else None
        if key not in broken and other and other.made_of == receipt.made_of:
            whole[key] = receipt
    return whole, receipts


def _requests(
    contract: SilverContract,
    pending: Mapping[str, Listing],
    sources: Mapping[str, tuple[Source, ...]],
    lake: Lake,
) -> tuple[PartitionRequest, ...]:
    found = []
    for key, listing in pending.items():
        rows = lake.new_prefix(contract, key, listing.digest, contract.version)
        # Roll-ups bear the run of their rows: they count for these rows only.
        run = RunFolder.of(rows).id
        found.append(
            PartitionRequest(
                key,
                contract.cadence.value(key),
                listing.digest,
                sources[key],
                rows,
                lake.new_prefix(contract.quarantine, key, listing.digest, contract.version),
                {
                    each.table: lake.new_prefix(each, key, listing.digest, each.version, run)
                    for each in roll_ups_of(contract)
                },
            )
        )
    return tuple(found)


def _audit(report: PartitionReport, before: Listing, after: Listing) -> str | None:
    if not report.balanced:
        return (
            f"the ledger does not balance: {report.lines} lines, but {report.rows} rows + "
            f"{report.duplicates} duplicates + {report.quarantined} quarantined"
            + (f" + {report.skipped} skipped" if report.skipped else "")
        )
    if before.digest != after.digest:
        return "objects were added, removed or changed while they were read; nothing was published"
    return None


def _published(
    contract: SilverContract, key: str, report: PartitionReport, receipt: SilverReceipt, lake: Lake
) -> Built[SilverReceipt] | Failed:
    try:
        # Silver last: its digest shows if a publish was only half done and must be repeated.
        lake.publish(contract.quarantine, key, report.quarantine_files, receipt)
        for each in roll_ups_of(contract):
            # A Glue run that another version of the program began may have made none.
            if files := report.roll_up_files.get(each.table):
                lake.publish(each, key, files, receipt)
        lake.publish(contract, key, report.files, receipt)
    except (PublishError, OSError, ValueError) as error:
        return Failed(key, f"not published: {error}")
    return Built(key, "published", receipt)


def _touched(
    contract: SilverContract,
    report: PartitionReport,
    before: SilverReceipt | None,
    recorded: str | None,
) -> tuple[str, ...]:
    """Dates whose Gold this build may change: those of the new rows and of the ones before.

    If Dagster never recorded the build before, the dates that it touched still have to be reported.
    """
    if contract.date == contract.partition:
        return (report.key,)
    dates = set(report.event_dates)
    if before:
        dates |= set(before.event_dates if before.digest == recorded else before.touched)
    return tuple(sorted(dates))


def _redelivered(
    lake: Lake, contract: SilverContract, key: str, sources: Sequence[Source], hours: int
) -> dict[str, str]:
    """Key of an object -> key of one in another partition nearby with the same whole content."""
    own = {source.sha256: source.key for source in sources if source.sha256}
    start, step = contract.cadence.start(key), contract.cadence.step
    most = hours * HOUR // step
    near = {contract.cadence.key(start + n * step) for n in range(-most, most + 1) if n}
    found = {}
    for live in lake.live(contract, near).values() if own else ():
        receipt = lake.receipt(contract, live)
        for name, sha in receipt.objects.items() if receipt else ():
            if sha in own:
                found[own[sha]] = name
    return found
