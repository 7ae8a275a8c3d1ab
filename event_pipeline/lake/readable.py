"""Tables of a catalog, and whether they can be read as a whole."""

from pathlib import Path

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from event_pipeline.errors import DamagedError, LakeError, in_short
from event_pipeline.lake.folder import FolderCatalog
from event_pipeline.lake.folder_io import FolderIO
from event_pipeline.lake.salvage import UNREADABLE, files_of

MAX_READS = 3


def loaded(catalog: Catalog, identifier: tuple[str, str]) -> Table:
    """A table of the catalog. Raises NoSuchTableError, and DamagedError if it cannot be read."""
    for attempt in range(MAX_READS):
        try:
            return catalog.load_table(identifier)
        except UNREADABLE as error:
            if isinstance(error, PermissionError):
                raise LakeError(f"{'.'.join(identifier)}: {error}") from error
            if isinstance(error, OSError) and not isinstance(catalog, FolderCatalog):
                raise  # S3 may have been out of reach.
            # Other writers may have committed so often that what was to be read is removed.
            if attempt == MAX_READS - 1:
                raise DamagedError(
                    ".".join(identifier), "its metadata is lost or unreadable"
                ) from error
    raise AssertionError


def readable(catalog: Catalog, identifier: tuple[str, str], *, deep: bool = False) -> Table | None:
    """A table, None if it is not there or some of it cannot be read."""
    try:
        table = loaded(catalog, identifier)
    except NoSuchTableError:
        return None
    except DamagedError:
        if isinstance(catalog, FolderCatalog):
            return None
        raise
    return None if flaw_of(table, deep=deep) else table


def flaw_of(table: Table, *, deep: bool = False) -> str | None:
    """Why a table in a folder cannot be read as a whole; `deep` reads all of its manifests."""
    snapshot = table.current_snapshot()
    if snapshot is None or not isinstance(table.io, FolderIO):
        return None
    if (read := files_of(snapshot, table.io, sizes_only=not deep)) is None:
        return f"{Path(snapshot.manifest_list).name} is lost or unreadable"
    lost = [Path(path).name for path in read[1]]
    return f"{in_short(lost)}: lost or unreadable" if lost else None


def referred_by(table: Table) -> set[str] | None:
    """Paths to which any kept state of a table refers; None if one cannot be read."""
    snapshots = table.metadata.snapshots
    found = {table.metadata_location, *(each.metadata_file for each in table.metadata.metadata_log)}
    try:
        # Most manifests are in many states, and are read once.
        manifests = {m.manifest_path: m for s in snapshots for m in s.manifests(table.io)}
        for manifest in manifests.values():
            found.update(e.data_file.file_path for e in manifest.fetch_manifest_entry(table.io))
    except Exception:  # whatever a reader of Avro meets in bytes that are none
        return None
    return found | manifests.keys() | {snapshot.manifest_list for snapshot in snapshots}
