"""Repair: names what is damaged in the lake, and makes it anew from what is left and Bronze."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
from rich.console import Console

from event_pipeline import report, runs
from event_pipeline.assets.keys import asset_key
from event_pipeline.build import Built, Failed, build_gold, build_silver
from event_pipeline.contracts import (
    GOLD,
    SILVER,
    TABLES,
    Contract,
    GoldContract,
    SilverContract,
    roll_ups_of,
)
from event_pipeline.dagster_internals import make_new_run_id
from event_pipeline.engines import Querier, Transformer
from event_pipeline.home import open_instance
from event_pipeline.lake.damage import CATALOG, Damage, damages
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.receipts import Receipt
from event_pipeline.lake.tables import Lake
from event_pipeline.recorded import recorded_versions
from event_pipeline.settings import Settings
from event_pipeline.tags import CODE_VERSION, DATA_VERSION


class Verify(dg.Config):
    """With `verify`, every file is read; otherwise, sizes and times tell which files to read."""

    verify: bool = False


@dataclass(frozen=True)
class _Repair:
    """One repair: what it works with, and the context of the run that records what it makes."""

    context: dg.OpExecutionContext
    objects: Objects
    transformer: Transformer
    querier: Querier
    lake: Lake
    settings: Settings

    def all(self, *, verify: bool) -> Iterator[str]:
        """Mends the catalog, tables and partitions; yields a line about each. Raises LakeError."""
        found = damages(self.lake, deep=verify)
        self.lake.open()
        if found and found[0].table == CATALOG:
            yield f"{found[0]}: rebuilt"
            found = damages(self.lake, deep=verify)
        if as_such := [each for each in found if not each.partition]:
            for each in as_such:
                self.lake.repair(TABLES[each.table])
                yield f"{each}: rebuilt from what can be read"
            found = damages(self.lake, deep=verify)
        for contract in SILVER:
            made = (contract, contract.quarantine, *roll_ups_of(contract))
            tables = [each.table for each in made]
            yield from self._silver(contract, [each for each in found if each.table in tables])
        for gold in GOLD:
            yield from self._gold(gold, [each for each in found if each.table == gold.table])

    def _silver(self, contract: SilverContract, found: list[Damage]) -> Iterator[str]:
        keys = sorted({each.partition for each in found if each.partition})
        if not keys:
            return
        quarantine = contract.quarantine
        builds = build_silver(
            contract,
            keys,
            objects=self.objects,
            transformer=self.transformer,
            lake=self.lake,
            recorded=recorded_versions(self.context.instance, asset_key(contract), keys),
            redelivery_hours=self.settings.late_window_hours,
        )
        for built in builds:
            if isinstance(built, Built):
                metadata = report.silver_metadata(contract, built, self.lake, self.settings)
                self._record(contract, built, metadata, contract.version)
                metadata = report.quarantine_metadata(contract, built, self.lake)
                self._record(quarantine, built, metadata, contract.version)
            yield _result_line(built, found)

    def _gold(self, contract: GoldContract, found: list[Damage]) -> Iterator[str]:
        keys = sorted({each.partition for each in found if each.partition})
        builds = build_gold(
            contract, keys, transformer=self.transformer, querier=self.querier, lake=self.lake
        )
        for built in builds:
            if isinstance(built, Built):
                metadata = report.gold_metadata(contract, built, self.lake, self.settings)
                self._record(contract, built, metadata, contract.version)
            yield _result_line(built, found)

    def _record(
        self, contract: Contract, built: Built[Receipt], metadata: dict[str, Any], version: str
    ) -> None:
        self.context.log_event(
            dg.AssetMaterialization(
                asset_key(contract),
                partition=built.key,
                metadata=metadata,
                tags={DATA_VERSION: built.receipt.digest, CODE_VERSION: version},
            )
        )


def _result_line(built: Built[Receipt] | Failed, found: list[Damage]) -> str:
    damage = "; ".join(str(each) for each in found if each.partition == built.key)
    return f"{damage}: {built.error or 'rebuilt'}"


def repair_job(settings: Settings) -> dg.JobDefinition:
    """The job that repairs the lake, in one run that records what it makes."""

    @dg.op(
        name="repair_lake",
        description="Rebuilds what is lost or damaged, and names what was wrong.",
        required_resource_keys={"objects", "transformer", "querier", "lake"},
        out=dg.Out(list[str]),
    )
    def repair_lake(context: dg.OpExecutionContext, config: Verify) -> Any:
        used = context.resources
        repair = _Repair(
            context,
            used.objects,
            used.transformer,
            used.querier,
            used.lake,
            settings,
        )
        lines = []
        for line in repair.all(verify=config.verify):
            context.log.info(line)
            lines.append(line)
        left = damages(used.lake)
        yield dg.Output(lines, metadata={"repaired": len(lines), "left": len(left)})

    @dg.job(
        name="repair",
        description="Names what is lost or damaged in the lake, and rebuilds it from Bronze.",
    )
    def repair() -> None:
        repair_lake()

    return repair


def run_repair(settings: Settings, console: Console, *, verify: bool) -> bool:
    """Repairs the lake, then does what `sync` does; returns False if something is left to do."""
    from event_pipeline.definitions import definitions
    from event_pipeline.sync import QUIET, run_sync

    job = definitions(settings).resolve_job_def("repair")
    config = {**QUIET, "ops": {"repair_lake": {"config": {"verify": verify}}}}
    with open_instance(settings) as instance, runs.executing(instance, run_id := make_new_run_id()):
        result = job.execute_in_process(run_config=config, instance=instance, run_id=run_id)
        lines = result.output_for_node("repair_lake")
    for line in lines or ["nothing is damaged"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    synced = run_sync(settings, console)
    left = damages(Lake.of(settings), deep=verify)
    for each in left:
        console.print(f"not repaired: {each}", style="red", markup=False, soft_wrap=True)
    return synced and not left
