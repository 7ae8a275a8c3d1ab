"""The history of a table: which earlier states are kept, and how the others are forgotten."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pyiceberg.table import Table
from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots

if TYPE_CHECKING:
    from event_pipeline.settings import Settings


@dataclass(frozen=True)
class Keeping:
    """What is kept: states of the last `age`, `least` states at least, and files for `grace`.

    `grace` is how long a file stays that nothing refers to. It is longer than any run or reader.
    """

    age: timedelta
    least: int
    grace: timedelta

    @classmethod
    def of(cls, settings: "Settings") -> "Keeping":
        """What the settings keep."""
        return cls(
            timedelta(days=settings.snapshot_days),
            settings.snapshots_least,
            timedelta(hours=settings.grace_hours),
        )


def expirable(table: Table, keeping: Keeping, now: float) -> list[int]:
    """Ids of the snapshots that need not be kept at `now` (Unix seconds).

    Kept are the current one, those with a branch or tag, the latest ones, and every one that was
    current at a time within the age or the grace, whether a publish or a rollback made it so.
    """
    metadata = table.metadata
    since = 1000 * (now - max(keeping.age, keeping.grace).total_seconds())
    log = sorted(metadata.snapshot_log, key=lambda entry: entry.timestamp_ms)
    kept = {entry.snapshot_id for entry in log if entry.timestamp_ms >= since}
    # The last one before that time was still current at that time.
    kept.update(entry.snapshot_id for entry in [e for e in log if e.timestamp_ms < since][-1:])
    kept.update(each.snapshot_id for each in metadata.snapshots if each.timestamp_ms >= since)
    return [each for each in oldest(table, keeping.least) if each not in kept]


def oldest(table: Table, least: int) -> list[int]:
    """Ids of all snapshots but the latest `least` and those with a branch or tag."""
    ordered = sorted(table.metadata.snapshots, key=lambda each: each.sequence_number or 0)
    named = {ref.snapshot_id for ref in table.metadata.refs.values()}
    old = ordered[: max(len(ordered) - least, 0)]
    return [each.snapshot_id for each in old if each.snapshot_id not in named]


def expire(table: Table, snapshots: Collection[int]) -> None:
    """Forgets snapshots of a table; their files stay.

    Raises CommitFailedException if another writer was faster.
    """
    current = table.metadata.current_snapshot_id
    with table.transaction() as transaction:
        # PyIceberg would drop the branch of a snapshot that a rollback has just made current. So
        # the commit requires that the current snapshot is still the one that was seen here.
        ManageSnapshots(transaction).set_current_snapshot(current).commit()
        ExpireSnapshots(transaction).by_ids(list(snapshots)).commit()
