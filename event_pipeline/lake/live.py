"""What is live of each partition of a table: its data files, as a state of the table has them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pyiceberg.expressions import BooleanExpression
from pyiceberg.expressions.visitors import inclusive_projection, manifest_evaluator
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from event_pipeline.contracts import Contract
from event_pipeline.lake.folder_io import NEW, OLD
from event_pipeline.lake.run_folder import RunFolder
from event_pipeline.lake.salvage import files_of, moved_file
from event_pipeline.lake.values import key_of, partition_filter


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
    *,
    strict: bool,
) -> dict[str, Live]:
    """What is live of each partition in a state of a table, or of those among `keys`, by key.

    What cannot be read is left out, unless `strict`.
    """
    found: dict[str, list[DataFile]] = {}
    old, new = table.io.properties.get(OLD, ""), table.io.properties.get(NEW, "")
    for file in _files(table, partition_filter(contract, keys), snapshot, strict=strict):
        key = key_of(contract, file.partition[0])
        if keys is None or key in keys:
            found.setdefault(key, []).append(moved_file(file, old, new))
    return {key: Live(tuple(files)) for key, files in sorted(found.items())}


def since_day(live: Mapping[str, Live], since: str) -> Mapping[str, Live]:
    """The partitions of a day (ISO) and of later ones; all of them if no day is given."""
    # Keys of hours begin with their day.
    return {key: found for key, found in live.items() if key >= since} if since else live


def runs_of(live: Mapping[str, Live]) -> dict[str, str]:
    """The run that made each partition."""
    return {key: found.run for key, found in live.items()}


def _files(
    table: Table, row_filter: BooleanExpression, snapshot: Snapshot | None, *, strict: bool
) -> Iterator[DataFile]:
    """Live data files of a snapshot, manifests pruned by partition.

    A scan would not do: it leaves out files without rows, and those are how an empty partition
    says that it was made.
    """
    if snapshot is None:
        return
    schema, spec = table.schema(), table.spec()
    matches = manifest_evaluator(
        spec, schema, inclusive_projection(schema, spec)(row_filter), case_sensitive=True
    )
    read = files_of(snapshot, table.io, matches, strict=strict)
    yield from read[0] if read else ()
