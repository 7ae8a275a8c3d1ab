"""Builds dates of Gold tables."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from event_pipeline.build.outcomes import Built, Failed
from event_pipeline.build.totals import reconcile
from event_pipeline.contracts import GoldContract, SilverContract
from event_pipeline.digests import short_digest
from event_pipeline.engines import DeriveRequest, Querier, QueryReport, Transformer
from event_pipeline.errors import LakeError, QueryError
from event_pipeline.lake.receipts import GoldReceipt
from event_pipeline.lake.tables import Lake, Live, PublishError

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
        for each in _files(contract, lake, day).values()
        for path in each
    ]
    return short_digest("\n".join(files))


def _files(contract: GoldContract, lake: Lake, day: str) -> dict[str, list[str]]:
    """Name of each input in SQL -> its live files that may hold rows of a date."""
    return {each.table: lake.scan(each, f"{each.date} = '{day}'") for each in contract.inputs}


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
            report = self._derive(day, digest)
            totals = reconcile(contract, day, report.files, self.querier, lake)
            before, digest = digest, gold_digest(contract, lake, day)
            if before == digest:
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
            built_at=time.time(),
        )
        try:
            lake.publish(contract, day, report.files, receipt)
        except (PublishError, OSError, ValueError) as error:
            return Failed(day, f"not published: {error}")
        return Built(day, "published", receipt)

    def _derive(self, day: str, digest: str) -> QueryReport:
        """Writes a day's rows under a fresh prefix."""
        contract = self.contract
        prefix = self.lake.new_prefix(contract, day, digest, contract.version)
        where = (contract.partition, day)
        if contract.dialect == "athena":
            return self.querier.unload(contract.sql, contract.typed_columns, where, prefix, digest)
        inputs = _files(contract, self.lake, day)
        return self.transformer.derive(
            DeriveRequest(contract.sql, inputs, contract.typed_columns, where, prefix)
        )

    def _missing(self, day: str) -> list[str]:
        """Inputs that have no drop for a day although other inputs have something of that day.

        Empty for a table with a single input, which awaits nothing.
        """
        contract = self.contract
        missing = [each for each in contract.awaited if not self._has_objects(each, day)]
        if not missing:
            return []
        files = _files(contract, self.lake, day)
        rows = any(files[each.table] for each in contract.inputs if each not in contract.awaited)
        is_there = rows or len(missing) < len(contract.awaited)
        return [each.asset for each in missing] if is_there else []

    def _has_objects(self, contract: SilverContract, day: str) -> bool:
        """Whether a day's drop of a dataset was built from any file."""
        live = self.lake.live(contract, {day})
        receipt = self.lake.receipt(contract, live[day]) if live else None
        return bool(receipt and receipt.objects)
