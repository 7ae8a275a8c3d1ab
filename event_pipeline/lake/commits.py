"""Commits: each replaces some of a table's data files by others and makes a new snapshot."""

from collections.abc import Iterable
from contextlib import suppress

import pyarrow.parquet as pq
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableUpdate
from pyiceberg.typedef import Record

from event_pipeline.contracts import Contract
from event_pipeline.lake.history import expire, oldest
from event_pipeline.lake.values import encoded

# Each commit writes all that is known of the snapshots. So a publish bounds their number; which of
# those are kept for how long is maintenance's to decide.
SNAPSHOTS_KEPT = 100
SNAPSHOTS_MOST = 150


def data_file(table: Table, path: str, contract: Contract, key: str) -> DataFile:
    """The Iceberg entry of a Parquet file, once it is checked to fit the table and partition.

    Raises ValueError if it does not fit.
    """
    file_input = table.io.new_input(path)
    with file_input.open() as opened:
        rows = pq.read_metadata(opened).num_rows
    if rows:
        try:
            file = parquet_file_to_data_file(table.io, table.metadata, path)
        except OverflowError:
            raise ValueError(f"{path} holds a time outside the years 1 to 9999") from None
        if file.partition[0] != encoded(contract, key):
            raise ValueError(f"{path} does not hold partition {key}")
        return file
    # A file without rows has no statistics from which to take the partition's value.
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(encoded(contract, key)),
        record_count=0,
        file_size_in_bytes=len(file_input),
        spec_id=table.metadata.default_spec_id,
    )


class _Transaction(Transaction):
    """One whose metadata is derived once for each state of it.

    PyIceberg looks at them some fifteen times a commit, and copies all snapshots each time.
    """

    _derived: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with the updates so far; not to be changed."""
        base, updates = self._table.metadata, self._updates
        if self._derived is None or self._derived[0] is not base or self._derived[1] is not updates:
            self._derived = (base, updates, super().table_metadata)
        return self._derived[2]


def replace_files(
    table: Table,
    old: Iterable[DataFile],
    new: Iterable[DataFile],
    summary: dict[str, str],
    properties: dict[str, str],
) -> None:
    """Replaces old files by new ones in one commit.

    `summary` are properties of the new snapshot; `properties` are set in the table.

    Once there are more than SNAPSHOTS_MOST snapshots, all but the latest SNAPSHOTS_KEPT expire.
    Raises CommitFailedException or ValidationException if another writer was faster.
    """
    old = list(old)
    with _Transaction(table) as transaction:
        if properties:
            transaction.set_properties(properties)
        update = transaction.update_snapshot(snapshot_properties=summary)
        # merge_append keeps the number of manifests small; overwrite replaces exact files.
        with update.overwrite() if old else update.merge_append() as producer:
            for file in old:
                producer.delete_data_file(file)
            for file in new:
                producer.append_data_file(file)
    if len(table.metadata.snapshots) > SNAPSHOTS_MOST:
        # Another writer may be faster; the next publish expires them then.
        with suppress(CommitFailedException):
            expire(table, oldest(table, SNAPSHOTS_KEPT))
