"""What is live of each partition of a table: its data files, as a state of the table has them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression
from pyiceberg.expressions.visitors import inclusive_projection, manifest_evaluator
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from event_pipeline.contracts import Contract
from event_pipeline.errors import DamagedError, in_short
from event_pipeline.lake.dates import may_hold, partitions_of
from event_pipeline.lake.folder_io import NEW, OLD, FolderIO, moved
from event_pipeline.lake.run_folder import RunFolder
from event_pipeline.lake.salvage import files_of, moved_file, read_manifests
from event_pipeline.lake.values import days_filter, key_of, partition_filter
from event_pipeline.partitions import DAILY, HOURLY, Cadence


@dataclass(frozen=True)
class Live:
    """What is live of one partition: its files, their rows, and the folder of their run."""

    files: tuple[DataFile, ...]

    @property
    def paths(self) -> list[str]:
        """Paths of the Parquet files."""
        return [file.file_path for file in self.files]

    @property
    def rows(self) -> int:
        """Rows in the files."""
        return sum(file.record_count for file in self.files)

    @property
    def prefix(self) -> str:
        """Folder of the run that made the files."""
        return self.files[0].file_path.rsplit("/", 1)[0]

    @property
    def digest(self) -> str:
        """Digest of the input that the files were made of, as the name of their folder says it."""
        return self.folder.digest

    @property
    def version(self) -> str:
        """Version of the contract that made the files; empty if their folder does not say it."""
        return self.folder.version

    @property
    def run(self) -> str:
        """Name of the run's folder, which no other run has."""
        return self.folder.name

    @property
    def folder(self) -> RunFolder:
        """What the name of the run's folder says."""
        return RunFolder.of(self.prefix)


def live_in(
    snapshot: Snapshot | None,
    table: Table,
    contract: Contract,
    keys: Collection[str] | None = None,
    since: str = "",
    *,
    strict: bool,
) -> dict[str, Live]:
    """What is live of each partition in a state of a table, by key.

    Only of those among `keys`, or of a day (ISO) and later ones. What cannot be read is left out,
    unless `strict`.
    """
    wanted = partition_filter(contract, keys)
    if since:
        wanted = And(wanted, days_filter(contract, date.fromisoformat(since)))
    found: dict[str, list[DataFile]] = {}
    old, new = table.io.properties.get(OLD, ""), table.io.properties.get(NEW, "")
    read = _read(table, wanted, snapshot, strict=strict)
    for file in read[0] if read else ():
        key = key_of(contract, file.partition[0])
        # Keys of hours begin with their day.
        if key >= since and (keys is None or key in keys):
            found.setdefault(key, []).append(moved_file(file, old, new))
    return {key: Live(tuple(files)) for key, files in sorted(found.items())}


def runs_of(live: Mapping[str, Live]) -> dict[str, str]:
    """The run that made each partition."""
    return {key: found.run for key, found in live.items()}


def folders_in(
    table: Table, contract: Contract, since: str = "", *, strict: bool
) -> dict[str, RunFolder]:
    """The folder of the run that made each live partition, by key.

    Only of those of the day `since` (ISO) and of later ones, if it is given. This costs much less
    than `live_in`: what a manifest says of it is kept in a few bytes. What cannot be read is left
    out, unless `strict`.
    """
    snapshot = table.current_snapshot()
    if snapshot is None:
        return {}
    reads = _folders_by_day if contract.cadence is DAILY else _folders_by_hour
    day = date.fromisoformat(since) if since else date.min
    read = read_manifests(
        snapshot, table.io, reads, _matches(table, days_filter(contract, day)), strict=strict
    )
    manifests = read[0] if read else []
    # Keys of hours begin with their day.
    return {k: folder for each in manifests for k, folder in each.items() if k >= since}


def _folders_by_hour(manifest: ManifestFile, io: FileIO) -> dict[str, RunFolder]:
    return _folders(manifest, io, HOURLY)


def _folders_by_day(manifest: ManifestFile, io: FileIO) -> dict[str, RunFolder]:
    return _folders(manifest, io, DAILY)


def _folders(manifest: ManifestFile, io: FileIO, cadence: Cadence) -> dict[str, RunFolder]:
    entries = manifest.fetch_manifest_entry(io)
    paths = (entry.data_file.file_path.rpartition("/")[0] for entry in entries)
    return {(folder := RunFolder.of(path)).key(cadence): folder for path in paths}


def sizes_between(
    table: Table, contract: Contract, between: tuple[str, str] | None
) -> dict[str, int]:
    """Sizes of the live files that may hold rows of the dates (ISO) from the one to the other.

    Those of all files with rows if no dates are given. In bytes, by path, in order. Raises
    DamagedError if a manifest that may list one of them cannot be read.
    """
    old, new = table.io.properties.get(OLD, ""), table.io.properties.get(NEW, "")
    first, last = map(date.fromisoformat, between) if between else (date.min, date.max)
    wanted = partitions_of(table, contract, first, last) if between else AlwaysTrue()
    snapshot = table.current_snapshot()
    read = _read(table, wanted, snapshot, strict=not isinstance(table.io, FolderIO))
    if read is None:
        assert snapshot
        name = Path(snapshot.manifest_list).name
        raise DamagedError(contract.table, f"{name} is lost or unreadable")
    files, lost = read
    if lost:
        names = in_short([Path(path).name for path in lost])
        raise DamagedError(contract.table, f"{names}: lost or unreadable")
    found = {
        moved(file.file_path, old, new): file.file_size_in_bytes
        for file in files
        if file.record_count and (not between or may_hold(table, contract, file, first, last))
    }
    return dict(sorted(found.items()))


def _read(
    table: Table, row_filter: BooleanExpression, snapshot: Snapshot | None, *, strict: bool
) -> tuple[list[DataFile], list[str]] | None:
    """Live files of the snapshot's manifests that a filter of partitions does not rule out.

    Also the paths of manifests that cannot be read; None if not even their list can be.
    PyIceberg's scan would not do: it leaves out files without rows, and those are how an empty
    partition says that it was made.
    """
    if snapshot is None:
        return [], []
    return files_of(snapshot, table.io, _matches(table, row_filter), strict=strict)


def _matches(table: Table, row_filter: BooleanExpression) -> Callable[[ManifestFile], bool]:
    """Whether a manifest may list files of partitions that a filter admits."""
    schema, spec = table.schema(), table.spec()
    partitions = inclusive_projection(schema, spec)(row_filter)
    return manifest_evaluator(spec, schema, partitions, case_sensitive=True)
