"""Salvage: finds what can still be read of a table in a folder, and makes a new table of it."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import ValidationError
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.serializers import FromInputFile, ToOutputFile
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from event_pipeline.lake.cache import cached
from event_pipeline.lake.folder_io import NEW, OLD, FolderIO, moved

T = TypeVar("T")

# Errors that reading a lost or damaged metadata file raises.
UNREADABLE = (OSError, ValueError, ValidationError)


@dataclass(frozen=True)
class Salvaged:
    """The latest readable state of a table.

    `path` is its metadata file, `metadata` that file's content, `old` the address of the lake that
    wrote it, `files` its data files at their present paths, and `lost` the unreadable manifests.
    """

    path: str
    metadata: TableMetadata
    old: str
    files: tuple[DataFile, ...]
    lost: tuple[str, ...]


def salvage(root: str, asset: str, current: str | None) -> Salvaged | None:
    """The latest readable state of a table; None if there is none.

    `current` is the metadata file that the catalog names, if any; it is tried first.
    """
    for path, metadata in _states(root, asset, current):
        old = metadata.location.removesuffix(f"/{asset}")
        snapshot = metadata.current_snapshot()
        if snapshot is None:
            return Salvaged(path, metadata, old, (), ())
        read = files_of(snapshot, FolderIO({OLD: old, NEW: root}))
        if read is not None:
            files, lost = read
            here = tuple(moved_file(file, old, root) for file in files)
            return Salvaged(path, metadata, old, here, tuple(lost))
    return None


def _states(root: str, asset: str, current: str | None) -> Iterator[tuple[str, TableMetadata]]:
    """A table's readable metadata files as (path, content), the latest first."""
    folder, found = Path(root, asset, "metadata"), []
    for path in folder.glob("*.metadata.json"):
        try:
            metadata = FromInputFile.table_metadata(FolderIO().new_input(str(path)))
        except UNREADABLE:
            continue
        if metadata.location.endswith(f"/{asset}"):
            is_current = current is not None and path.name == Path(current).name
            age = (
                is_current,
                getattr(metadata, "last_sequence_number", 0),
                metadata.last_updated_ms,
            )
            found.append((age, str(path), metadata))
    found.sort(key=lambda each: each[0], reverse=True)
    return ((path, metadata) for _, path, metadata in found)


def files_of(
    snapshot: Snapshot,
    io: FileIO,
    wanted: Callable[[ManifestFile], bool] = lambda _: True,
    *,
    strict: bool = False,
) -> tuple[list[DataFile], list[str]] | None:
    """A snapshot's live files, and the paths of its manifests that cannot be read.

    As `read_manifests`.
    """
    read = read_manifests(snapshot, io, _data_files, wanted, strict=strict)
    return ([file for files in read[0] for file in files], read[1]) if read else None


def read_manifests(
    snapshot: Snapshot,
    io: FileIO,
    read: Callable[[ManifestFile, FileIO], T],
    wanted: Callable[[ManifestFile], bool] = lambda _: True,
    *,
    strict: bool = False,
) -> tuple[list[T], list[str]] | None:
    """What `read` makes of a snapshot's manifests, and the paths of those that cannot be read.

    Returns None if the list of manifests cannot be read. Looks only at manifests that are `wanted`.
    What is made of a manifest is kept by the name of `read`, and made once in a process. If
    `strict`, an error in reading is raised.
    """
    try:
        manifests = _manifests(snapshot, io)
    except Exception:  # the reader of Avro may raise anything for damaged bytes
        if strict:
            raise
        return None
    found: list[T] = []
    lost = []
    for manifest in filter(wanted, manifests):
        path = manifest.manifest_path
        try:
            if _is_cut(io, manifest):
                lost.append(path)
            else:
                found.append(_cached(io, path, read.__qualname__, partial(read, manifest, io)))
        except Exception:  # as above
            if strict:
                raise
            lost.append(path)
    return found, lost


def cut_manifests(snapshot: Snapshot, io: FileIO) -> list[str] | None:
    """The paths of a snapshot's manifests that are lost or have another size than was written.

    Opens none of them. Returns None if the list of manifests cannot be read.
    """
    found = []
    try:
        manifests = _manifests(snapshot, io)
    except Exception:  # as above
        return None
    for manifest in manifests:
        try:
            is_whole = not _is_cut(io, manifest)
        except OSError:
            is_whole = False
        found += [] if is_whole else [manifest.manifest_path]
    return found


def manifests_of(snapshots: Iterable[Snapshot], io: FileIO) -> dict[str, ManifestFile]:
    """The manifests of several states by path; most are in many of them, and come once."""
    return {each.manifest_path: each for s in snapshots for each in s.manifests(io)}


def _manifests(snapshot: Snapshot, io: FileIO) -> list[ManifestFile]:
    return _cached(io, snapshot.manifest_list, "", lambda: snapshot.manifests(io))


def _is_cut(io: FileIO, manifest: ManifestFile) -> bool:
    """Whether a manifest has not the size that it was written with; S3 keeps objects whole."""
    is_local = isinstance(io, FolderIO)
    return is_local and len(io.new_input(manifest.manifest_path)) != manifest.manifest_length


def _data_files(manifest: ManifestFile, io: FileIO) -> list[DataFile]:
    return [entry.data_file for entry in manifest.fetch_manifest_entry(io)]


def _cached(io: FileIO, path: str, kind: str, read: Callable[[], T]) -> T:
    """What is read of a metadata file, once."""
    here = moved(path, io.properties.get(OLD, ""), io.properties.get(NEW, ""))
    return cached(here, read, kind)


def moved_file(file: DataFile, old: str, new: str) -> DataFile:
    """A data file whose path is moved from the old address to the new one."""
    if old == new:
        return file
    values = [file[n] for n in range(len(file))]
    values[_FILE_PATH] = moved(file.file_path, old, new)
    found = DataFile(*values)
    found.spec_id = file.spec_id
    return found


def make_table(catalog: Catalog, root: str, asset: str, found: Salvaged) -> None:
    """Puts a salvaged table into the catalog.

    A table that is complete and was not moved is registered as it is. Otherwise, a new table is
    made from its files.
    """
    identifier = tuple(asset.split("/"))
    catalog.create_namespace_if_not_exists(identifier[0])
    if found.old == root and not found.lost:
        catalog.register_table(identifier, found.path)
        return
    # Field ids, partition specs and sequence numbers are kept. Snapshots are not, since they refer
    # to the old address or to lost files.
    fresh = found.metadata.model_copy(
        update={
            "location": f"{root}/{asset}",
            "table_uuid": uuid.uuid4(),
            "last_updated_ms": int(time.time() * 1000),
            "current_snapshot_id": None,
            **{name: [] for name in _OF_HISTORY},
            "refs": {},
        }
    )
    path = f"{root}/{asset}/metadata/00000-{uuid.uuid4()}.metadata.json"
    ToOutputFile.table_metadata(fresh, FolderIO().new_output(path))
    table = catalog.register_table(identifier, path)
    if found.files:
        with (
            table.transaction() as transaction,
            transaction.update_snapshot().fast_append() as producer,
        ):
            for file in found.files:
                producer.append_data_file(file)


# The position of `file_path` among a DataFile's values.
_FILE_PATH = 1
_OF_HISTORY = ("snapshots", "snapshot_log", "metadata_log", "statistics", "partition_statistics")
