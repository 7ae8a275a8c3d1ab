"""States of a table that it can be rolled back to, and what a rollback leaves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.table import Table
from pyiceberg.table.update.snapshot import ManageSnapshots

# The table's property that holds, as JSON, what a rollback set back.
ROLLED_BACK = "event-pipeline.rolled-back"


@dataclass(frozen=True)
class Version:
    """One published state of a table that it can be rolled back to."""

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
    """Makes a state the current one, and notes the partitions that it sets back, with their run."""
    with table.transaction() as transaction:
        transaction.set_properties({ROLLED_BACK: json.dumps(notes)})
        ManageSnapshots(transaction).set_current_snapshot(snapshot_id).commit()


def notes_of(table: Table) -> dict[str, str]:
    """The partitions that rollbacks set back, and the run of each: empty if it was not there."""
    notes: dict[str, str] = json.loads(table.properties.get(ROLLED_BACK, "{}"))
    return notes
