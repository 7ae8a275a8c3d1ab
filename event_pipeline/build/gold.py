"""Builds dates of Gold tables."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from event_pipeline.build.outcomes import Built, Failed
from event_pipeline.build.totals import reconcile
from event_pipeline.contracts import GoldContract, RollUpContract, SilverContract
from event_pipeline.digests import short_digest
from event_pipeline.engines import DeriveRequest, Querier, QueryReport, Transformer
from event_pipeline.errors import LakeError, QueryError
from event_pipeline.lake.receipts import GoldReceipt
from event_pipeline.lake.run_folder import RunFolder
from event_pipeline.lake.tables import Lake, Live, PublishError

# Tables whose rows have a date by which Gold is made.
Dated = SilverContract | RollUpContract
# How often a date is read at most: it is read again if its Silver rows changed while it was read.
MAX_READS = 3


def build_gold(
    contract: GoldContract,
    keys: Sequence[str],
    *,
    transformer: Transformer,
    querier: Querier,
    lake: Lake,
) -> Iterator[Built[GoldReceipt] | Failed]:
    """Builds dates of a Gold table, one result for each date."""
    builder = _Builder(contract, transformer, querier, lake)
    for key in keys:
        try:
            lake.table(contract)
            yield builder.build(key, lake.live(contract, {key}).get(key))
        except (LakeError, QueryError, OSError) as error:
            yield Failed(key, str(error))


def gold_digest(contract: GoldContract, lake: Lake, day: str) -> str:
    """Version of a Gold date's input: a digest of the live files that may hold rows of the date.

    Their paths are relative to the lake's root, since moving a lake changes no row.
    """
    address = lake.address
    files = [
        path.removeprefix(f"{address}/")
        for each in _files(contract.inputs, lake, day).values()
        for path in each
    ]
    return short_digest("\n".join(files))


def are_rolled_up(contract: GoldContract, lake: Lake, day: str) -> bool:
    """Whether a Gold date can be made from roll-ups: they were made with just these Silver rows.

    They were not, if Silver was built before there were roll-ups, if their statement has changed
    since, or if a process died between the publishing of the one and the other.
    """
    if not contract.roll_ups:
        return False
    (source,) = contract.inputs
    silver = {(run.partition, run.id) for run in _runs(source, lake, day)}
    for each in contract.roll_ups:
        runs = _runs(each, lake, day)
        if {(run.partition, run.id) for run in runs} != silver:
            return False
        if any(run.version != each.version for run in runs):
            return False
    return True


def _runs(contract: Dated, lake: Lake, day: str) -> list[RunFolder]:
    """The folders of the runs whose files may hold rows of a date."""
    return [RunFolder.of(folder) for folder in lake.folders_of_day(contract, day)]


def _files(contracts: Sequence[Dated], lake: Lake, day: str) -> dict[str, dict[str, int]]:
    """Name of each table in SQL -> its live files that may hold rows of a date, and their sizes."""
    return {each.table: lake.sizes(each, (day, day)) for each in contracts}


@dataclass(frozen=True)
class _Builder:
    contract: GoldContract
    transformer: Transformer
    querier: Querier
    lake: Lake

    def build(self, day: str, live: Live | None) -> Built[GoldReceipt] | Failed:
        contract, lake = self.contract, self.lake
        digest = gold_digest(contract, lake, day)
        receipt = lake.receipt(contract, live) if live else None
        is_current = receipt and receipt.made_of == (digest, contract.version)
        if live and receipt and is_current and not lake.broken(contract, {day: live}):
            return Built(day, "unchanged", receipt)
        if missing := self._missing(day):
            return Failed(day, f"incomplete: {', '.join(missing)} of {day} not built")
        for _ in range(MAX_READS):
            is_rolled_up = are_rolled_up(contract, lake, day)
            report = self._derive(day, digest, is_rolled_up)
            totals = reconcile(contract, day, report.files, self.querier, lake)
            before, digest = digest, gold_digest(contract, lake, day)
            # Roll-ups are published before their Silver rows, so they may have changed alone.
            if before == digest and is_rolled_up == are_rolled_up(contract, lake, day):
                break
        else:
            return Failed(day, f"Silver's rows of {day} kept changing while being read")
        for name, each in totals.items():
            if not each.holds:
                return Failed(
                    day, f"{name} adds up to {each.gold} in Gold and {each.silver} in Silver"
                )
        receipt = GoldReceipt(
            digest=digest,
            version=contract.version,
            rows=report.rows,
            totals={name: (str(each.gold), str(each.silver)) for name, each in totals.items()},
            seconds=report.seconds,
            run=report.run,
            made_from="roll-ups" if is_rolled_up else "silver",
            built_at=time.time(),
        )
        try:
            lake.publish(contract, day, report.files, receipt)
        except (PublishError, OSError, ValueError) as error:
            return Failed(day, f"not published: {error}")
        return Built(day, "published", receipt)

    def _derive(self, day: str, digest: str, is_rolled_up: bool) -> QueryReport:
        """Writes a day's rows under a fresh prefix, made from roll-ups or from Silver's rows."""
        contract = self.contract
        prefix = self.lake.new_prefix(contract, day, digest, contract.version)
        where = (contract.partition, day)
        sql = contract.rolled_sql if is_rolled_up else contract.sql
        if contract.dialect == "athena":
            return self.querier.unload(sql, contract.typed_columns, where, prefix, digest)
        inputs = _files(contract.roll_ups if is_rolled_up else contract.inputs, self.lake, day)
        return self.transformer.derive(
            DeriveRequest(
                sql,
                {table: list(files) for table, files in inputs.items()},
                contract.typed_columns,
                where,
                prefix,
                sum(size for files in inputs.values() for size in files.values()),
            )
        )

    def _missing(self, day: str) -> list[str]:
        """Inputs that have no drop for a day although other inputs have something of that day.

        Empty for a table with a single input, which awaits nothing.
        """
        contract = self.contract
        missing = [each for each in contract.awaited if not self._has_objects(each, day)]
        if not missing:
            return []
        files = _files(contract.inputs, self.lake, day)
        rows = any(files[each.table] for each in contract.inputs if each not in contract.awaited)
        is_there = rows or len(missing) < len(contract.awaited)
        return [each.asset for each in missing] if is_there else []

    def _has_objects(self, contract: SilverContract, day: str) -> bool:
        """Whether a day's drop of a dataset was built from any file."""
        live = self.lake.live(contract, {day})
        receipt = self.lake.receipt(contract, live[day]) if live else None
        return bool(receipt and receipt.objects)
