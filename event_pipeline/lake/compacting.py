"""Manifests of a table, written anew in the order of its partitions.

A publish that replaces files reads every manifest whose range of partitions includes the one that
it publishes, and adds manifests; only a publish of a new partition merges some. So a table whose
partitions are made anew again and again, or come in no order, has more and wider manifests.
"""

from collections.abc import Iterator

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _MergeAppendFiles

from event_pipeline.contracts import Contract
from event_pipeline.lake.dates import FAR, far_of_all, is_by_arrival
from event_pipeline.lake.making import PROPERTIES
from event_pipeline.lake.salvage import manifests_of

# About 100 KB: a publish reads and writes one or two of them.
FILES_OF_A_MANIFEST = 300
# Below this many, reading them costs less than writing them anew.
MANIFESTS_LEAST = 25


def is_scattered(table: Table) -> bool:
    """Whether the current snapshot has twice as many manifests as it needs, or too large ones."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return False
    files = [
        (each.added_files_count or 0) + (each.existing_files_count or 0)
        for each in snapshot.manifests(table.io)
    ]
    needed = -(-sum(files) // FILES_OF_A_MANIFEST)
    return len(files) > max(MANIFESTS_LEAST, 2 * needed) or any(
        each > 4 * FILES_OF_A_MANIFEST for each in files
    )


def is_to_compact(table: Table, contract: Contract) -> bool:
    """Whether manifests are to be written anew: too many, or the table lacks a property."""
    return is_scattered(table) or bool(is_by_arrival(contract) and FAR not in table.properties)


def compact(table: Table, contract: Contract) -> bool:
    """Writes the current snapshot's manifests anew; its rows and files are the same.

    Also sets the properties that tables have which are made today. That is a commit with a new
    snapshot, so that no writer goes on with the old properties. Returns False, and changes
    nothing, if another writer was faster.
    """
    size = TableProperties.MANIFEST_TARGET_SIZE_BYTES
    try:
        with table.transaction() as transaction:
            if far := far_of_all(table, contract, _files_of_all_states(table)):
                transaction.set_properties(far)
            # Tables that were made before the property was would merge them to one again.
            if table.properties.get(size) != PROPERTIES[size]:
                transaction.set_properties({size: PROPERTIES[size]})
            _InOrder(Operation.APPEND, transaction, table.io).commit()
    except CommitFailedException:
        return False
    return True


def _files_of_all_states(table: Table) -> Iterator[DataFile]:
    for manifest in manifests_of(table.metadata.snapshots, table.io).values():
        for entry in manifest.fetch_manifest_entry(table.io):
            yield entry.data_file


class _InOrder(_MergeAppendFiles):
    """Appends nothing, and sorts what is there; PyIceberg has no other way to rewrite manifests."""

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        by_spec: dict[int, list[ManifestEntry]] = {}
        for manifest in manifests:
            entries = by_spec.setdefault(manifest.partition_spec_id, [])
            entries += self.fetch_manifest_entry(manifest, discard_deleted=True)
        for entries in by_spec.values():
            entries.sort(key=lambda entry: entry.data_file.partition[0])
        return [
            self._written(spec, entries[n : n + FILES_OF_A_MANIFEST])
            for spec, entries in by_spec.items()
            for n in range(0, len(entries), FILES_OF_A_MANIFEST)
        ]

    def _written(self, spec: int, entries: list[ManifestEntry]) -> ManifestFile:
        with self.new_manifest_writer(self.spec(spec)) as writer:
            for entry in entries:
                writer.existing(entry)
        return writer.to_manifest_file()
