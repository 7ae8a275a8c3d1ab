"""Maintenance: keeps the lake small and its history cheap. Once a day, or by command."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from event_pipeline.contracts import TABLES
from event_pipeline.lake.history import Keeping
from event_pipeline.lake.leftovers import remove_leftovers
from event_pipeline.lake.tables import Lake
from event_pipeline.settings import Settings

# What is maintained that is no table.
STAGED, SCRATCH, CLAIMED = ".tmp", "TMPDIR", "claims and messages"


@dataclass(frozen=True)
class Done:
    """What was done to a table, or to another place: to how many things, of how many bytes.

    `bytes` is None of what has no size of its own.
    """

    where: str
    what: str
    count: int
    bytes: int | None = None

    def __str__(self) -> str:
        size = "" if self.bytes is None else f", {self.bytes:,} bytes"
        return f"{self.where}: {self.what}: {self.count:,}{size}"

    @property
    def record(self) -> dict[str, Any]:
        """It as a row of a table."""
        return asdict(self)


def maintain(
    settings: Settings, lake: Lake, now: float | None = None, *, dry_run: bool = False
) -> Iterator[Done]:
    """Does all maintenance, and yields what was done; in a dry run, what would be done.

    `now` is in Unix seconds, by default the present. Each step is safe to be killed in, and what is
    left is done by the next one. A table that cannot be read as a whole is left as it is.
    """
    now, keeping = time.time() if now is None else now, Keeping.of(settings)
    before = now - keeping.grace.total_seconds()
    steps = [
        _abandoned(settings, now - keeping.grace.total_seconds() / 2, dry_run=dry_run),
        _unfinished(settings, dry_run=dry_run),
        *(_table(lake, name, keeping, now, before, dry_run=dry_run) for name in sorted(TABLES)),
    ]
    return (done for step in steps for done in step if done.count)


def _abandoned(settings: Settings, before: float, *, dry_run: bool) -> Iterator[Done]:
    """Claims go half a grace before the files do, so that nobody adopts what is then removed."""
    if settings.target != "aws":
        return
    from event_pipeline.engines.claims import remove_abandoned

    found = remove_abandoned(
        (settings.pipes_bucket, settings.results_bucket),
        datetime.fromtimestamp(before, UTC),
        dry_run=dry_run,
    )
    yield Done(CLAIMED, "removed", *found)


def _unfinished(settings: Settings, *, dry_run: bool) -> Iterator[Done]:
    """What processes that were killed left half written on this machine."""
    from event_pipeline import scratch
    from event_pipeline.ingest.handler import FolderStore

    if settings.target != "aws":
        left = FolderStore(settings.root).remove_unfinished(dry_run=dry_run)
        yield Done(STAGED, "files removed", *left)
    yield Done(SCRATCH, "files removed", *scratch.remove_left(dry_run=dry_run))


def _table(
    lake: Lake, name: str, keeping: Keeping, now: float, before: float, *, dry_run: bool
) -> Iterator[Done]:
    contract = TABLES[name]
    forgotten = lake.forget(contract, keeping, now, dry_run=dry_run)
    yield Done(name, "states forgotten", len(forgotten))
    yield Done(name, "manifests rewritten", lake.compact(contract, dry_run=dry_run))
    removed = remove_leftovers(lake, contract, before, forgotten, dry_run=dry_run)
    yield Done(name, "files removed", removed.files, removed.bytes)


def maintenance_job(settings: Settings) -> dg.JobDefinition:
    """The job, of one step."""

    @dg.op(
        name="maintain_lake",
        description="Forgets old states, rewrites manifests, removes what nobody needs.",
        required_resource_keys={"lake"},
        out=dg.Out(dg.Nothing),
    )
    def maintain_lake(context: dg.OpExecutionContext) -> Any:
        files = size = 0
        for done in maintain(settings, context.resources.lake):
            context.log.info(str(done))
            files += done.count if done.bytes is not None else 0
            size += done.bytes or 0
        yield dg.Output(None, metadata={"files": files, "bytes": size})

    @dg.job(
        name="maintenance",
        description="Keeps the lake small and its history cheap.",
    )
    def maintenance() -> None:
        maintain_lake()

    return maintenance


def maintenance_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Once a day, at an hour when little arrives."""
    return dg.ScheduleDefinition(
        name="maintenance_daily",
        job=job,
        cron_schedule="30 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Keeps the lake small and its history cheap.",
    )
