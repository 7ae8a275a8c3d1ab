"""The states of a table that it can be rolled back to, and the notes that a rollback leaves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.table import Table
from pyiceberg.table.update.snapshot import ManageSnapshots

# The table's property that holds the notes of rollbacks, as JSON.
ROLLED_BACK = "event-pipeline.rolled-back"


@dataclass(frozen=True)
class Version:
    """One published state of a table that it can be rolled back to.

    `at` is when it was published (UTC), `partition` the partition that was published then (empty if
    maintenance only wrote its manifests anew), and `rows` the number of rows in the whole table.
    """

    snapshot_id: int
    at: datetime
    partition: str
    rows: int
    current: bool


def versions_of(table: Table) -> list[Version]:
    """The states that a table can be rolled back to, latest first."""
    current = table.metadata.current_snapshot_id
    return [
        Version(
            entry.snapshot_id,
            datetime.fromtimestamp(entry.timestamp_ms / 1000, UTC),
            str(summary.get("event-pipeline.partition", "")),
            int(summary.get("total-records") or 0),
            entry.snapshot_id == current,
        )
        for entry in reversed(table.metadata.snapshots)
        if (summary := entry.summary.additional_properties if entry.summary else {}) is not None
    ]


def roll_back(table: Table, snapshot_id: int, notes: Mapping[str, str]) -> None:
    """Makes a state the current one, and saves `notes` (as in `notes_of`) in the same commit."""
    with table.transaction() as transaction:
        transaction.set_properties({ROLLED_BACK: json.dumps(notes)})
        ManageSnapshots(transaction).set_current_snapshot(snapshot_id).commit()


def notes_of(table: Table) -> dict[str, str]:
    """Partition key -> the run that rollbacks set it back to; empty if it was not there then."""
    notes: dict[str, str] = json.loads(table.properties.get(ROLLED_BACK, "{}"))
    return notes
