"""Tables of a catalog, and whether they can be read as a whole."""

from collections.abc import Collection, Mapping
from pathlib import Path

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import read_manifest_list
from pyiceberg.table import Table

from event_pipeline.errors import DamagedError, LakeError, in_short
from event_pipeline.lake.folder import FolderCatalog
from event_pipeline.lake.folder_io import FolderIO
from event_pipeline.lake.salvage import UNREADABLE, cut_manifests, files_of, manifests_of

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
    if deep:
        read = files_of(snapshot, table.io)
        lost = read[1] if read else None
    else:
        lost = cut_manifests(snapshot, table.io)
    if lost is None:
        return f"{Path(snapshot.manifest_list).name} is lost or unreadable"
    names = [Path(path).name for path in lost]
    return f"{in_short(names)}: lost or unreadable" if names else None


def referred_by(
    table: Table, recent: Mapping[str, bool] | None = None, forgotten: Collection[int] = ()
) -> set[str] | None:
    """Paths to which any kept state of a table refers; None if one cannot be read.

    Also those to which the manifest lists `recent` refer, which may be of states that are not kept
    any more; if the list's value is True, also the files that its commit replaced. Snapshots in
    `forgotten` are not kept.
    """
    snapshots = [s for s in table.metadata.snapshots if s.snapshot_id not in forgotten]
    found = {table.metadata_location, *(each.metadata_file for each in table.metadata.metadata_log)}
    lists = {snapshot.manifest_list for snapshot in snapshots}
    try:
        manifests = manifests_of(snapshots, table.io)
        for manifest in manifests.values():
            found.update(e.data_file.file_path for e in manifest.fetch_manifest_entry(table.io))
        for path, replaced in (recent or {}).items():
            found |= _referred_by_list(table, path, manifests.keys(), replaced=replaced)
    except Exception:  # whatever a reader of Avro meets in bytes that are none
        return None
    return found | manifests.keys() | lists | {*(recent or ())}


def _referred_by_list(
    table: Table, path: str, known: Collection[str], *, replaced: bool
) -> set[str]:
    """What a manifest list refers to beyond `known` manifests, and maybe what it `replaced`."""
    try:
        manifests = list(read_manifest_list(table.io.new_input(path)))
    except FileNotFoundError:
        return set()
    except Exception:
        if isinstance(table.io, FolderIO):
            return set()  # Its writer was killed before it had written it all.
        raise  # S3 may have been out of reach.
    found = set()
    # A lake that was copied has lists that speak of the original, which is not to be read.
    here = f"{table.location()}/"
    for manifest in manifests:
        is_own = replaced and f"/snap-{manifest.added_snapshot_id}-" in path
        path_of = manifest.manifest_path
        if not path_of.startswith(here) or (path_of in known and not is_own):
            continue
        found.add(path_of)
        try:
            entries = manifest.fetch_manifest_entry(table.io, discard_deleted=not is_own)
        except FileNotFoundError:
            continue  # The commit failed, and its manifests were removed.
        found.update(entry.data_file.file_path for entry in entries)
    return found
