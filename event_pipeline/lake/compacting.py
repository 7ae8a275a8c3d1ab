"""Manifests of a table, written anew in the order of its partitions.

A publish that replaces files reads every manifest whose range of partitions includes the one that
it publishes, and adds manifests; only a publish of a new partition merges some. So a table whose
partitions are made anew again and again, or come in no order, has more and wider manifests.
"""

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import ManifestEntry, ManifestFile
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _MergeAppendFiles

from event_pipeline.lake.making import PROPERTIES

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


def compact(table: Table) -> bool:
    """Writes the current snapshot's manifests anew; its rows and files are the same.

    Returns False, and changes nothing, if another writer was faster.
    """
    size = TableProperties.MANIFEST_TARGET_SIZE_BYTES
    try:
        with table.transaction() as transaction:
            # Tables that were made before the property was would merge them to one again.
            if table.properties.get(size) != PROPERTIES[size]:
                transaction.set_properties({size: PROPERTIES[size]})
            _InOrder(Operation.APPEND, transaction, table.io).commit()
    except CommitFailedException:
        return False
    return True


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
